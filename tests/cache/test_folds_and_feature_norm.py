"""Folds and the feature norm."""

from __future__ import annotations

import numpy as np
import pytest

from rcnn_svm.cache import FeatureCache
from rcnn_svm.cache.feature_norm import mean_feature_norm
from rcnn_svm.cache.folds import split_folds
from rcnn_svm.errors import InputError
from tests.toys import stored, toy_cache


def test_twelve_images_in_two_folds_are_five_and_seven():
    assert [len(fold) for fold in split_folds(12, 2, 0)] == [5, 7]


@pytest.mark.parametrize(("images", "folds"), [(12, 2), (60, 2), (101, 5), (7, 7), (3, 2)])
def test_folds_share_all_images_without_overlap(images, folds):
    parts = split_folds(images, folds, seed=1)
    assert len(parts) == folds
    assert sorted(np.concatenate(parts).tolist()) == list(range(images))


@pytest.mark.golden
@pytest.mark.parametrize("case", ["tiny", "medium", "fc7", "epochs2"])
def test_fold_sizes_are_the_originals(golden_dir, case):
    with np.load(golden_dir / case / "expected.npz") as expected:
        sizes = np.diff(expected["tight/fold_start"]).tolist()
        images = int(expected["tight/fold_start"][-1])
    assert [len(fold) for fold in split_folds(images, len(sizes), 0)] == sizes


def cache_of(features: np.ndarray, rows: list[int]) -> FeatureCache:
    return toy_cache(rows, features=features, objects=0)


def test_threads_do_not_change_the_mean():
    features = np.random.default_rng(0).standard_normal((900, 8))
    cache = cache_of(features, [1, 399, 0, 250, 250])
    assert mean_feature_norm(cache, 1, threads=3) == mean_feature_norm(cache, 1)


@pytest.mark.parametrize("shard_images", [1, 2, 3])
def test_every_shard_counts(tmp_path, shard_images):
    features = np.random.default_rng(0).random((90, 8)) * np.arange(1, 91)[:, None]
    cache = cache_of(features, [10, 20, 30, 30])
    expected = np.linalg.norm(features, axis=1).mean()
    assert mean_feature_norm(stored(cache, tmp_path, shard_images=shard_images), 0) == pytest.approx(expected, rel=1e-6)


def test_small_caches_are_measured_whole():
    features = np.random.default_rng(0).standard_normal((150, 8))
    cache = cache_of(features, [60, 0, 90])
    expected = np.linalg.norm(features.astype(np.float32), axis=1).mean()
    assert mean_feature_norm(cache, 1) == pytest.approx(expected, rel=1e-6)


def test_large_images_give_200_rows_each():
    """One image of 1000 short and one of 200 long rows weigh the same."""
    features = np.concatenate([np.full((1000, 1), 1.0), np.full((200, 1), 3.0)])
    assert mean_feature_norm(cache_of(features, [1000, 200]), 1) == pytest.approx(2.0)


def test_the_draw_is_seeded():
    features = np.random.default_rng(0).standard_normal((5000, 3))
    cache = cache_of(features, [2500, 2500])
    assert mean_feature_norm(cache, 1) == mean_feature_norm(cache, 1) != mean_feature_norm(cache, 2)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (0, "mean norm of 0"),
        (1e30, "mean norm of"),
        (1e-30, "mean norm of"),
        (np.nan, "row 0 of image 0 .* not finite"),
        (np.inf, "row 0 of image 0 .* not finite"),
    ],
)
def test_features_that_cannot_be_scaled_are_refused(value, told):
    with pytest.raises(InputError, match=told):
        mean_feature_norm(cache_of(np.full((5, 8), value, np.float32), [5]), 0)


def test_norms_of_half_precision_are_those_of_single(tmp_path):
    features = np.random.default_rng(0).random((50, 8)).astype(np.float16).astype(np.float32)
    half = stored(cache_of(features, [20, 30]), tmp_path, dtype="float16")
    assert mean_feature_norm(half, 0) == pytest.approx(np.linalg.norm(features.astype(float), axis=1).mean(), rel=1e-6)
