"""Correction of detections: the original's boxes, and what may be corrected with what."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from rcnn_svm.boxes import iou_matrix
from rcnn_svm.detection.bbox_correction import check_regressor, check_same_regions, correct_detections
from rcnn_svm.detection.bbox_regression import BoxRegressor
from rcnn_svm.detection.detect import ImageDetector
from rcnn_svm.detection.detections import Detections
from rcnn_svm.detection.detector import Detector
from rcnn_svm.detection.image_set import detect_in_cache
from rcnn_svm.detection.one_image import best_detections
from rcnn_svm.errors import InputError
from rcnn_svm.experiments.parity import case_cache
from tests.toys import toy_cache


def test_a_box_moves_by_a_tenth_of_its_width():
    given = {"boxes": [[10, 10, 20, 20]], "image_size": [(40, 40)]}
    cache = toy_cache([1], classes=("cat",), objects=0, dim=2, **given)
    detector = Detector(("cat",), np.zeros((2, 1)), np.zeros(1), 1.0, cache.settings)
    regressor = BoxRegressor.identity(("cat",), 2, 1.0, feature_settings=cache.settings)
    regressor.Beta[0, -1, 0] = 0.1  # what is added to dx, whatever the features
    corrected = correct_detections(detect_in_cache(cache, detector), regressor, cache)
    np.testing.assert_allclose(corrected.box, [[11, 10, 21, 20]], atol=1e-5)


@pytest.mark.golden
@pytest.mark.parametrize("layer", [5, 7])
def test_corrected_detections_equal_the_original(golden_dir, layer):
    """Boxes found in layer 7, corrected from the features of layer 5 and of layer 7."""
    inputs = dict(np.load(golden_dir / "fc7" / "inputs.npz"))
    given, expected = (np.load(golden_dir / "fc7" / f"{n}.npz") for n in ("detections", f"bbox_reg_layer{layer}"))
    cache, features = (case_cache({**inputs, "layer": np.int32(n)}, "fc7") for n in (7, layer))
    check_same_regions(cache, features, "one", "the other")
    detector = Detector(cache.classes, given["W"], given["B"], float(given["feat_norm_mean"]), cache.settings)
    arrays = {name: expected[name] for name in ("mu", "T", "T_inv", "Beta")}
    norm = float(expected["feat_norm_mean"])
    regressor = BoxRegressor(cache.classes, **arrays, feat_norm_mean=norm, feature_settings=features.settings)
    found = detect_in_cache(cache, detector)
    corrected = correct_detections(found, regressor, features)

    keys = zip(corrected.cls.tolist(), corrected.image.tolist(), corrected.row.tolist(), strict=True)
    boxes = dict(zip(keys, corrected.box, strict=True))
    expected_keys = [tuple(key) for key in given["keys"].tolist()]
    assert boxes.keys() == set(expected_keys)
    ours = np.array([boxes[key] for key in expected_keys])
    np.testing.assert_allclose(ours + 1, expected["det_boxes"][:, :4], atol=1e-3)
    np.testing.assert_array_equal(corrected.score, found.score)


def make_cache(rows=(12, 0, 24), shift=0, **options):
    corner = np.random.default_rng(1).integers(0, 30, (36, 2)) + shift
    arrays = {
        "features": np.random.default_rng(0).normal(size=(36, 5)),
        "boxes": np.hstack([corner, corner + 20]),
        "image_size": np.full((3, 2), 45),
        "settings": {"backbone": {"name": "alexnet", "layer": "fc7"}, "crop_size": 227},
    }
    return toy_cache(rows, classes=("cat", "dog"), objects=0, **{**arrays, **options})


def toy_detector(cache):
    W = np.random.default_rng(2).normal(size=(cache.dim, 2)).astype(np.float32)
    return Detector(("dog", "cat"), W, np.zeros(2, np.float32), 2.0, cache.settings)


def toy_regressor(cache, classes=("cat", "cow", "dog"), dim=5):
    regressor = BoxRegressor.identity(classes, dim, 2.0, feature_settings=cache.settings)
    regressor.Beta[:] = np.random.default_rng(3).normal(size=regressor.Beta.shape) / 30
    return regressor


def test_classes_are_matched_by_name_and_only_boxes_change():
    cache = make_cache()
    found, regressor = detect_in_cache(cache, toy_detector(cache)), toy_regressor(cache)
    corrected = correct_detections(found, regressor, cache)
    for name in ("image", "cls", "score", "row", "thresh", "box_counts"):
        np.testing.assert_array_equal(getattr(corrected, name), getattr(found, name))
    for index, name in enumerate(found.classes):
        for image in (0, 2):
            mine = np.flatnonzero((found.cls == index) & (found.image == image))
            features = cache.regions(image).features[found.row[mine]]
            cls = np.full(len(mine), regressor.classes.index(name))
            expected = regressor.correct(features, found.box[mine], cls, (45, 45))
            np.testing.assert_allclose(corrected.box[mine], expected, atol=1e-4)
    assert corrected.settings["bbox"]["digest"] == regressor.digest
    assert "bbox" not in found.settings


def test_derived_features_are_computed_once_and_for_what_was_found_alone():
    cache = make_cache()
    computed = []

    def transform(rows):
        computed.extend(rows.tolist())
        return 2 * rows

    derived = cache.derived(transform, cache.dim, cache.settings)
    whole = detect_in_cache(cache, toy_detector(cache))
    # Two regions of the first image and one of the last, each in both classes.
    some = np.isin(10 * whole.image + whole.row, [3, 7, 25])
    arrays = {name: getattr(whole, name)[some] for name in ("image", "cls", "box", "score", "row")}
    found = Detections(whole.image_ids, whole.classes, **arrays)
    corrected = correct_detections(found, toy_regressor(cache), derived)
    assert len(found) == 6
    np.testing.assert_array_equal(computed, [*cache.regions(0).features[[3, 7]], cache.regions(2).features[5]])
    halved = replace(toy_regressor(cache), feat_norm_mean=1.0)
    np.testing.assert_allclose(corrected.box, correct_detections(found, halved, cache).box, atol=1e-4)


def test_boxes_are_suppressed_where_they_were_corrected_to():
    """All boxes of a class are moved onto one: a single one is left, and without the correction there are more."""
    cache = make_cache()
    regions = cache.regions(2)
    scores = toy_detector(cache).scores(regions.features)
    target = np.array([10, 10, 30, 30], np.float32)
    asked = []

    def onto_target(rows, cls):
        asked.append((rows, cls))
        return np.where((cls == 0)[:, None], target, regions.boxes[rows])

    plain = best_detections(regions.boxes, scores, -100, 0.3)
    moved = best_detections(regions.boxes, scores, -100, 0.3, onto_target)
    assert (plain.cls == 0).sum() > 1
    assert moved.boxes[moved.cls == 0].tolist() == [target.tolist()]
    assert moved.scores[moved.cls == 0] == scores[:, 0].max()
    np.testing.assert_array_equal(moved.boxes[moved.cls == 1], plain.boxes[plain.cls == 1])
    (rows, cls) = asked[0]
    assert sorted(zip(rows.tolist(), cls.tolist(), strict=True)) == [(row, c) for row in range(24) for c in (0, 1)]


class Features:
    """Stands in for a network: every box has the features of the cache."""

    def __init__(self, features):
        self.features = features

    def extract(self, image, boxes):
        return self.features


def test_detect_corrects_what_it_finds():
    cache = make_cache()
    regions, detector = cache.regions(2), toy_detector(cache)
    image = np.zeros((45, 45, 3), np.uint8)
    given = {"proposer": lambda image: regions.boxes, "extractor": Features(regions.features)}
    plain = ImageDetector(detector, **given).detect(image, nms_threshold=1.0)
    regressor = toy_regressor(cache)
    corrects = ImageDetector(detector, **given, bbox_regressor=regressor)
    found = corrects.detect(image, nms_threshold=1.0)
    whole = detect_in_cache(cache, detector)
    corrected = correct_detections(whole, regressor, cache).of_image(2).above(-1)
    np.testing.assert_array_equal(found.scores, plain.scores)
    np.testing.assert_allclose(found.boxes, corrected.boxes, atol=1e-4)
    assert (np.abs(found.boxes - plain.boxes).max(axis=1) > 0.1).any()
    suppressed = corrects.detect(image, nms_threshold=0.3)
    for index in (0, 1):
        iou = iou_matrix(*[suppressed.boxes[suppressed.cls == index]] * 2)
        assert iou[~np.eye(len(iou), dtype=bool)].max(initial=0) <= 0.3


def test_features_of_another_layer_are_refused():
    cache = make_cache()
    detector = toy_detector(cache)
    fc6 = {"backbone": {"name": "alexnet", "layer": "fc6"}, "crop_size": 227}
    regressor = replace(toy_regressor(cache, dim=7), feature_settings=fc6)
    message = "box regressor b expects 7-d alexnet fc6 features, the training cache of model m holds 5-d alexnet fc7"
    with pytest.raises(InputError, match=message):
        check_regressor(regressor, detector, "box regressor b", "model m")
    with pytest.raises(InputError, match="the box regressor expects 7-d alexnet fc6 features, the cache of toy"):
        correct_detections(detect_in_cache(cache, detector), regressor, cache)
    regressor = replace(toy_regressor(cache), feature_settings=fc6)
    with pytest.raises(InputError, match=r"backbone\.layer: fc7 there, fc6 wanted"):
        ImageDetector(detector, bbox_regressor=regressor)


def test_a_class_that_the_regressor_lacks_is_refused():
    cache = make_cache()
    regressor = toy_regressor(cache, classes=("cat", "cow"))
    for correct in (
        lambda: check_regressor(regressor, toy_detector(cache)),
        lambda: correct_detections(detect_in_cache(cache, toy_detector(cache)), regressor, cache),
    ):
        with pytest.raises(InputError, match="no class 'dog', it has cat, cow"):
            correct()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"image_ids": ("x", "y", "z")}, "images differ"),
        ({"rows": (11, 1, 24)}, "numbers of regions differ"),
        ({"shift": 1}, "boxes differ"),
    ],
)
def test_caches_of_other_regions_are_refused(change, told):
    cache, other = make_cache(), make_cache(**change)
    message = f"cache b does not hold the regions of cache a: their {told}"
    with pytest.raises(InputError, match=message):
        check_same_regions(cache, other, "cache a", "cache b")
    found = detect_in_cache(cache, toy_detector(cache))
    with pytest.raises(InputError, match=r"are not of the images of toy|are not regions of toy"):
        correct_detections(found, toy_regressor(other), other)


def test_corrected_and_foreign_detections_are_refused():
    cache = make_cache()
    found, regressor = detect_in_cache(cache, toy_detector(cache)), toy_regressor(cache)
    with pytest.raises(InputError, match="as the test stage found them"):
        correct_detections(correct_detections(found, regressor, cache), regressor, cache)
    without_rows = Detections(found.image_ids, found.classes, found.image, found.cls, found.box, found.score)
    with pytest.raises(InputError, match="as the test stage found them"):
        correct_detections(without_rows, regressor, cache)
