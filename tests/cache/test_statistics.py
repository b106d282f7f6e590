"""Regions counted and features looked at, against the same by hand and by numpy over everything."""

from __future__ import annotations

import numpy as np
import pytest

from rcnn_svm.cache.statistics import FeatureTally, count_regions, look_at_features, spread
from tests.toys import arrays_of, stored, toy_cache


def test_two_images_counted_by_hand():
    cache = toy_cache(
        [4, 2],
        classes=["cat", "dog"],
        label=[1, 2, 0, 0, 1, 0],
        difficult=[False, True, False, False, False, False],
        overlap=[[1, 0], [0, 1], [0.1, 0.3], [0.7, 0.09], [1, 0], [0.5, 0]],
        image_size=[[20, 30], [40, 10]],
    )
    counts = count_regions(cache, [0, 1])
    assert (counts.objects.tolist(), counts.difficult.tolist(), counts.images_with.tolist()) == ([2, 0], [0, 1], [2, 1])
    # IoU in [0.1, 0.3), [0.3, 0.5), [0.5, 0.7), [0.7, 1], of proposals.
    assert counts.near.tolist() == [[1, 0, 1, 1], [0, 1, 0, 0]]
    assert (counts.regions.tolist(), counts.proposals.tolist()) == ([4, 2], [2, 1])
    assert counts.image_size.tolist() == [[20, 30], [40, 10]]
    assert count_regions(cache, [1]).objects.tolist() == [1, 0]


def test_features_are_those_of_numpy(tmp_path):
    cache = toy_cache([30, 1, 45], dim=5, seed=2)
    whole = arrays_of(cache)["features"]
    for same in (cache, stored(cache, tmp_path, shard_images=2)):
        look = look_at_features(same, range(3))
        np.testing.assert_allclose(look.norms, np.linalg.norm(whole.astype(np.float64), axis=1))
        np.testing.assert_array_equal(look.zeros, (whole == 0).sum(axis=0))
        np.testing.assert_array_equal([look.lowest, look.highest], [whole.min(axis=0), whole.max(axis=0)])
        np.testing.assert_array_equal(look.at_highest, (whole == whole.max(axis=0)).sum(axis=0))
        assert look.sparsity == pytest.approx((whole == 0).mean()) and (look.num_rows, look.not_finite) == (76, 0)


def test_dead_and_saturated_features():
    rng = np.random.default_rng(0)
    features = rng.random((100, 5)).astype(np.float32)
    features[:, 1] = 0  # always 0
    features[:, 2] = 2.5  # always the same
    features[:, 3] = np.minimum(features[:, 3], 0.8)  # a fifth of the rows at its limit
    features[:5, 4] = 1.5  # a few rows at the largest value
    tally = FeatureTally(5)
    for part in np.split(features, [10, 11, 60]):
        tally.add(part)
    look = tally.look()
    assert look.dead.tolist() == [1, 2] and look.saturated.tolist() == [3]


def test_rows_that_are_not_finite_are_counted_and_left_out():
    features = np.ones((4, 2), np.float32)
    features[1, 0], features[2, 1] = np.nan, np.inf
    tally = FeatureTally(2)
    tally.add(features)
    assert (tally.look().num_rows, tally.look().not_finite) == (2, 2)
    assert tally.look().highest.tolist() == [1, 1]


def test_without_rows_nothing_is_said():
    look = FeatureTally(3).look()
    assert np.isnan([look.sparsity, *look.lowest, *look.highest]).all()
    assert look.num_rows == len(look.dead) == len(look.saturated) == 0


def test_the_sample_is_bounded_and_spread(tmp_path):
    features = np.repeat(np.arange(60.0), 2).reshape(60, 2)  # a row's number is in its features
    cache = stored(toy_cache([20, 20, 20], features=features, dim=2), tmp_path, shard_images=1)
    look = look_at_features(cache, range(3), max_images=2, max_rows=10)
    rows = np.round(look.norms / np.sqrt(2)).astype(int).tolist()
    assert rows == [0, 4, 8, 12, 16, 20, 24, 28, 32, 36]


def test_spread():
    assert spread(range(5), 7) == [0, 1, 2, 3, 4] and spread(range(10), 4) == [0, 2, 5, 7] and spread([], 3) == []
