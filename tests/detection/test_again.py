"""Scoring again: which boxes that were found become proposals, and that one image has what the stages have."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rcnn_svm.boxes import iou_matrix
from rcnn_svm.cache import FeatureCache
from rcnn_svm.data.voc import load_voc
from rcnn_svm.detection.again import proposals_to_score_again
from rcnn_svm.detection.bbox_correction import correct_detections
from rcnn_svm.detection.bbox_regression import BoxRegressor
from rcnn_svm.detection.detect import ImageDetector
from rcnn_svm.detection.detections import Detections
from rcnn_svm.detection.detector import Detector
from rcnn_svm.detection.image_set import detect_in_cache
from rcnn_svm.detection.one_image import boxes_to_score_again
from rcnn_svm.errors import InputError
from rcnn_svm.features.backbones import load_backbone
from rcnn_svm.features.extract import FeatureExtractor, extract_database
from rcnn_svm.features.runtime import make_runtime
from rcnn_svm.proposals.propose import propose_database
from rcnn_svm.proposals.sliding_window import SlidingWindow
from rcnn_svm.proposals.store import ProposalSet
from rcnn_svm.toy_world.voc_folder import SYNTHETIC_CLASSES, write_synthetic_voc


def test_the_best_of_each_class_are_scored_again_in_whole_pixels():
    """The second box repeats the first, the fourth is the third of another class, the last reaches out of the image."""
    boxes = np.float32([[0, 0, 9, 9], [0, 0, 9, 8], [20.4, 5.6, 30, 30], [20.3, 5.7, 30, 30], [35, 35, 50, 44]])
    again = boxes_to_score_again(np.array([0, 0, 0, 1, 1]), boxes, np.float32([2, 1, 0, 3, -2]), (40, 42))
    assert again.tolist() == [[20, 6, 30, 30], [0, 0, 9, 9], [35, 35, 41, 39]]
    assert again.dtype == np.float32


def test_where_nothing_is_found_the_whole_image_is_scored():
    assert boxes_to_score_again(
        np.empty(0, int), np.empty((0, 4), np.float32), np.empty(0, np.float32), (30, 50)
    ).tolist() == [[0, 0, 49, 29]]


@given(st.integers(0, 60), st.integers(1, 8), st.integers(1, 4), st.integers(0, 1000))
@settings(max_examples=60, deadline=None)
def test_boxes_are_distinct_within_the_image_and_the_best(count, per_image, per_class, seed):
    rng = np.random.default_rng(seed)
    corners = rng.uniform(-5, 40, (count, 2))
    boxes = np.hstack([corners, corners + rng.uniform(0, 30, (count, 2))]).astype(np.float32)
    cls, scores = rng.integers(0, 3, count), rng.permutation(count).astype(np.float32)
    again = boxes_to_score_again(cls, boxes, scores, (48, 64), per_image=per_image, per_class=per_class)
    wanted = []
    for index in range(3):
        kept = []
        for row in np.argsort(-scores):
            apart = not kept or iou_matrix(boxes[[row]], boxes[kept]).max() <= 0.3
            if cls[row] == index and apart and len(kept) < per_class:
                kept.append(row)
        wanted += kept
    expected = []
    for row in sorted(wanted, key=lambda row: -scores[row]):
        box = [min(max(round(float(v)), 0), limit) for v, limit in zip(boxes[row], (63, 47, 63, 47), strict=True)]
        if box not in expected:
            expected.append(box)
    assert again.tolist() == (expected or [[0, 0, 63, 47]])[:per_image]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Images, with a detector, a box regressor, a proposer and an extractor of boxes."""
    root = tmp_path_factory.mktemp("world")
    write_synthetic_voc(root, num_train=1, num_test=3, seed=2)
    database = load_voc(root, "2007", "test", classes=SYNTHETIC_CLASSES)
    proposer = SlidingWindow(max_boxes=70)
    backbone = load_backbone("lite0", crop_size=32, padding=0)
    extractor = FeatureExtractor(backbone, make_runtime(backbone, "torch", "cpu"))
    rng = np.random.default_rng(0)
    feature_settings = {**extractor.settings, "proposals": proposer.settings}
    W = 0.02 * rng.standard_normal((backbone.dim, 5), dtype=np.float32)
    given_ = {"feat_norm_mean": 20.0, "feature_settings": feature_settings}
    detector = Detector(tuple(SYNTHETIC_CLASSES), W, np.full(5, -1, np.float32), **given_)
    regressor = BoxRegressor.identity(detector.classes, backbone.dim, **given_)
    regressor.Beta[:, :-1] = 0.003 * rng.standard_normal((5, backbone.dim, 4))
    return SimpleNamespace(**locals())


def found_by_stages(world, proposals, folder):
    """Return what the stages extract and test find, corrected, and what they find of boxes that are there."""
    extract_database(world.database, proposals, world.extractor, folder, dtype="float32")
    cache = FeatureCache.open(folder)
    # One image knows no limit over all of them.
    detections = detect_in_cache(cache, world.detector, max_per_set=10_000)
    return correct_detections(detections, world.regressor, cache)


@pytest.mark.parametrize("vote", [False, True])
def test_one_image_has_what_the_stages_find(world, vote, tmp_path):
    database = world.database
    first = found_by_stages(world, propose_database(database, world.proposer, tmp_path / "p.h5"), tmp_path / "first")
    proposals = proposals_to_score_again(first.after_voting() if vote else first, database, per_image=12)
    assert [len(boxes) for boxes in proposals.boxes] == [12] * 3
    second = found_by_stages(world, proposals, tmp_path / "second").merged(first, 100, 10_000)
    second = second.after_voting() if vote else second
    given_ = {"proposer": world.proposer, "extractor": world.extractor, "bbox_regressor": world.regressor}
    finder = ImageDetector(world.detector, **given_, vote=vote, again=12)
    without = ImageDetector(world.detector, **given_, vote=vote)
    for index in range(3):
        image = database.load_image(index)
        expected, found = second.after_nms(0.3).of_image(index), finder.detect(image, thresh=-np.inf)
        assert len(found) > len(np.unique(found.cls)) == 5
        np.testing.assert_array_equal(found.cls, expected.cls)
        np.testing.assert_allclose(found.scores, expected.scores, atol=1e-4)
        np.testing.assert_allclose(found.boxes, expected.boxes, atol=1e-2)
        best = finder.detect(image, thresh=-2.5)
        np.testing.assert_array_equal(best.boxes, found.above(-2.5).boxes)
        assert best.scores.tolist() != without.detect(image, thresh=-2.5).scores.tolist()


def test_the_proposals_say_what_made_them(world, tmp_path):
    detections = Detections(
        (*world.database.image_ids, "another"),
        world.detector.classes,
        [0, 3],
        [0, 1],
        [[0, 0, 9, 9], [5, 5, 9, 9]],
        [1, 2],
        settings={"image_set": "toy"},
    )
    proposals = proposals_to_score_again(detections, world.database, per_image=7)
    proposals.save(tmp_path / "again.h5")
    loaded = ProposalSet.load(tmp_path / "again.h5")
    assert loaded.settings["method"] == "detections"
    assert (loaded.settings["per_image"], loaded.settings["per_class"], loaded.settings["nms"]) == (7, 5, 0.3)
    height, width = world.database.annotation(1).image_size
    assert [boxes.tolist() for boxes in loaded.boxes[:2]] == [[[0, 0, 9, 9]], [[0, 0, width - 1, height - 1]]]
    others = [
        replace(detections, score=[1, 3]),
        replace(detections, settings={"image_set": "another"}),
    ]
    fingerprints = {proposals_to_score_again(other, world.database, per_image=7).fingerprint for other in others}
    assert len({proposals.fingerprint, *fingerprints}) == 3


def test_detections_of_other_images_are_refused(world):
    detections = Detections(("another",), ("cat",), [0], [0], [[0, 0, 9, 9]], [1])
    with pytest.raises(InputError, match=r"the detections are not of 3 of 3 images of voc_2007_test .the first is"):
        proposals_to_score_again(detections, world.database)


def test_less_than_no_box_is_not_scored_again(world):
    with pytest.raises(InputError, match="again is -1, expected a number of boxes"):
        ImageDetector(world.detector, again=-1)
