"""What a training of box regression did, class by class, from the record in its file."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rcnn_svm.artefacts.files import reading
from rcnn_svm.detection.bbox_regression import BoxRegressor
from rcnn_svm.reports.table import Table, cell
from rcnn_svm.words import names_in_words

HEADER = ("class", "examples", "proposals", "IoU", "corrected", "held out", "IoU", "corrected")


def bbox_table(path: str | Path) -> str:
    """Return the table of a trained box regressor: examples, and IoU before and after correction.

    Raises:
        InputError: the file is missing, damaged or not a box regressor.
    """
    regressor = BoxRegressor.load(path)
    if not regressor.training:
        return f"{len(regressor.classes)} classes: {', '.join(regressor.classes)} (without a record of the training)"
    with reading(path):
        return corrections_table(regressor).text()


def corrections_table(regressor: BoxRegressor) -> Table:
    """Return examples, and IoU before and after correction, of every class of a regressor that records its training."""
    training = regressor.training
    parts = [training["proposals"], training["held_out"]]
    rows = []
    for index, name in enumerate(regressor.classes):
        cells = [name, str(training["examples"][index])]
        for part in parts:
            cells += [str(part["number"][index]), *(cell(part[key][index], ".3f") for key in ("iou", "corrected_iou"))]
        rows.append(cells)
    means = ["total, mean", str(sum(training["examples"]))]
    for part in parts:
        means += [str(sum(part["number"])), *(cell(_mean(part[key]), ".3f") for key in ("iou", "corrected_iou"))]
    notes = [
        "IoU of the proposals among the examples with their objects, before and after correction; ground truth, among "
        "the examples too, is left out. Held out: corrected by a regressor trained on other images.",
    ]
    if not regressor.used.all():
        names = [name for name, used in zip(regressor.classes, regressor.used, strict=True) if not used]
        notes.append(
            f"Not used, since held-out boxes are no nearer to their objects: {names_in_words(names, len(names))}."
        )
    return Table(HEADER, rows, means, notes)


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
