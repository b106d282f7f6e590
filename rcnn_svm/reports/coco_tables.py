"""Results in COCO's protocol as tables: for the terminal, Markdown, CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import numpy as np

from rcnn_svm.evaluation.coco import METRICS, CocoResult
from rcnn_svm.reports.tables import markdown_table, text_table

HEADER = ("class", "objects", "difficult", "detections", *METRICS)


def coco_rows(result: CocoResult) -> tuple[list[list[str]], list[str]]:
    """Return the cells of an evaluation, one row per class, and the row of the means; values in percent."""
    counts = np.column_stack([result.num_objects, result.num_difficult, result.num_detections])
    rows = [
        [name, *map(str, numbers), *map(_percent, values)]
        for name, numbers, values in zip(result.classes, counts.tolist(), result.values, strict=True)
    ]
    return rows, ["mean", *map(str, counts.sum(axis=0).tolist()), *map(_percent, result.means)]


def coco_text(result: CocoResult) -> str:
    """Return an evaluation as text: the table, and what its figures mean."""
    rows, means = coco_rows(result)
    return "\n".join([text_table(HEADER, rows, means), "", *coco_notes(result)])


def coco_markdown(result: CocoResult) -> str:
    """Return an evaluation as Markdown: the table, and what its figures mean."""
    rows, means = coco_rows(result)
    return "\n".join([markdown_table(HEADER, [*rows, means]), "", *(f"- {note}" for note in coco_notes(result)), ""])


def coco_csv(result: CocoResult) -> str:
    """Return an evaluation as CSV, one line per class, fractions in full; empty where there is no value."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["class", "objects", "difficult", "detections", *map(_key, METRICS)])
    for k, name in enumerate(result.classes):
        counts = (result.num_objects[k], result.num_difficult[k], result.num_detections[k])
        values = ["" if value is None else repr(value) for value in _numbers(result.values[k]).values()]
        writer.writerow([name, *counts, *values])
    return stream.getvalue()


def coco_json(result: CocoResult, made_from: dict[str, Any]) -> str:
    """Return an evaluation as JSON; null where there is no value.

    Args:
        result: the evaluation.
        made_from: what was evaluated, JSON-able.
    """
    content = {
        "image_set": result.image_set,
        "images": result.num_images,
        "nms": result.nms_threshold,
        "means": _numbers(result.means),
        "classes": [
            {
                "class": name,
                "objects": int(result.num_objects[k]),
                "difficult": int(result.num_difficult[k]),
                "detections": int(result.num_detections[k]),
                **_numbers(result.values[k]),
            }
            for k, name in enumerate(result.classes)
        ],
        "made_from": made_from,
    }
    return json.dumps(content, indent=1, allow_nan=False) + "\n"


def coco_notes(result: CocoResult) -> list[str]:
    """Return, as sentences, what the figures of an evaluation mean."""
    nms = "boxes taken as they are" if result.nms_threshold is None else f"suppressed at IoU > {result.nms_threshold:g}"
    return [
        f"{result.image_set}: {result.num_images} images, {nms}; means over the classes that have a value.",
        "AP: mean over IoU 0.5, 0.55, ..., 0.95, 101 recall levels, at most 100 boxes of a class in an image; "
        "AP50, AP75: at that IoU.",
        "AR1, AR10, AR100: best recall with so many boxes of a class in an image, mean over the same IoUs.",
        "Small, medium, large: boxes below 32 x 32, between, and above 96 x 96 pixels. Difficult objects are crowds.",
    ]


def _key(metric: str) -> str:
    return metric.lower().replace(" ", "_")


def _numbers(values: np.ndarray) -> dict[str, float | None]:
    """Return the values by their metric; None for NaN."""
    pairs = zip(METRICS, values.tolist(), strict=True)
    return {_key(metric): None if np.isnan(value) else value for metric, value in pairs}


def _percent(fraction: float) -> str:
    return "-" if np.isnan(fraction) else f"{100 * fraction:.1f}"
