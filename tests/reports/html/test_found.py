"""What the page shows of a test, against hand-made detections and the evaluation itself."""

from __future__ import annotations

import numpy as np
import pytest

from rcnn_svm.data.database import Annotation, ImageDatabase
from rcnn_svm.detection.detections import Detections
from rcnn_svm.evaluation import detection_errors, errors_at, evaluate_detections
from rcnn_svm.evaluation.errors import HoiemKind
from rcnn_svm.evaluation.voc import RECALL_LEVELS, precision_at_levels
from rcnn_svm.reports.error_tables import HOIEM
from rcnn_svm.reports.html.found import (
    MISSED_KIND,
    PER_KIND,
    Found,
    best_and_worst,
    choose_cases,
    confusion,
    image_counts,
)
from tests.reports.html.made import SIZE, detected


def database(objects) -> ImageDatabase:
    """Return images from (class, box) for every image."""
    truth = {
        str(number): Annotation(
            SIZE,
            np.array([box for _, box in of_image], np.float32).reshape(-1, 4),
            np.array([cls for cls, _ in of_image], np.int64),
            *np.zeros((2, len(of_image)), bool),
        )
        for number, of_image in enumerate(objects)
    }
    return ImageDatabase("hand", ("cat", "dog"), tuple(truth), lambda image_id: f"{image_id}.jpg", truth.__getitem__)


BOX, BESIDE, FAR = [10, 10, 49, 49], [30, 10, 69, 49], [150, 150, 189, 189]


@pytest.fixture
def by_hand():
    """Errors of four images: a hit, a hit and a false alarm, two misses, nothing at all."""
    images = database([[(0, BOX)], [(0, BOX)], [(0, BOX), (1, FAR)], []])
    found = Detections(
        images.image_ids,
        images.classes,
        image=[0, 1, 1, 2],
        cls=[0, 0, 0, 1],
        box=[BOX, BOX, FAR, BESIDE],
        score=[0.9, 0.8, 0.7, 0.6],
    )
    return detection_errors(found, images)


def test_images_are_counted_and_ordered_by_their_errors(by_hand):
    thresh = np.array([0.0, 0.0])
    assert image_counts(by_hand, thresh).tolist() == [[1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 2, 0]]
    best, worst = best_and_worst(by_hand, thresh, 6)
    assert (best.tolist(), worst.tolist()) == ([0, 1], [2])  # image 1 is not among both
    best, worst = best_and_worst(by_hand, np.array([0.75, 0.75]), 1)
    assert (best.tolist(), worst.tolist()) == ([0], [2])
    assert image_counts(by_hand, np.array([0.85, 0])).tolist() == [[1, 0, 0, 0], [0, 0, 1, 0], [0, 1, 2, 0]]


def test_cases_say_what_is_wrong(by_hand):
    cases = choose_cases(by_hand)
    told = list(zip(cases.cls.tolist(), cases.kind, cases.image.tolist(), cases.says, strict=True))
    assert told == [
        (0, "background", 1, "on nothing (Bkg)"),
        (0, "missed", 2, "best box: IoU 0.00"),
        (1, "similar class", 2, "IoU 0.33 with cat (Both)"),
        (1, "missed", 2, "best box: IoU 0.00"),
    ]
    np.testing.assert_array_equal(cases.box, [FAR, BOX, BESIDE, FAR])
    np.testing.assert_array_equal(cases.score, np.float32([0.7, np.nan, 0.6, np.nan]))


def test_confusion_has_a_share_of_its_row(by_hand):
    table = confusion(errors_at(by_hand, 0.0))
    assert table["columns"] == ["cat", "dog", "missed"]
    cells = {row["name"]: [tuple(cell.values()) for cell in row["cells"]] for row in table["rows"]}
    assert cells["cat"] == [(2, 0.667, True), (0, 0, False), (1, 0.333, False)]
    assert cells["dog"] == [(0, 0, False), (0, 0, True), (1, 1, False)]
    assert cells["no object"] == [(1, 0.5, False), (1, 0.5, False), (0, 0, True)]


def test_no_errors_are_no_cases():
    images = database([[(0, BOX)], [(1, BOX)]])
    found = Detections(images.image_ids, images.classes, [0, 1], [0, 1], [BOX, BOX], [1, 1])
    errors = detection_errors(found, images)
    assert len(choose_cases(errors).box) == 0 and best_and_worst(errors, np.zeros(2), 3)[1].tolist() == []


@pytest.fixture(scope="module")
def of_cache(tmp_path_factory):
    """A test on a cache, with its images."""
    return Found(*detected(tmp_path_factory.mktemp("tested")))


def test_the_page_has_the_figures_of_the_evaluation(of_cache):
    content = of_cache.content
    result = evaluate_detections(of_cache.given, of_cache.images)
    means = f"mAP {100 * result.map11:.1f} (VOC07, 11 points) | {100 * result.map_area:.1f} (area)"
    assert means in content["summary"][0]
    for entry, curve in zip(result.classes, content["curves"], strict=True):
        figures = f"{100 * entry.ap11:.1f} | {100 * entry.ap_area:.1f}"
        assert curve["says"] == (figures if entry.num_objects else "no objects")
        if not entry.num_objects:
            continue
        points = precision_at_levels(entry.recall, entry.precision)
        assert points.mean() == pytest.approx(entry.ap11) and len(points) == len(RECALL_LEVELS)
    at = errors_at(of_cache.errors, result.best_f1_thresh)
    assert [group["wrong"] for group in content["cases"]] == at.wrong.tolist()
    assert [group["missed"] for group in content["cases"]] == at.missed.tolist()


def test_cases_are_the_highest_of_their_kind(of_cache):
    cases, errors = of_cache.cases, of_cache.errors
    for index in range(3):
        for name, kind in zip(HOIEM, range(HoiemKind.LOCALISATION, HoiemKind.BACKGROUND + 1), strict=True):
            scores = errors.detections.score[(errors.detections.cls == index) & (errors.hoiem.kind == kind)]
            shown = [row for row in np.flatnonzero(cases.cls == index) if cases.kind[row] == name]
            np.testing.assert_array_equal(cases.score[shown], np.sort(scores)[::-1][:PER_KIND])
    assert {MISSED_KIND, "localisation", "background"} <= set(cases.kind)
    assert all((kind == MISSED_KIND) == np.isnan(score) for kind, score in zip(cases.kind, cases.score, strict=True))


def test_images_are_shown_with_their_boxes_and_lost_ones_without(of_cache):
    content = of_cache.content
    pictures = [*content["best"], *content["worst"]]
    assert all(picture["jpeg"] for picture in pictures)
    assert len({picture["image"] for picture in pictures}) == len(pictures) > 4
    texts, problems = of_cache.crops
    assert len(texts) == len(of_cache.cases.box) and None not in texts and problems == []
    lost = of_cache.images.image_ids.index(pictures[0]["image"])
    kept = of_cache.images.image_path(lost).read_bytes()
    of_cache.images.image_path(lost).unlink()
    shown = Found(of_cache.given, of_cache.images).content["best"][0]
    assert shown["jpeg"] == "" and "does not exist" in shown["says"]
    of_cache.images.image_path(lost).write_bytes(kept)
