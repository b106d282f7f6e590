"""Scores of many regions by few detectors, against numpy in double precision."""

import numpy as np
import pytest

from rcnn_svm.svm.kernels import combine, score_examples, score_regions


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
