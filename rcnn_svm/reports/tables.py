"""Results as tables: for the terminal, Markdown, CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from typing import Any

from rcnn_svm.evaluation.voc import VocResult

VOC_HEADER = ("class", "objects", "difficult", "detections", "max recall", "AP VOC07", "AP area")


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]], footer: Sequence[str] | None = None) -> str:
    """Return a table in fixed-width text, the first column flush left, the others flush right.

    Args:
        header: column titles.
        rows: cells, as many per row as titles.
        footer: a last row set apart by a line.
    """
    body = [*rows, footer] if footer else list(rows)
    widths = [max(len(row[column]) for row in [header, *body]) for column in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        first, *others = (
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        return "  ".join([first, *others]).rstrip()

    rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
    lines = [line(header), rule, *map(line, rows)]
    return "\n".join([*lines, rule, line(footer)] if footer else lines)


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return the same table in Markdown."""
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def voc_rows(result: VocResult) -> tuple[list[list[str]], list[str]]:
    """Return the cells of an evaluation, one row per class, and the row of the means; AP in percent."""
    rows = [
        [
            entry.name,
            str(entry.num_objects),
            str(entry.num_difficult),
            str(len(entry.scores)),
            _percent(entry.max_recall),
            _percent(entry.ap11),
            _percent(entry.ap_area),
        ]
        for entry in result.classes
    ]
    totals = [str(sum(int(row[column]) for row in rows)) for column in (1, 2, 3)]
    return rows, ["mean", *totals, "", _percent(result.map11), _percent(result.map_area)]


def voc_text(result: VocResult) -> str:
    """Return an evaluation as text: the table, and what its figures mean."""
    rows, means = voc_rows(result)
    return "\n".join([text_table(VOC_HEADER, rows, means), "", *voc_notes(result)])


def voc_markdown(result: VocResult) -> str:
    """Return an evaluation as Markdown: the table, and what its figures mean."""
    rows, means = voc_rows(result)
    return "\n".join([markdown_table(VOC_HEADER, [*rows, means]), "", *(f"- {n}" for n in voc_notes(result)), ""])


def voc_csv(result: VocResult) -> str:
    """Return an evaluation as CSV, one line per class, fractions in full; empty where there is no AP."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["class", "objects", "difficult", "detections", "max_recall", "ap_voc07", "ap_area"])
    for entry in result.classes:
        figures = [entry.max_recall, entry.ap11, entry.ap_area]
        cells = ["" if math.isnan(value) else repr(value) for value in figures]
        writer.writerow([entry.name, entry.num_objects, entry.num_difficult, len(entry.scores), *cells])
    return stream.getvalue()


def voc_json(result: VocResult, made_from: dict[str, Any]) -> str:
    """Return an evaluation as JSON, without its curves; null where there is no AP.

    Args:
        result: the evaluation.
        made_from: what was evaluated, JSON-able.
    """
    content = {
        "image_set": result.image_set,
        "images": result.num_images,
        "iou": result.iou,
        "nms": result.nms_threshold,
        "map_voc07": _number(result.map11),
        "map_area": _number(result.map_area),
        "classes": [
            {
                "class": entry.name,
                "objects": entry.num_objects,
                "difficult": entry.num_difficult,
                "detections": len(entry.scores),
                "max_recall": _number(entry.max_recall),
                "ap_voc07": _number(entry.ap11),
                "ap_area": _number(entry.ap_area),
            }
            for entry in result.classes
        ],
        "made_from": made_from,
    }
    return json.dumps(content, indent=1, allow_nan=False) + "\n"


def voc_notes(result: VocResult) -> list[str]:
    """Return, as sentences, what the figures of an evaluation mean."""
    nms = (
        "boxes taken as they are"
        if result.nms_threshold is None
        else f"non-maximum suppression at IoU > {result.nms_threshold:g}"
    )
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


def _percent(fraction: float) -> str:
    return "-" if math.isnan(fraction) else f"{100 * fraction:.1f}"


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value
