"""Results in PASCAL VOC's protocols as a table, CSV and JSON."""

from __future__ import annotations

from typing import Any

from rcnn_svm.evaluation.voc import VocResult
from rcnn_svm.reports.table import Table, evaluation_json, percent, records_csv, suppression_note

HEADER = ("class", "objects", "difficult", "detections", "max recall", "AP VOC07", "AP area")


def voc_table(result: VocResult) -> Table:
    """Return the table of an evaluation, one row per class, AP in percent, and the means; with what they mean."""
    records = _records(result)
    rows = [
        [
            record["class"],
            *(str(record[key]) for key in ("objects", "difficult", "detections")),
            *(percent(record[key]) for key in ("max_recall", "ap_voc07", "ap_area")),
        ]
        for record in records
    ]
    totals = [str(sum(record[key] for record in records)) for key in ("objects", "difficult", "detections")]
    means = ["mean", *totals, "", percent(result.map11), percent(result.map_area)]
    return Table(HEADER, rows, means, _notes(result))


def voc_csv(result: VocResult) -> str:
    """Return an evaluation as CSV, one line per class, fractions in full; empty where there is no AP."""
    return records_csv(_records(result))


def voc_json(result: VocResult, made_from: dict[str, Any], **more: Any) -> str:
    """Return an evaluation as JSON, without its curves; `more` goes with the figures; see `evaluation_json`."""
    figures = {
        "iou": result.iou,
        "nms": result.nms_threshold,
        "soft_nms_sigma": result.soft_nms_sigma,
        "map_voc07": result.map11,
        "map_area": result.map_area,
        **more,
    }
    return evaluation_json(result.image_set, result.num_images, figures, _records(result), made_from)


def _records(result: VocResult) -> list[dict[str, Any]]:
    return [
        {
            "class": entry.name,
            "objects": entry.num_objects,
            "difficult": entry.num_difficult,
            "detections": len(entry.scores),
            "max_recall": entry.max_recall,
            "ap_voc07": entry.ap11,
            "ap_area": entry.ap_area,
        }
        for entry in result.classes
    ]


def _notes(result: VocResult) -> list[str]:
    nms = suppression_note(result.nms_threshold, result.soft_nms_sigma)
    notes = [
        f"{result.image_set}: {result.num_images} images, a hit at IoU >= {result.iou:g}, {nms}.",
        "AP VOC07: mean of 11 recall levels (VOC2007); AP area: area under the curve (VOC2010 and later).",
        "Difficult objects count neither way and are not among the objects.",
    ]
    if result.without_objects:
        count, total = len(result.classes) - len(result.without_objects), len(result.classes)
        notes.append(
            f"No object of {', '.join(result.without_objects)}: no AP there, "
            f"the mean is over the other {count} of {total} classes."
        )
    return notes
