"""Reasons of false positives, missed objects and what they cost: by hand, and against a loop that mends box by box."""

from __future__ import annotations

import numpy as np
import pytest

from rcnn_svm.data.database import Annotation, ImageDatabase
from rcnn_svm.detection.detections import Detections
from rcnn_svm.errors import InputError
from rcnn_svm.evaluation.at_threshold import errors_at
from rcnn_svm.evaluation.errors import HoiemKind, TideKind, detection_errors, similar_classes
from rcnn_svm.evaluation.tide import MENDED, error_costs, missed_for_good
from rcnn_svm.evaluation.voc import evaluate_detections
from tests.evaluation.test_voc import literal_evaluation, literal_overlap

CLASSES = ("cat", "dog", "sofa")
CAT, DOG, SOFA = range(3)


def database_of(images):
    """Return an image set; an image is a list of objects (class, box) or (class, box, "difficult")."""
    annotations = {}
    for number, objects in enumerate(images):
        annotations[str(number)] = Annotation(
            image_size=(100, 100),
            boxes=np.array([box for _, box, *_ in objects], np.float32).reshape(-1, 4),
            classes=np.array([cls for cls, *_ in objects], np.int64),
            difficult=np.array([len(rest) > 2 for rest in objects], bool),
            truncated=np.zeros(len(objects), bool),
        )
    return ImageDatabase("toy", CLASSES, tuple(annotations), lambda i: f"{i}.png", annotations.__getitem__)


def found_in(images, found):
    """Return detections from (image, class, box, score)."""
    image, cls, box, score = zip(*found, strict=True)
    return Detections(tuple(map(str, range(len(images)))), CLASSES, image, cls, box, score)


def analysed(images, found, **options):
    return detection_errors(found_in(images, found), database_of(images), nms_threshold=None, **options)


# One object of 10 x 10 pixels; of a box beside it, 10 wide, 10 - d columns overlap: IoU (10 - d) / (10 + d).
OBJECT = [10, 10, 19, 19]


def beside(pixels):
    return [10 + pixels, 10, 19 + pixels, 19]


@pytest.mark.parametrize(
    ("cls", "box", "hoiem", "tide"),
    [
        (CAT, beside(0), HoiemKind.RIGHT, TideKind.RIGHT),
        (CAT, beside(4), HoiemKind.LOCALISATION, TideKind.LOC),  # 6 / 14
        (CAT, beside(9), HoiemKind.BACKGROUND, TideKind.BKG),  # 1 / 19
        (CAT, [50, 50, 59, 59], HoiemKind.BACKGROUND, TideKind.BKG),
        (DOG, beside(2), HoiemKind.SIMILAR, TideKind.CLS),  # 8 / 12
        (DOG, beside(4), HoiemKind.SIMILAR, TideKind.BOTH),
        (DOG, beside(9), HoiemKind.BACKGROUND, TideKind.BKG),
        (SOFA, beside(2), HoiemKind.OTHER, TideKind.CLS),
        (SOFA, beside(4), HoiemKind.OTHER, TideKind.BOTH),
        # Exactly at the bounds: 5 of 10 pixels, 1 of 10.
        (CAT, [10, 10, 19, 14], HoiemKind.RIGHT, TideKind.RIGHT),
        (CAT, [10, 10, 19, 10], HoiemKind.LOCALISATION, TideKind.LOC),
        (SOFA, [10, 10, 19, 10], HoiemKind.OTHER, TideKind.BOTH),
    ],
)
def test_one_box_and_one_cat(cls, box, hoiem, tide):
    errors = analysed([[(CAT, OBJECT)]], [(0, cls, box, 1.0)])
    assert (errors.hoiem.kind[0], errors.tide.kind[0]) == (hoiem, tide)
    iou = literal_overlap(box, OBJECT)
    background = hoiem == HoiemKind.BACKGROUND
    assert (errors.tide.object[0], errors.hoiem.object[0]) == ((-1, -1) if background else (0, 0))
    assert errors.tide.iou[0] == errors.hoiem.iou[0] == pytest.approx(0 if background else iou)
    assert errors.missed().tolist() == [tide != TideKind.RIGHT]
    assert missed_for_good(errors).tolist() == [tide not in (TideKind.RIGHT, TideKind.CLS, TideKind.LOC)]
    own = cls == CAT
    assert errors.nearest.tolist() == [0 if own else -1]
    assert errors.nearest_iou[0] == pytest.approx(iou if own else 0)


def test_a_second_hit_is_a_duplicate_unless_it_is_on_another_object():
    found = [(0, CAT, beside(0), 0.5), (0, CAT, beside(1), 1.0), (0, CAT, beside(2), 0.7)]
    errors = analysed([[(CAT, OBJECT)]], found)
    assert errors.tide.kind.tolist() == [TideKind.DUPE, TideKind.RIGHT, TideKind.DUPE]
    assert errors.hoiem.kind.tolist() == [HoiemKind.LOCALISATION, HoiemKind.RIGHT, HoiemKind.LOCALISATION]
    assert (errors.found_by.tolist(), errors.nearest.tolist()) == ([1], [0])
    both = analysed([[(CAT, OBJECT), (DOG, beside(1))]], found)
    assert both.tide.kind.tolist() == [TideKind.CLS, TideKind.RIGHT, TideKind.CLS]
    assert both.tide.object.tolist() == [1, 0, 1]


def test_the_own_class_is_looked_at_before_a_similar_one_and_that_before_others():
    images = [[(CAT, beside(6)), (DOG, beside(3)), (SOFA, beside(0))]]
    errors = analysed(images, [(0, CAT, beside(0), 1.0), (0, DOG, [10, 10, 19, 19], 1.0)])
    assert errors.hoiem.kind.tolist() == [HoiemKind.LOCALISATION, HoiemKind.RIGHT]
    assert (errors.tide.kind[0], errors.other[0]) == (TideKind.LOC, 2)
    images = [[(DOG, beside(5)), (SOFA, beside(0))]]
    assert analysed(images, [(0, CAT, beside(0), 1.0)]).hoiem.object.tolist() == [0]
    assert analysed(images, [(0, CAT, beside(0), 1.0)], similar=()).hoiem.object.tolist() == [1]


def test_difficult_objects_count_neither_way():
    images = [[(CAT, OBJECT, "difficult"), (DOG, [50, 50, 59, 59])]]
    found = [(0, CAT, beside(0), 3.0), (0, CAT, beside(4), 2.0), (0, DOG, beside(1), 1.0)]
    errors = analysed(images, found)
    assert errors.tide.kind.tolist() == [TideKind.IGNORED, TideKind.LOC, TideKind.CLS]
    assert errors.hoiem.kind.tolist() == [HoiemKind.IGNORED, HoiemKind.LOCALISATION, HoiemKind.SIMILAR]
    assert (errors.right.sum(), errors.wrong.sum()) == (0, 2)
    assert errors.missed().tolist() == missed_for_good(errors).tolist() == [False, True]
    table = errors_at(errors, -np.inf)
    assert (table.objects.tolist(), table.missed.tolist()) == ([0, 1, 0], [0, 1, 0])
    assert table.confusion[CAT, DOG] == 1 and table.confusion[3, CAT] == 1 and table.confusion[DOG, 3] == 1
    assert table.confusion.sum() == 3


def test_similar_classes_of_voc():
    alike = similar_classes(("aeroplane", "bird", "cat", "bottle", "boat"))
    assert alike.astype(int).tolist() == [
        [0, 1, 0, 0, 1],
        [1, 0, 1, 0, 0],
        [0, 1, 0, 0, 0],
        [0, 0, 0, 0, 0],
        [1, 0, 0, 0, 0],
    ]


def test_costs_by_hand():
    """Two cats: one found at rank 2, after a false alarm; the other missed, with a badly placed box at rank 3."""
    images = [[(CAT, OBJECT), (CAT, [50, 50, 59, 59])]]
    found = [(0, CAT, [80, 80, 89, 89], 3.0), (0, CAT, OBJECT, 2.0), (0, CAT, [50, 50, 59, 53], 1.0)]
    costs = error_costs(analysed(images, found))
    gain = dict(zip(MENDED, costs.gain[CAT], strict=True))
    assert costs.ap[CAT] == pytest.approx(1 / 2 * 1 / 2)
    assert gain["Loc"] == pytest.approx(2 / 3 - 1 / 4)
    assert gain["Bkg"] == gain["FP"] == pytest.approx(1 / 2 - 1 / 4)
    assert gain["Missed"] == gain["Cls"] == gain["Both"] == gain["Dupe"] == 0
    assert gain["FN"] == pytest.approx(1 / 2 - 1 / 4)
    assert np.isnan(costs.ap[[DOG, SOFA]]).all() and np.isnan(costs.gain[[DOG, SOFA]]).all()
    np.testing.assert_array_equal(costs.mean_gain, costs.gain[CAT])


def test_of_two_hits_that_mending_makes_the_better_stays():
    """The dog that is called a cat at a higher score than it is called a dog."""
    images = [[(DOG, OBJECT)], []]
    found = [(0, CAT, OBJECT, 3.0), (1, DOG, OBJECT, 2.0), (0, DOG, OBJECT, 1.0)]
    costs = error_costs(analysed(images, found))
    assert costs.ap[DOG] == pytest.approx(1 / 2)
    assert costs.gain[DOG, MENDED.index("Cls")] == pytest.approx(1 / 2)


def made(seed, num_images=12):
    """Return images of a few objects, and boxes near them and elsewhere, called by any class."""
    rng = np.random.default_rng(seed)
    images, found = [], []
    for number in range(num_images):
        corners = rng.integers(0, 40, (rng.integers(0, 5), 2))
        boxes = np.hstack([corners, corners + 20])
        hard = rng.random(len(boxes)) < 0.2
        classes = rng.integers(0, 3, len(boxes))
        images.append(
            [
                (int(c), box.tolist(), *(["difficult"] if h else []))
                for c, box, h in zip(classes, boxes, hard, strict=True)
            ]
        )
        times = rng.choice([0, 4, 6], len(boxes))
        near = np.repeat(boxes, times, axis=0) + rng.integers(-9, 10, (times.sum(), 4))
        far = np.tile(rng.integers(0, 60, (2, 2)), 2) + np.repeat([0, 15], 2)
        own = np.concatenate([np.repeat(classes, times), rng.integers(0, 3, 2)])
        called = np.where(rng.random(len(own)) < 0.6, own, rng.integers(0, 3, len(own)))
        scores = rng.integers(-20, 20, len(own)) / 8  # some are equal
        boxes = np.concatenate([near, far]).tolist()
        found += [(number, int(c), box, float(score)) for c, box, score in zip(called, boxes, scores, strict=True)]
    return images, found


def literal_reasons(images, found, least):
    """Return TIDE's kinds, Hoiem's kinds, the object each is about, by looking at every pair of box and object."""
    tide, hoiem, target, used = {}, {}, {}, set()
    for place in sorted(range(len(found)), key=lambda place: -found[place][3]):
        image, cls, box, _ = found[place]
        pairs = [(literal_overlap(box, entry[1]), -number, entry) for number, entry in enumerate(images[image])]
        own = max((pair for pair in pairs if pair[2][0] == cls), default=(0, 0, None), key=lambda pair: pair[:2])
        other = max((pair for pair in pairs if pair[2][0] != cls), default=(0, 0, None), key=lambda pair: pair[:2])
        similar = max((pair[0] for pair in pairs if {pair[2][0], cls} == {CAT, DOG}), default=0)
        if own[0] >= least and len(own[2]) == 3:
            tide[place] = hoiem[place] = "ignored"
        elif own[0] >= least and (image, own[1]) not in used:
            tide[place] = hoiem[place] = "right"
            used.add((image, own[1]))
        elif own[0] >= 0.1:
            hoiem[place] = "localisation"
        elif similar >= 0.1:
            hoiem[place] = "similar"
        else:
            hoiem[place] = "other" if other[0] >= 0.1 else "background"
        if place not in tide:
            if 0.1 <= own[0] < least:
                tide[place] = "loc"
            elif other[0] >= least:
                tide[place] = "cls"
            elif own[0] >= least:
                tide[place] = "dupe"
            else:
                tide[place] = "both" if other[0] >= 0.1 else "bkg"
        near = other if tide[place] in ("cls", "both") else own
        target[place] = None if tide[place] == "bkg" else (image, -near[1])
    return tide, hoiem, target


def literal_cost(images, found, kind, least):
    """Return the average precision of every class once the errors of a kind are mended, one box at a time."""
    tide, _, target = literal_reasons(images, found, least)
    kept, hits = [], {}
    # Of equal scores, what comes from another class is last.
    comes = [kind == tide[place] == "cls" for place in range(len(found))]
    for place in sorted(range(len(found)), key=lambda place: (-found[place][3], comes[place], place)):
        image, cls, box, score = found[place]
        if tide[place] == kind and kind in ("both", "dupe", "bkg"):
            continue
        if kind == "FP" and tide[place] not in ("right", "ignored"):
            continue
        if tide[place] == kind or tide[place] == "right":
            if target[place] in hits:
                continue
            hits[target[place]] = place
            cls, box = images[image][target[place][1]][:2]
        kept.append((image, cls, box, score))
    fixable = {target[place] for place in range(len(found)) if tide[place] in ("right", "cls", "loc")}
    right = {target[place] for place in range(len(found)) if tide[place] == "right"}
    values = []
    for cls in range(3):
        objects = [
            (image, entry[1], len(entry) == 3)
            for image, entries in enumerate(images)
            for number, entry in enumerate(entries)
            if entry[0] == cls
            and not (kind == "missed" and len(entry) == 2 and (image, number) not in fixable)
            and not (kind == "FN" and len(entry) == 2 and (image, number) not in right)
        ]
        boxes = [(image, box, score) for image, called, box, score in kept if called == cls]
        wanted = not all(difficult for *_, difficult in objects)
        values.append(literal_evaluation(boxes, objects, least)[3] if wanted else 0.0)
    return values


@pytest.mark.parametrize("least", [0.5, 0.7])
def test_reasons_equal_those_of_a_loop_over_all_pairs(least):
    for seed in range(20):
        images, found = made(seed)
        errors = analysed(images, found, iou=least)
        tide, hoiem, target = literal_reasons(images, found, least)
        first = np.cumsum([0, *map(len, images)])
        for row, place in enumerate(np.argsort([cls for _, cls, *_ in found], kind="stable").tolist()):
            assert TideKind(errors.tide.kind[row]).name.lower() == tide[place]
            assert HoiemKind(errors.hoiem.kind[row]).name.lower() == hoiem[place]
            wanted = -1 if target[place] is None else first[target[place][0]] + target[place][1]
            assert errors.tide.object[row] == wanted


@pytest.mark.parametrize("kind", MENDED)
def test_costs_equal_those_of_mending_box_by_box(kind):
    spelled = kind if kind in ("FP", "FN") else kind.lower()
    gains = []
    for seed in range(20):
        images, found = made(seed)
        errors = analysed(images, found)
        costs = error_costs(errors)
        result = evaluate_detections(errors.detections, database_of(images), nms_threshold=None)
        np.testing.assert_allclose(costs.ap, [entry.ap_area for entry in result.classes])
        gain = costs.gain[:, MENDED.index(kind)]
        np.testing.assert_allclose(costs.ap + gain, literal_cost(images, found, spelled, 0.5), atol=1e-12)
        gains.append(gain)
    assert np.min(gains) >= -1e-12 and np.mean(gains) > 0.001


def test_at_the_best_f1_precision_and_recall_are_those_of_the_curve():
    for seed in range(10):
        images, found = made(seed)
        errors = analysed(images, found)
        result = evaluate_detections(errors.detections, database_of(images), nms_threshold=None)
        table = errors_at(errors, result.best_f1_thresh)
        for k, entry in enumerate(result.classes):
            last = np.flatnonzero(entry.scores > table.thresh[k])[-1]
            assert table.precision[k] == pytest.approx(entry.precision[last])
            assert table.recall[k] == pytest.approx(entry.recall[last])
            f1 = 2 * entry.precision * entry.recall / (entry.precision + entry.recall + 1e-300)
            assert table.f1[k] == pytest.approx(f1[last])
        np.testing.assert_array_equal(table.hoiem.sum(axis=1), table.wrong)
        np.testing.assert_array_equal(table.tide.sum(axis=1), table.wrong)
        accepted = errors.detections.score > table.thresh[errors.detections.cls]
        of_difficult = errors.tide.kind == TideKind.IGNORED
        counted = np.bincount(errors.detections.cls[accepted & ~of_difficult], minlength=3)
        np.testing.assert_array_equal(table.confusion.sum(axis=0)[:3], counted)
        np.testing.assert_array_equal(np.diag(table.confusion)[:3], table.right)
        missed = np.bincount(errors.objects.cls[errors.missed(table.thresh)], minlength=3)
        np.testing.assert_array_equal(missed, table.missed)


def test_false_positives_are_counted_apart_on_images_without_the_class_and_without_objects():
    images = [[(CAT, OBJECT)], [(DOG, OBJECT, "difficult")], [], []]
    far = [70, 70, 90, 90]
    found = [(0, CAT, OBJECT, 1), (0, CAT, far, 1), (1, CAT, far, 1), (2, CAT, far, 1), (3, CAT, far, -1)]
    table = errors_at(analysed(images, [*found, (1, DOG, far, 1), (2, DOG, far, 1)]), 0.0)
    assert table.wrong_per_image.tolist() == [3 / 4, 2 / 4, 0]
    assert table.wrong_per_image_without_class.tolist() == [2 / 3, 1 / 3, 0]
    assert table.wrong_per_image_without_objects.tolist() == [1 / 2, 1 / 2, 0]
    everywhere = errors_at(analysed(images[:1], found[:2]), 0.0)
    assert np.isnan(everywhere.wrong_per_image_without_objects).all()
    assert np.isnan(everywhere.wrong_per_image_without_class).tolist() == [True, False, False]
    assert np.isnan(everywhere.f1).tolist() == [False, True, True]


def test_a_detector_that_finds_nothing():
    images = [[(CAT, OBJECT)], []]
    nothing = Detections(("0", "1"), CLASSES, [], [], np.empty((0, 4)), [])
    errors = detection_errors(nothing, database_of(images))
    costs, table = error_costs(errors), errors_at(errors, 0.0)
    assert costs.ap[CAT] == 0 and (costs.gain[CAT] == 0).all()
    assert errors.missed().tolist() == missed_for_good(errors).tolist() == [True]
    assert table.confusion.tolist() == [[0, 0, 0, 1], [0] * 4, [0] * 4, [0] * 4]
    assert table.f1[CAT] == 0 and np.isnan(table.precision[CAT])


def test_boxes_are_suppressed_first_unless_they_are_taken_as_they_are():
    images = [[(CAT, OBJECT)]]
    found = found_in(images, [(0, CAT, OBJECT, 1.0), (0, CAT, beside(1), 0.5)])
    assert len(detection_errors(found, database_of(images)).detections) == 1
    with pytest.raises(InputError, match=r"in \(0, 1\], not 0"):
        detection_errors(found, database_of(images), iou=0)
