"""The examples of one class of a feature cache, and what bootstrapping makes of them."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.svm import LinearSVC

from rcnn_svm.cache import FeatureCache
from rcnn_svm.errors import InputError
from rcnn_svm.mining.bootstrap import BootstrapClassifier
from rcnn_svm.mining.examples import cache_batches, cache_keys, one_vs_rest_targets
from rcnn_svm.mining.hard_negatives import HardNegativeMiner
from tests.toys import stored, toy_cache


@pytest.fixture(scope="module", params=["float32", "float16"])
def cache(request, tmp_path_factory) -> FeatureCache:
    """Nine images in shards of two; one is empty."""
    arrays = toy_cache([40, 31, 0, 55, 38, 20, 61, 44, 50], classes=("cat", "dog"), dim=8)
    return stored(arrays, tmp_path_factory.mktemp("cache") / request.param, dtype=request.param, shard_images=2)


def test_targets_by_hand():
    overlap = np.array([[1, 0], [0.3, 0.29], [0.2, 1], [0, 0]], np.float32)
    targets = one_vs_rest_targets(np.array([1, 0, 2, 0]), overlap, 0.3)
    np.testing.assert_array_equal(targets, [[1, -1], [0, -1], [-1, 1], [-1, -1]])


@pytest.mark.parametrize(("batch_bytes", "count"), [(1, 9), (32 * 58, 7), (1 << 20, 5)])
def test_batches_are_the_positives_and_negatives_in_order(cache, batch_bytes, count):
    expected, keys = [], []
    for image in range(cache.num_images):
        regions = cache.regions(image)
        for row in range(len(regions)):
            if regions.label[row] == 2 or regions.overlap[row, 1] < 0.25:
                expected.append([*regions.features[row] * np.float32(4), 1 if regions.label[row] == 2 else -1])
                keys.append([image, row])
    batches = cache_batches(cache, "dog", neg_overlap=0.25, feat_norm_mean=5.0, batch_bytes=batch_bytes)
    for _ in range(2):
        parts = list(batches())
        found = np.column_stack([np.concatenate(arrays) for arrays in zip(*parts, strict=True)])
        np.testing.assert_array_equal(found, np.array(expected, np.float32))
    assert len(parts) == count
    np.testing.assert_array_equal(cache_keys(cache, "dog", neg_overlap=0.25), keys)


def test_bootstrapping_a_linear_svm_is_hard_negative_mining(cache):
    """With R-CNN's objective and enough rounds both end at the optimum over all examples."""
    norm, C = 2.0, 0.01
    svm = LinearSVC(
        C=C, loss="hinge", tol=1e-9, max_iter=10**6, intercept_scaling=10, class_weight={1: 2.0}, random_state=0
    )
    classifier = BootstrapClassifier(svm, hard_margin=1.0001, initial_size=10, max_rounds=50, random_state=0)
    miner = HardNegativeMiner(
        svm_C=C, feat_norm_mean=norm, retrain_limit=1, max_epochs=12, tolerance=1e-10, n_jobs=1
    ).fit(cache)
    for column, cls in enumerate(cache.classes):
        classifier.fit_batches(cache_batches(cache, cls, feat_norm_mean=norm), classes=[-1, 1])
        assert classifier.stopped_by_ == "nothing new"
        mined = miner.detector_.W[:, column]
        np.testing.assert_allclose(classifier.estimator_.coef_[0], mined, atol=1e-4 * np.abs(mined).max())
        assert classifier.estimator_.intercept_[0] == pytest.approx(miner.detector_.B[column], abs=1e-4)
        keys = {tuple(key) for key in cache_keys(cache, cls)[classifier.indices_].tolist()}
        support, _ = miner.support_
        assert {tuple(key) for key in support[support[:, 0] == column, 1:].tolist()} <= keys


def test_an_unknown_class_is_told(cache):
    with pytest.raises(InputError, match=r"class .cow. is not in .*cat, dog"):
        cache_batches(cache, "cow")
