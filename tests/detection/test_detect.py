"""Detection in one image: from boxes and scores to what is found, with parts that are given or recorded."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from rcnn_svm.boxes import iou_matrix
from rcnn_svm.detection.detect import ImageDetector
from rcnn_svm.detection.detector import Detector
from rcnn_svm.detection.one_image import best_detections
from rcnn_svm.errors import InputError
from rcnn_svm.features.backbones import load_backbone
from rcnn_svm.features.extract import FeatureExtractor
from rcnn_svm.features.runtime import make_runtime
from rcnn_svm.proposals.methods import make_proposer


def test_of_two_boxes_of_one_object_the_better_is_found():
    boxes = np.array([[0, 0, 9, 9], [0, 0, 9, 10], [50, 50, 59, 59], [80, 80, 89, 89]], np.float32)
    found = best_detections(boxes, np.array([[1], [2], [0.5], [-1]], np.float32), 0.0, 0.3)
    assert found.scores.tolist() == [2, 0.5]
    assert found.boxes.tolist() == [[0, 0, 9, 10], [50, 50, 59, 59]]


@given(st.integers(0, 25), st.integers(1, 4), st.sampled_from([0.0, 0.3, 0.7]), st.integers(0, 1000))
@settings(max_examples=60, deadline=None)
def test_a_detection_scores_above_the_threshold_and_repeats_no_better_one(count, num_classes, nms_threshold, seed):
    rng = np.random.default_rng(seed)
    corners = rng.integers(0, 20, (count, 2))
    boxes = np.hstack([corners, corners + rng.integers(0, 20, (count, 2))]).astype(np.float32)
    scores = rng.permutation(count * num_classes).reshape(count, num_classes).astype(np.float32)
    thresh = float(count)

    found = best_detections(boxes, scores, thresh, nms_threshold)

    expected = []
    for index in range(num_classes):
        kept = []
        for row in np.argsort(-scores[:, index]):
            free = not kept or iou_matrix(boxes[[row]], boxes[kept]).max() <= nms_threshold
            if scores[row, index] > thresh and free:
                kept.append(row)
        expected += [(scores[row, index], index, *boxes[row]) for row in kept]
    rows = [(score, cls, *box) for score, cls, box in zip(found.scores, found.cls, found.boxes, strict=True)]
    assert rows == sorted(expected, reverse=True)
    assert (found.cls.dtype, found.scores.dtype) == (np.int32, np.float32)


@given(st.integers(0, 25), st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_a_threshold_per_class_gives_what_each_class_has_alone(count, seed):
    rng = np.random.default_rng(seed)
    corners = rng.integers(0, 20, (count, 2))
    boxes = np.hstack([corners, corners + rng.integers(0, 20, (count, 2))]).astype(np.float32)
    scores = rng.permutation(3 * count).reshape(count, 3).astype(np.float32)
    thresh = np.array([-np.inf, count, np.inf])
    found = best_detections(boxes, scores, thresh, 0.3)
    for index, own in enumerate(thresh.tolist()):
        alone = best_detections(boxes, scores[:, [index]], own, 0.3)
        np.testing.assert_array_equal(found.scores[found.cls == index], alone.scores)
        np.testing.assert_array_equal(found.boxes[found.cls == index], alone.boxes)


def test_detect_takes_a_threshold_per_class():
    boxes = np.array([[0, 0, 9, 9], [20, 20, 29, 29]], np.float32)
    detector = Detector(("cat", "dog"), np.eye(2, dtype=np.float32), np.zeros(2, np.float32), 20.0)
    finder = ImageDetector(detector, proposer=lambda image: boxes, extractor=_Extractor())
    found = finder.detect(np.zeros((40, 40, 3), np.uint8), thresh=np.array([-np.inf, 0.0]))
    assert sorted(zip(found.cls.tolist(), found.scores.tolist(), strict=True)) == [(0, -9), (0, -8), (1, 1)]


class _Extractor:
    def extract(self, image, boxes):
        return np.array([[-8, -7], [-9, 1]], np.float32)


def test_a_detector_alone_makes_proposals_and_features_as_its_training_did(scene, tmp_path):
    backbone = load_backbone("lite0", crop_size=32, padding=3)
    extractor = FeatureExtractor(backbone, make_runtime(backbone, "torch", "cpu"))
    proposer = make_proposer({"method": "sliding", "max_boxes": 12})
    W = np.random.default_rng(0).standard_normal((backbone.dim, 2), dtype=np.float32)
    settings_ = {**extractor.settings, "proposals": proposer.settings}
    detector = Detector(("cat", "dog"), W, np.zeros(2, np.float32), 20.0, settings_)
    image = scene(60, 80)
    found = detector.detect(image, thresh=-np.inf)
    expected = ImageDetector(detector, proposer=proposer, extractor=extractor).detect(image, thresh=-np.inf)
    assert len(found) > 2
    np.testing.assert_array_equal(found.boxes, expected.boxes)
    np.testing.assert_allclose(found.scores, expected.scores, rtol=1e-3, atol=1e-3)
    assert len(detector.detect(image, thresh=float(found.scores[0]))) == 0
    # A file and a PIL image are the same as their pixels; other arrays gave boxes, and wrong ones.
    np.testing.assert_array_equal(detector.detect(Image.fromarray(image), thresh=-np.inf).scores, found.scores)
    Image.fromarray(image).save(tmp_path / "scene.png")
    np.testing.assert_array_equal(detector.detect(tmp_path / "scene.png", thresh=-np.inf).scores, found.scores)
    for other in (image / 255, image[..., 0], image.transpose(2, 0, 1), np.dstack([image, image[..., :1]])):
        with pytest.raises(InputError, match=r"expected an array, \(H, W, 3\) uint8 RGB; convert it with"):
            detector.detect(other)
        with pytest.raises(InputError, match="convert it with"):
            extractor.extract(other, found.boxes)


@pytest.mark.parametrize("part", ["proposals", "backbone"])
def test_a_detector_trained_on_arrays_finds_nothing_in_an_image_alone(part):
    settings_ = {name: {"method": "sliding"} for name in ("proposals", "backbone") if name != part}
    detector = Detector(("cat",), np.zeros((4, 1), np.float32), np.zeros(1, np.float32), 20.0, settings_)
    with pytest.raises(InputError, match=f"does not record the {part} of its training features .they came from arrays"):
        detector.detect(np.zeros((40, 40, 3), np.uint8))
