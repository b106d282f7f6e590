"""The figures that the paper printed."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from importlib import resources

FILE = "published_voc07.csv"


@dataclass(frozen=True)
class Published:
    """One row of the paper's tables.

    Attributes:
        mean_ap: mean over the 20 classes, percent.
        classes: AP by class name, percent; empty where only the mean was printed.
    """

    mean_ap: float
    classes: dict[str, float]


def published_figures() -> dict[str, Published]:
    """Return the rows of the paper's tables by title.

    Source: tables 2 and 3 of R-CNN, and appendix B for the row "softmax".
    """
    text = resources.files("rcnn_svm.experiments.reproduce").joinpath(FILE).read_text(encoding="utf-8")
    rows = csv.DictReader(line for line in text.splitlines() if not line.startswith("#"))
    figures = {}
    for row in rows:
        title, mean_ap = row.pop("row"), float(row.pop("mAP"))
        figures[title] = Published(mean_ap, {name: float(value) for name, value in row.items() if value})
    return figures
