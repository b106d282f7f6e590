"""VOC average precision against the original's outputs, a literal loop and cases computed by hand."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import precision_recall_curve

from rcnn_svm.data.database import Annotation, ImageDatabase
from rcnn_svm.detection.detections import Detections
from rcnn_svm.detection.detector import Detector
from rcnn_svm.detection.image_set import detect_in_cache
from rcnn_svm.errors import InputError
from rcnn_svm.evaluation.voc import RECALL_LEVELS, align, evaluate_class, evaluate_detections, evaluate_in_cache
from tests.toys import CLASSES, telling

CASES = [f"c{index}" for index in range(5)]


def test_two_objects_and_three_boxes_by_hand():
    """A hit, a false alarm and a hit: recall 1/2, 1/2, 1 at precision 1, 1/2, 2/3."""
    objects = np.array([[0, 0, 9, 9], [50, 50, 59, 59]])
    boxes = np.array([objects[0], [20, 20, 29, 29], objects[1]])
    result = evaluate_class(
        np.zeros(3, int), boxes, np.array([3.0, 2, 1]), np.zeros(2, int), objects, np.zeros(2, bool)
    )
    np.testing.assert_allclose(result.recall, [1 / 2, 1 / 2, 1])
    np.testing.assert_allclose(result.precision, [1, 1 / 2, 2 / 3])
    assert result.ap_area == pytest.approx((1 + 2 / 3) / 2)
    assert result.ap11 == pytest.approx((6 * 1 + 5 * 2 / 3) / 11)  # recall 0 to 0.5, and 0.6 to 1


@pytest.mark.golden
@pytest.mark.parametrize("case", CASES)
def test_equals_original(golden_dir, case):
    given_, expected = (np.load(golden_dir / "ap" / f"{name}.npz") for name in ("inputs", "expected"))
    result = evaluate_class(
        *(given_[f"{case}_{name}"] for name in ("det_image", "det_box", "det_score")),
        *(given_[f"{case}_{name}"] for name in ("gt_image", "gt_box", "gt_difficult")),
    )
    np.testing.assert_allclose(result.recall, expected[f"{case}_rec"], rtol=1e-12)
    np.testing.assert_allclose(result.precision, expected[f"{case}_prec"], rtol=1e-12, equal_nan=True)
    assert result.ap11 == pytest.approx(float(expected[f"{case}_ap11"]), abs=1e-12)
    assert result.ap_area == pytest.approx(float(expected[f"{case}_auc"]), abs=1e-12)


def literal_overlap(a, b):
    width, height = min(a[2], b[2]) - max(a[0], b[0]) + 1, min(a[3], b[3]) - max(a[1], b[1]) + 1
    if width <= 0 or height <= 0:
        return 0.0
    union = sum((box[2] - box[0] + 1) * (box[3] - box[1] + 1) for box in (a, b)) - width * height
    return width * height / union


def literal_evaluation(detections, objects, least_iou):
    """The development kit's loop, one detection at a time; lists of (image, box, score), (image, box, difficult)."""
    wanted = sum(not difficult for _, _, difficult in objects)
    found, hits, alarms, recall, precision = set(), 0, 0, [], []
    for image, box, _ in sorted(detections, key=lambda detection: -detection[2]):
        best, best_iou = None, 0.0
        for number, (gt_image, gt_box, _) in enumerate(objects):
            if gt_image == image and literal_overlap(box, gt_box) > best_iou:
                best, best_iou = number, literal_overlap(box, gt_box)
        if best is None or best_iou < least_iou:
            alarms += 1
        elif not objects[best][2]:
            hits += best not in found
            alarms += best in found
            found.add(best)
        recall.append(hits / wanted)
        precision.append(hits / (hits + alarms) if hits + alarms else 0.0)
    # MATLAB counts 0:0.1:1 from both ends.
    levels = [level * 0.1 if level <= 5 else 1 - (10 - level) * 0.1 for level in range(11)]
    points = list(zip(recall, precision, strict=True))
    ap11 = sum(max((p for r, p in points if r >= level), default=0.0) for level in levels)
    area, before = 0.0, 0.0
    for position, level in enumerate(recall):
        area += (level - before) * max(precision[position:])
        before = level
    return recall, precision, ap11 / 11, area


@st.composite
def toy_class(draw):
    """Few images, few box places and few scores, so that ties, double hits and difficult objects are common."""

    def boxes(count):
        corner = draw(hnp.arrays(np.int64, (count, 2), elements=st.integers(0, 4)))
        extent = draw(hnp.arrays(np.int64, (count, 2), elements=st.integers(3, 9)))
        return np.hstack([corner, corner + extent]).astype(np.float32)

    num_det, num_gt = draw(st.integers(0, 25)), draw(st.integers(1, 10))
    images = hnp.arrays(np.int64, num_det, elements=st.integers(0, 2))
    scores = hnp.arrays(np.float32, num_det, elements=st.integers(-4, 4))
    difficult = draw(hnp.arrays(bool, num_gt))
    difficult[0] = False
    gt_image = draw(hnp.arrays(np.int64, num_gt, elements=st.integers(0, 3)))
    return draw(images), boxes(num_det), draw(scores), gt_image, boxes(num_gt), difficult


@given(toy_class(), st.sampled_from([0.3, 0.5, 0.7, 1.0]))
@settings(max_examples=200, deadline=None)
def test_equals_literal_loop(arrays, iou):
    det_image, det_box, det_score, gt_image, gt_box, difficult = arrays
    result = evaluate_class(*arrays, iou=iou)
    recall, precision, ap11, area = literal_evaluation(
        list(zip(det_image.tolist(), det_box.tolist(), det_score.tolist(), strict=True)),
        list(zip(gt_image.tolist(), gt_box.tolist(), difficult.tolist(), strict=True)),
        iou,
    )
    np.testing.assert_allclose(result.recall, recall)
    np.testing.assert_allclose(np.nan_to_num(result.precision), precision)
    assert result.ap11 == pytest.approx(ap11)
    assert result.ap_area == pytest.approx(area)


@given(st.lists(st.booleans(), min_size=1, max_size=30).filter(any))
@settings(max_examples=50, deadline=None)
def test_curve_equals_scikit_learn(is_hit):
    """Distinct scores, every object hit at most once: then detection is plain binary ranking."""
    count = len(is_hit)
    det_box = np.array([[0, 0, 9, 9] if hit else [50, 50, 59, 59] for hit in is_hit])
    result = evaluate_class(
        np.arange(count),
        det_box,
        np.arange(count, 0, -1.0),
        np.flatnonzero(is_hit),
        np.tile([0, 0, 9, 9], (sum(is_hit), 1)),
        np.zeros(sum(is_hit), bool),
    )
    precision, recall, _ = precision_recall_curve(is_hit, np.arange(count, 0, -1.0), drop_intermediate=False)
    np.testing.assert_allclose(result.precision[::-1], precision[:-1])
    np.testing.assert_allclose(result.recall[::-1], recall[:-1])


def one_object(det_box, **options):
    det_box = np.array(det_box, np.float32).reshape(-1, 4)
    return evaluate_class(
        np.zeros(len(det_box), int),
        det_box,
        -np.arange(len(det_box), dtype=np.float32),
        np.zeros(1, int),
        np.array([[0, 0, 9, 9]], np.float32),
        np.array([options.pop("difficult", False)]),
        **options,
    )


def test_levels_of_recall_are_those_of_the_development_kit():
    """MATLAB's 0:0.1:1, in which 0.3 is one rounding error too large and all others are exact."""
    assert RECALL_LEVELS.tolist() == [0, 0.1, 0.2, 0.30000000000000004, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1]


@pytest.mark.parametrize(("found", "of", "levels"), [(3, 5, 7), (7, 10, 8), (3, 10, 3), (2, 5, 5), (1, 2, 6)])
def test_a_recall_of_exactly_a_level_reaches_it(found, of, levels):
    """3 of 5 objects found without a false alarm reach the levels 0 to 0.6: an AP of 7 / 11, 63.6 %."""
    objects = np.arange(of)[:, None] * 20 + np.array([0, 0, 9, 9])
    arrays = np.zeros(found, int), objects[:found], np.arange(found), np.zeros(of, int), objects, np.zeros(of, bool)
    assert evaluate_class(*arrays).ap11 == pytest.approx(levels / 11)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint64, np.int64, bool, np.float16])
def test_scores_of_any_kind_of_number_rank_the_same(dtype):
    """The worse box is the hit: an AP of one half, where unsigned 0 came before 1."""
    objects, boxes = np.array([[0, 0, 9, 9]]), np.array([[0, 0, 9, 9], [50, 50, 59, 59]])
    scores = np.array([0, 1], dtype)
    result = evaluate_class(np.zeros(2, int), boxes, scores, np.zeros(1, int), objects, np.zeros(1, bool))
    assert (result.scores.tolist(), result.ap_area) == ([1, 0], 0.5)


def test_overlap_of_exactly_one_half_is_a_hit():
    assert one_object([[0, 0, 9, 4]]).ap_area == 1
    assert one_object([[0, 0, 9, 3]]).ap_area == 0


def test_second_hit_is_a_false_alarm():
    result = one_object([[0, 0, 9, 9], [0, 0, 9, 9]])
    assert result.precision.tolist() == [1, 0.5]
    assert result.ap11 == result.ap_area == 1


def test_only_difficult_objects_leave_no_ap():
    result = one_object([[0, 0, 9, 9]], difficult=True)
    assert (result.num_objects, result.num_difficult) == (0, 1)
    assert math.isnan(result.ap11)
    assert math.isnan(result.ap_area)
    assert math.isnan(result.max_recall)


def test_no_detections_are_ap_zero():
    result = one_object([])
    assert (result.ap11, result.ap_area, result.max_recall) == (0, 0, 0)


def test_precision_without_a_meaning_counts_as_zero():
    """The only detection hits a difficult object: 0 of 0. The development kit's 11-point AP is NaN here."""
    result = evaluate_class(
        np.array([0]),
        np.array([[0, 0, 9, 9]]),
        np.array([1.0]),
        np.array([0, 0]),
        np.array([[0, 0, 9, 9], [40, 40, 49, 49]]),
        np.array([True, False]),
    )
    assert np.isnan(result.precision).all()
    assert (result.ap11, result.ap_area) == (0, 0)


def test_best_f1_threshold_keeps_the_best_set():
    result = one_object([[40, 40, 49, 49], [0, 0, 9, 9], [60, 60, 69, 69]])
    assert (result.scores > result.best_f1_thresh).sum() == 2
    assert one_object([[40, 40, 49, 49]]).best_f1_thresh == 0
    assert one_object([[0, 0, 9, 9]], difficult=True).best_f1_thresh == 0


def test_iou_out_of_range_is_refused():
    with pytest.raises(InputError, match=r"\(0, 1\], not 0"):
        one_object([[0, 0, 9, 9]], iou=0)


def toy_database(image_ids=("000001", "000002", "000003"), classes=("cat", "dog", "cow")):
    """One cat in every image, and a difficult dog in the second; no cow anywhere."""

    def annotation(image_id):
        second = image_id == "000002"
        boxes = [[5, 5, 24, 24], [40, 5, 69, 29]] if second else [[5, 5, 24, 24]]
        return Annotation(
            (60, 80),
            np.array(boxes, np.float32),
            np.array([classes.index("cat"), classes.index("dog")] if second else [classes.index("cat")]),
            np.array([False, True] if second else [False]),
            np.zeros(len(boxes), bool),
        )

    return ImageDatabase("toy_test", classes, image_ids, lambda image_id: Path(image_id), annotation)


def toy_detections(image_ids=("000003", "000001", "000002")):
    """Cats of two images found, one of them twice; classes and images in another order than the database's."""
    return Detections(
        image_ids=image_ids,
        classes=("zebra", "dog", "cat", "cow"),
        image=np.array([0, 0, 1, 2, 1]),
        cls=np.array([2, 2, 2, 1, 0]),
        box=np.array([[5, 5, 24, 24], [5, 6, 24, 25], [6, 5, 25, 24], [40, 5, 69, 29], [0, 0, 5, 5]]),
        score=np.array([0.9, 0.8, 0.7, 0.6, 0.5]),
    )


def test_image_set_is_matched_by_name_and_classes_without_objects_are_left_out_of_the_mean():
    result = evaluate_detections(toy_detections(), toy_database())
    cat, dog, cow = result.classes
    assert (cat.name, cat.num_objects, len(cat.scores)) == ("cat", 3, 2)
    assert cat.ap_area == pytest.approx(2 / 3)
    assert cat.ap11 == pytest.approx(7 / 11)
    assert (dog.num_objects, dog.num_difficult, len(dog.scores)) == (0, 1, 1)
    assert (cow.num_objects, cow.num_difficult) == (0, 0)
    assert result.without_objects == ("dog", "cow")
    assert result.map_area == cat.ap_area
    assert result.map11 == cat.ap11
    assert result.nms_threshold == 0.3


def test_a_cache_is_evaluated_as_its_images_are():
    cache, rng = telling(0, 9), np.random.default_rng(0)
    detector = Detector(CLASSES[::-1], rng.random((8, 3), np.float32), np.zeros(3, np.float32), 9.0, cache.settings)

    def read_annotation(image_id: str) -> Annotation:
        regions = cache.regions(int(image_id))
        own = regions.gt
        return Annotation((200, 200), regions.boxes[own], 3 - regions.label[own], regions.difficult[own], own[own])

    database = ImageDatabase("telling", CLASSES[::-1], cache.image_ids, Path, read_annotation)
    expected = evaluate_detections(detect_in_cache(cache, detector), database)
    found = evaluate_in_cache(cache, detector)
    assert [(c.name, c.num_objects, c.ap_area, c.ap11) for c in found.classes] == [
        (c.name, c.num_objects, c.ap_area, c.ap11) for c in expected.classes
    ]
    assert (found.image_set, found.num_images, found.nms_threshold) == ("telling", 9, 0.3)


def test_without_suppression_the_double_hit_costs_precision():
    result = evaluate_detections(toy_detections(), toy_database(), nms_threshold=None)
    assert len(result.classes[0].scores) == 3
    assert result.classes[0].precision.tolist() == pytest.approx([1, 1 / 2, 2 / 3])
    assert result.nms_threshold is None


def test_order_of_images_decides_nothing():
    first = evaluate_detections(toy_detections(), toy_database())
    second = evaluate_detections(toy_detections(), toy_database(image_ids=("000002", "000003", "000001")))
    assert first.map_area == second.map_area


def test_align_keeps_what_belongs_together():
    aligned = align(toy_detections(), toy_database())
    assert aligned.classes == ("cat", "dog", "cow")
    assert aligned.image_ids == ("000001", "000002", "000003")
    assert aligned.image[aligned.of_class(0)].tolist() == [2, 2, 0]
    assert aligned.score[aligned.of_class(1)].tolist() == [np.float32(0.6)]
    assert len(aligned) == 4


@pytest.mark.parametrize(
    ("detected", "known", "message"),
    [
        (("000003", "000001", "x"), None, r"image 000002 of toy_test was not tested"),
        (None, ("000001", "000002"), r"the detections have image 000003, which is not in toy_test"),
    ],
)
def test_other_images_are_refused(detected, known, message):
    detections = toy_detections(detected) if detected else toy_detections()
    database = toy_database(known) if known else toy_database()
    with pytest.raises(InputError, match=message):
        evaluate_detections(detections, database)


def test_a_class_nobody_looked_for_is_refused():
    with pytest.raises(InputError, match="do not cover class 'horse' of toy_test"):
        evaluate_detections(toy_detections(), toy_database(classes=("cat", "dog", "horse")))
