"""Results in COCO's protocol as a table, CSV and JSON."""

from __future__ import annotations

from typing import Any

import numpy as np

from rcnn_svm.evaluation.coco import METRICS, CocoResult
from rcnn_svm.reports.table import Table, evaluation_json, percent, records_csv, suppression_note

HEADER = ("class", "objects", "difficult", "detections", *METRICS)


def coco_table(result: CocoResult) -> Table:
    """Return the table of an evaluation, one row per class, in percent, and the means; with what they mean."""
    counts = np.column_stack([result.num_objects, result.num_difficult, result.num_detections])
    rows = [
        [name, *map(str, numbers), *map(percent, values)]
        for name, numbers, values in zip(result.classes, counts.tolist(), result.values, strict=True)
    ]
    means = ["mean", *map(str, counts.sum(axis=0).tolist()), *map(percent, result.means)]
    return Table(HEADER, rows, means, _notes(result))


def coco_csv(result: CocoResult) -> str:
    """Return an evaluation as CSV, one line per class, fractions in full; empty where there is no value."""
    return records_csv(_records(result))


def coco_json(result: CocoResult, made_from: dict[str, Any]) -> str:
    """Return an evaluation as JSON; see `evaluation_json`."""
    figures = {"nms": result.nms_threshold, "soft_nms_sigma": result.soft_nms_sigma, "means": _by_metric(result.means)}
    return evaluation_json(result.image_set, result.num_images, figures, _records(result), made_from)


def _records(result: CocoResult) -> list[dict[str, Any]]:
    return [
        {
            "class": name,
            "objects": int(result.num_objects[k]),
            "difficult": int(result.num_difficult[k]),
            "detections": int(result.num_detections[k]),
            **_by_metric(result.values[k]),
        }
        for k, name in enumerate(result.classes)
    ]


def _by_metric(values: np.ndarray) -> dict[str, float]:
    return {metric.lower().replace(" ", "_"): value for metric, value in zip(METRICS, values.tolist(), strict=True)}


def _notes(result: CocoResult) -> list[str]:
    nms = suppression_note(result.nms_threshold, result.soft_nms_sigma)
    return [
        f"{result.image_set}: {result.num_images} images, {nms}; means over the classes that have a value.",
        "AP: mean over IoU 0.5, 0.55, ..., 0.95, 101 recall levels, at most 100 boxes of a class in an image; "
        "AP50, AP75: at that IoU.",
        "AR1, AR10, AR100: best recall with so many boxes of a class in an image, mean over the same IoUs.",
        "Small, medium, large: boxes below 32 x 32, between, and above 96 x 96 pixels. Difficult objects are crowds.",
    ]
