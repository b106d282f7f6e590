"""COCO's protocol: cases by hand, a brute-force reimplementation, and all classes at once."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from rcnn_svm.boxes import iou_matrix
from rcnn_svm.data.database import Annotation, ImageDatabase
from rcnn_svm.detection.detections import Detections
from rcnn_svm.evaluation.coco import METRICS, evaluate_coco
from rcnn_svm.reports.coco_tables import coco_csv, coco_json, coco_table

pytest.importorskip("pycocotools", reason="pycocotools is not installed; it comes with the extra rcnn-svm[coco]")

CLASSES = ("ant", "bee")


def database_of(*images):
    """Each image: rows of class, x1, y1, x2, y2, difficult."""

    def read(image_id):
        rows = np.array(images[int(image_id)], np.float32).reshape(-1, 6)
        none = np.zeros(len(rows), bool)
        return Annotation((300, 300), rows[:, 1:5], rows[:, 0].astype(np.int64), rows[:, 5] > 0, none)

    return ImageDatabase("toy", CLASSES, [str(i) for i in range(len(images))], Path, read)


def detections_of(num_images, *rows):
    """Rows of image, class, x1, y1, x2, y2, score."""
    table = np.array(rows, float).reshape(-1, 7)
    ids = tuple(str(i) for i in range(num_images))
    return Detections(ids, CLASSES, table[:, 0], table[:, 1], table[:, 2:6], table[:, 6])


def evaluate(database, detections):
    result = evaluate_coco(detections, database, nms_threshold=None)
    return result, dict(zip(METRICS, result.means, strict=True))


def test_perfect_detections():
    database = database_of([(0, 10, 10, 29, 29, 0), (1, 10, 10, 149, 149, 0)], [])
    found = detections_of(2, (0, 0, 10, 10, 29, 29, 0.9), (0, 1, 10, 10, 149, 149, 0.8))
    result, means = evaluate(database, found)
    np.testing.assert_allclose(result.means[[0, 1, 2, 3, 5, 6, 7, 8, 9, 11]], 1)
    assert np.isnan(means["AP medium"]) and np.isnan(means["AR medium"])
    assert np.isnan(result.values[0, METRICS.index("AP large")])


def test_an_overlap_between_the_thresholds():
    """IoU 0.82 is a hit at 7 of the 10 thresholds, 0.5 to 0.8."""
    database = database_of([(0, 0, 0, 99, 99, 0)])
    _, means = evaluate(database, detections_of(1, (0, 0, 0, 0, 99, 81, 0.5)))
    assert (means["AP"], means["AR100"]) == (pytest.approx(0.7), pytest.approx(0.7))
    assert means["AP50"] == means["AP75"] == pytest.approx(1)


def test_boxes_of_one_pixel_overlap():
    database = database_of([(0, 5, 5, 5, 5, 0)])
    _, means = evaluate(database, detections_of(1, (0, 0, 5, 5, 5, 5, 0.5)))
    assert means["AP"] == pytest.approx(1)


def test_difficult_objects_count_neither_way():
    database = database_of([(0, 0, 0, 99, 99, 0), (0, 150, 150, 249, 249, 1)])
    first = (0, 0, 150, 150, 249, 249, 0.9)
    result, means = evaluate(database, detections_of(1, first, (0, 0, 0, 0, 99, 99, 0.5)))
    assert means["AP"] == pytest.approx(1)
    assert (result.num_objects.tolist(), result.num_difficult.tolist()) == ([1, 0], [1, 0])
    easy = database_of([(0, 0, 0, 99, 99, 0)])
    _, means = evaluate(easy, detections_of(1, first, (0, 0, 0, 0, 99, 99, 0.5)))
    assert means["AP"] == pytest.approx(0.5)


def test_a_class_without_objects_has_no_value_and_one_without_detections_has_0():
    database = database_of([(0, 0, 0, 99, 99, 0)])
    result, means = evaluate(database, detections_of(1, (0, 1, 0, 0, 99, 99, 0.5)))
    assert np.isnan(result.values[1]).all() and means["AP"] == 0
    assert "-" in coco_table(result).text()


def brute_force(images, found, cls):
    """AP and AR100 of a class, written down from the definition, without crowds and sizes."""
    precisions, recalls = [], []
    for thresh in np.linspace(0.5, 0.95, 10):
        hits, total = [], 0
        for image, rows in enumerate(images):
            gt = np.array([row[1:5] for row in rows if row[0] == cls], float).reshape(-1, 4)
            total += len(gt)
            mine = sorted((r for r in found if r[0] == image and r[1] == cls), key=lambda r: -r[6])
            taken = np.zeros(len(gt), bool)
            for row in mine:
                iou = np.where(taken, -1, iou_matrix(np.array([row[2:6]]), gt)[0])
                hit = bool(len(gt)) and iou.max() >= thresh
                if hit:
                    taken[iou.argmax()] = True
                hits.append((row[6], hit))
        flags = np.array([hit for _, hit in sorted(hits, key=lambda pair: -pair[0])])
        tp = np.cumsum(flags)
        recall, precision = tp / total, tp / np.arange(1, len(tp) + 1)
        levels = [precision[recall >= level].max(initial=0) for level in np.linspace(0, 1, 101)]
        precisions.append(np.mean(levels))
        recalls.append(recall[-1])
    return np.mean(precisions), np.mean(recalls)


def test_random_boxes_against_the_definition():
    rng = np.random.default_rng(4)

    def box():
        x, y, w, h = rng.integers(1, 120, 4)
        return x, y, x + w, y + h

    images = [[(rng.integers(2), *box(), 0) for _ in range(4)] for _ in range(5)]
    found = []
    for image, rows in enumerate(images):
        for cls, *corners, _ in rows * 2:
            moved = np.array(corners) + rng.integers(-8, 9, 4)
            found.append((image, cls, *np.sort(moved.reshape(2, 2), axis=0).ravel(), rng.random()))
    result, _ = evaluate(database_of(*images), detections_of(5, *found))
    for cls in (0, 1):
        expected = brute_force(images, found, cls)
        assert 0.05 < expected[0] < 0.95
        np.testing.assert_allclose(result.values[cls, [0, METRICS.index("AR100")]], expected, atol=1e-9)


def test_tables_hold_the_values():
    database = database_of([(0, 0, 0, 99, 99, 0)])
    result, _ = evaluate(database, detections_of(1, (0, 0, 0, 0, 99, 81, 0.5)))
    content = json.loads(coco_json(result, {"who": "me"}))
    assert content["means"]["ap"] == pytest.approx(0.7)
    assert content["classes"][0]["ar_large"] == pytest.approx(0.7)
    assert content["classes"][1]["ap"] is None and content["made_from"] == {"who": "me"}
    header, ant, bee = (line.split(",") for line in coco_csv(result).splitlines())
    assert float(ant[header.index("ap")]) == pytest.approx(0.7)
    assert bee[0] == "bee" and set(bee[4:]) == {""}
    assert "70.0" in coco_table(result).markdown() and "| bee |" in coco_table(result).markdown()
