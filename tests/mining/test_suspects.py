"""Objects that lose their labels come back as suspects, on features that tell the class of a box."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.suspects import found_in_order, without_labels
from rcnn_svm.boxes import iou_matrix
from rcnn_svm.cache.feature_cache import FeatureCache
from rcnn_svm.detection.image_set import detect_in_cache
from rcnn_svm.errors import InputError
from rcnn_svm.evaluation.voc import objects_in_cache
from rcnn_svm.mining.hard_negatives import HardNegativeMiner
from rcnn_svm.mining.random_negatives import RandomNegativeTrainer
from rcnn_svm.mining.suspects import find_suspects
from tests.evaluation.test_voc import literal_overlap
from tests.toys import CLASSES, telling

NUM_IMAGES = 40


@pytest.fixture(scope="module")
def labelled() -> FeatureCache:
    return telling(0, NUM_IMAGES)


@pytest.fixture(scope="module")
def gone(labelled) -> np.ndarray:
    """Every tenth object is without its label."""
    return np.arange(len(objects_in_cache(labelled, CLASSES).cls)) % 10 == 0


@pytest.fixture(scope="module")
def mined(labelled, gone, tmp_path_factory):
    """Detector, record and cache of a training without these labels."""
    cache = without_labels(labelled, gone)
    miner = HardNegativeMiner(retrain_limit=50, svm_C=3e-4).fit(cache)
    path = tmp_path_factory.mktemp("model") / "model.h5"
    miner.save(path)
    return miner.detector_, miner.detector_.load_history(path), cache


def test_labels_that_are_removed_leave_proposals_behind(labelled, gone):
    fewer, objects = without_labels(labelled, gone), objects_in_cache(labelled, CLASSES)
    assert fewer.num_rows == labelled.num_rows - gone.sum()
    left = objects_in_cache(fewer, CLASSES)
    np.testing.assert_array_equal(left.box, objects.box[~gone])
    image = int(objects.image[gone][0])
    before, after = labelled.regions(image), fewer.regions(image)
    np.testing.assert_array_equal(after.features[~after.gt], before.features[~before.gt])
    own = left.box[left.image == image]
    for row in np.flatnonzero(~after.gt):
        largest = iou_matrix(after.boxes[row], own).max() if len(own) else 0
        assert after.overlap[row].max() == pytest.approx(largest, abs=1e-6)


def test_what_lost_its_label_comes_first(labelled, gone, mined):
    suspects = find_suspects(*mined)
    objects = objects_in_cache(labelled, CLASSES)
    for index in range(len(CLASSES)):
        of_class, removed = suspects.keys[:, 0] == index, gone & (objects.cls == index)
        hits = found_in_order(
            suspects.keys[of_class, 1], suspects.box[of_class], objects.image[removed], objects.box[removed]
        )
        assert removed.sum() >= 1 and hits[: removed.sum()].all()


def test_suspects_are_hard_negatives_one_for_each_place(mined):
    detector, record, cache = mined
    suspects = find_suspects(detector, record, cache)
    assert len(suspects) > 20 and (np.diff(suspects.suspicion) <= 0).all()
    assert set(map(tuple, suspects.keys.tolist())) <= set(map(tuple, record["support"].tolist()))
    for number, (cls, image, row) in enumerate(suspects.keys.tolist()):
        regions = cache.regions(image)
        score = detector.scores(regions.features[row : row + 1])[0, cls]
        assert suspects.score[number] == pytest.approx(score, abs=1e-5) and score > -1.001
        own = regions.boxes[regions.label == cls + 1]
        assert not len(own) or iou_matrix(suspects.box[number], own).max() < 0.3
        others = np.flatnonzero(
            (suspects.keys[:, :2] == (cls, image)).all(axis=1) & (np.arange(len(suspects)) != number)
        )
        assert not len(others) or iou_matrix(suspects.box[number], suspects.box[others]).max() <= 0.3
    few = find_suspects(detector, record, cache, per_class=2)
    assert np.bincount(few.keys[:, 0]).tolist() == [2, 2, 2]
    for index in range(len(CLASSES)):
        best = suspects.keys[suspects.keys[:, 0] == index][:2]
        np.testing.assert_array_equal(few.keys[few.keys[:, 0] == index], best)


def test_what_labelled_objects_explain_is_taken_off(mined):
    detector, record, cache = mined
    suspects = find_suspects(detector, record, cache)
    voted = detect_in_cache(cache, detector).after_voting()
    score_of = dict(
        zip(zip(voted.cls.tolist(), voted.image.tolist(), voted.row.tolist(), strict=True), voted.score, strict=True)
    )
    taken_off = []
    for number, key in enumerate(map(tuple, suspects.keys.tolist())):
        regions, box = cache.regions(key[1]), suspects.box[number].tolist()
        inside = other = 0.0
        for cls, theirs in zip(regions.label[regions.gt] - 1, regions.boxes[regions.gt].tolist(), strict=True):
            width = min(box[2], theirs[2]) - max(box[0], theirs[0]) + 1
            height = min(box[3], theirs[3]) - max(box[1], theirs[1]) + 1
            if cls == key[0]:
                area = (box[2] - box[0] + 1) * (box[3] - box[1] + 1)
                inside = max(inside, max(width, 0) * max(height, 0) / area)
            else:
                other = max(other, literal_overlap(box, theirs))
        assert suspects.suspicion[number] == pytest.approx(score_of[key] - inside - other, abs=1e-5)
        taken_off.append((inside > 0, other > 0))
    assert np.all(np.any(taken_off, axis=0)) and not np.all(taken_off)


def test_models_without_a_record_and_other_caches_are_refused(labelled, mined):
    detector, record, cache = mined
    with pytest.raises(InputError, match=r"m\.h5 has no record of its training, only the detector; give the model"):
        find_suspects(detector, {}, cache, name="m.h5")
    with pytest.raises(InputError, match="was not trained on the cache of telling; give the one it was"):
        find_suspects(detector, record, labelled)


def test_negatives_drawn_at_random_have_suspects_too(mined):
    trainer = RandomNegativeTrainer(num_negatives=200).fit(mined[2])
    record = {"support": trainer.support_[0], "support_scores": trainer.support_[1]}
    suspects = find_suspects(trainer.detector_, record, mined[2])
    assert len(suspects) and set(map(tuple, suspects.keys.tolist())) <= set(map(tuple, record["support"].tolist()))
