"""Scores of many regions by few detectors, against numpy in double precision."""

import numpy as np
import pytest

from rcnn_svm.svm.kernels import combine, copy_scaled, score_examples, score_regions


def test_two_regions_by_two_detectors():
    features = np.array([[1, 2], [0, 3]], np.float32)
    weights, biases = np.array([[1, 0], [2, -1]], np.float32), np.array([0.5, 1], np.float32)
    assert score_regions(features, weights, biases).tolist() == [[1.5, 1], [0.5, -2]]
    # By one detector in the solver's form: the last weight times bias_mult is the bias, 5.
    assert score_examples(features, np.array([1, 0]), np.array([1, -1, 0.5]), 10.0).tolist() == [2, 4]
    assert combine(features, np.array([0, 1]), np.array([2.0, -1.0]), 10.0).tolist() == [2, 1, 10]


@pytest.mark.parametrize("num_regions", [0, 1, 3, 4, 9])
@pytest.mark.parametrize("num_classes", [1, 4, 5, 7, 20])
@pytest.mark.parametrize("dim", [1, 37, 512])
def test_equals_the_product_in_double_precision(num_regions, num_classes, dim):
    rng = np.random.default_rng(dim)
    features = rng.standard_normal((num_regions, dim), np.float32)
    weights = rng.standard_normal((num_classes, dim), np.float32)
    biases = rng.standard_normal(num_classes).astype(np.float32)
    scores = score_regions(features, weights, biases)
    assert scores.shape == (num_regions, num_classes)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, features.astype(float) @ weights.astype(float).T + biases, atol=2e-4)


@pytest.mark.parametrize("count", [1, 3, 4, 7, 8])  # four at a time, and what is left
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_scores_and_sums_of_chosen_rows_equal_those_of_numpy(count, dtype):
    rng = np.random.default_rng(count)
    rows, slots = rng.standard_normal((10, 37), np.float32), rng.integers(0, 10, count)
    weights = rng.standard_normal(38).astype(dtype)
    with_bias = np.column_stack([rows[slots].astype(float), np.full(count, 10.0)])
    np.testing.assert_allclose(score_examples(rows, slots, weights, dtype(10)), with_bias @ weights, atol=1e-4)
    factors = np.where(np.arange(count) % 3 == 1, 0, rng.standard_normal(count))
    np.testing.assert_allclose(combine(rows, slots, factors, 10.0), factors @ with_bias, atol=1e-9)


def test_rows_are_copied_to_their_places_scaled_and_with_their_squared_norms():
    features = np.array([[3, 4], [1, 2], [6, 8]], np.float32)
    rows, norms = np.zeros((4, 2), np.float32), np.zeros(4, np.float32)
    copy_scaled(features, np.array([2, 0]), np.float32(0.5), rows, norms, np.array([1, 3]))
    assert rows.tolist() == [[0, 0], [3, 4], [0, 0], [1.5, 2]]
    assert norms.tolist() == [0, 25, 0, 6.25]


def test_a_score_does_not_depend_on_the_other_regions():
    rng = np.random.default_rng(0)
    features = rng.standard_normal((23, 300), np.float32)
    weights, biases = rng.standard_normal((6, 300), np.float32), np.zeros(6, np.float32)
    scores = score_regions(features, weights, biases)
    for first in range(23):
        for last in range(first + 1, 24):
            np.testing.assert_array_equal(score_regions(features[first:last], weights, biases), scores[first:last])


def test_takes_every_layout():
    rng = np.random.default_rng(1)
    features, weights = rng.random((5, 8), np.float32), rng.random((8, 3), np.float32)
    biases = np.zeros(3, np.float32)
    expected = score_regions(features, np.ascontiguousarray(weights.T), biases)
    np.testing.assert_array_equal(score_regions(features, weights.T, biases), expected)
    mapped = features.copy()
    mapped.flags.writeable = False
    np.testing.assert_array_equal(score_regions(mapped, weights.T, biases), expected)
    np.testing.assert_allclose(score_regions(np.asfortranarray(features), weights.T, biases), expected, rtol=1e-5)
