"""SVMs on random negatives: what is drawn, and what is trained on it."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.svm import LinearSVC

from rcnn_svm.cache import FeatureCache
from rcnn_svm.detection.detector import Detector
from rcnn_svm.errors import InputError
from rcnn_svm.mining.random_negatives import RandomNegativeTrainer, draw_negatives, negatives_of_model
from tests.toys import arrays_of, stored, toy_cache

CLASSES = ("a", "b", "c")


def make_cache(num_images: int = 9, num_boxes: int = 40, dim: int = 6) -> FeatureCache:
    """A cache with one object of one class in every image but one, which has no rows."""
    rows = np.full(num_images, num_boxes)
    rows[3] = 0
    return toy_cache(rows, classes=CLASSES, objects=1, dim=dim)


def test_the_negatives_of_an_image_by_hand():
    cache = toy_cache([4], classes=("a",), label=[1, 0, 0, 0], overlap=[[1], [0.5], [0.2], [0]])
    assert [regions.tolist() for regions in draw_negatives(cache, [0], [2], 0.3, seed=0)] == [[2, 3]]
    assert draw_negatives(cache, [0], [1], 0.3, seed=0)[0].tolist() in ([2], [3])


def test_draws_what_is_eligible_once_whatever_the_shards(tmp_path):
    cache = make_cache()
    drawn = draw_negatives(cache, [0, 2], [30, 10], 0.3, seed=1)
    overlap = arrays_of(cache)["overlap"]
    for regions, column, count in zip(drawn, (0, 2), (30, 10), strict=True):
        assert len(np.unique(regions)) == count
        assert overlap[regions, column].max() < 0.3
    again = draw_negatives(stored(cache, tmp_path / "cache", shard_images=2), [0, 2], [30, 10], 0.3, seed=1)
    np.testing.assert_array_equal(np.concatenate(again), np.concatenate(drawn))
    (other,) = draw_negatives(cache, [0], [30], 0.3, seed=2)
    assert set(other.tolist()) != set(drawn[0].tolist())
    (everything,) = draw_negatives(cache, [0], [10**6], 0.3, seed=1)
    np.testing.assert_array_equal(everything, np.flatnonzero(overlap[:, 0] < np.float32(0.3)))


def test_every_region_is_drawn_equally_often():
    cache = make_cache(num_images=4, num_boxes=12)
    overlap = arrays_of(cache)["overlap"]
    eligible = np.flatnonzero(overlap[:, 1] < np.float32(0.6))
    seen = np.zeros(len(overlap))
    for seed in range(600):
        seen[draw_negatives(cache, [1], [len(eligible) // 3], 0.6, seed)[0]] += 1
    expected = 600 * (len(eligible) // 3) / len(eligible)
    assert np.abs(seen[eligible] - expected).max() < 5 * np.sqrt(expected)
    assert seen.sum() == 600 * (len(eligible) // 3)


@pytest.mark.parametrize("solver", ["dcd", "liblinear"])
def test_equals_liblinear_on_the_same_examples(solver):
    cache = make_cache()
    tolerance = {"dcd": 1e-11, "liblinear": 1e-9}[solver]
    trainer = RandomNegativeTrainer(num_negatives=[20, 35, 50], svm_C=0.02, solver=solver, tolerance=tolerance)
    detector = clone(trainer).fit(cache).detector_
    trainer.fit(cache)
    np.testing.assert_array_equal(detector.W, trainer.detector_.W)
    arrays = arrays_of(cache)
    scaled = arrays["features"] * (20 / detector.feat_norm_mean)
    for c, count in enumerate((20, 35, 50)):
        keys = trainer.negatives_[trainer.negatives_[:, 0] == c]
        assert len(keys) == count
        negatives = cache.image_start[keys[:, 1]] + keys[:, 2]
        rows = np.concatenate([np.flatnonzero(arrays["label"] == c + 1), negatives])
        y = np.where(np.arange(len(rows)) < len(rows) - count, 1, -1)
        svm = LinearSVC(loss="hinge", C=1, tol=1e-9, intercept_scaling=10, max_iter=10**7)
        svm.fit(scaled[rows].astype(float), y, sample_weight=np.where(y > 0, 0.04, 0.02))
        np.testing.assert_allclose(detector.W[:, c], svm.coef_[0], atol=2e-4 * np.abs(svm.coef_).max())
        np.testing.assert_allclose(detector.B[c], svm.intercept_[0], atol=1e-3)


def test_refuses_what_cannot_be_drawn():
    cache = make_cache()
    with pytest.raises(InputError, match="no region with IoU below 0 "):
        RandomNegativeTrainer(num_negatives=5, neg_overlap=0.0).fit(cache)
    with pytest.raises(InputError, match="one per class"):
        RandomNegativeTrainer(num_negatives=[5, 5]).fit(cache)
    with pytest.raises(InputError, match="at least 1"):
        RandomNegativeTrainer(num_negatives=0).fit(cache)
    with pytest.raises(InputError, match="svm_C"):
        RandomNegativeTrainer(num_negatives=5, svm_C=-1.0).fit(cache)
    for name in ("svm_C", "pos_loss_weight"):
        with pytest.raises(InputError, match=rf"{name} = 'auto' must be a number .*\(auto is for mining\)"):
            RandomNegativeTrainer(num_negatives=5, **{name: "auto"}).fit(cache)


def test_a_model_without_a_record_says_no_number(tmp_path):
    Detector(CLASSES, np.zeros((6, 3), np.float32), np.zeros(3, np.float32), 1.0).save(tmp_path / "m.h5")
    with pytest.raises(InputError, match="records no training of class 'a'"):
        negatives_of_model(tmp_path / "m.h5", CLASSES)
