"""Suspects as a file for review: the rows that are objects can be added to labels in CSV as they are."""

from __future__ import annotations

import os

from rcnn_svm.artefacts.files import write_text
from rcnn_svm.mining.suspects import Suspects
from rcnn_svm.reports.table import csv_text

HEADER = ("image", "x1", "y1", "x2", "y2", "class", "suspicion", "score", "row", "why")


def suspects_csv(suspects: Suspects) -> str:
    """Return suspects as CSV, the most suspicious first; `load_csv` reads it as labels."""
    rows = [
        [
            suspects.image_ids[image],
            *(round(value, 1) for value in suspects.box[number].tolist()),
            suspects.classes[cls],
            round(float(suspects.suspicion[number]), 4),
            round(float(suspects.score[number]), 4),
            row,
            words,
        ]
        for number, ((cls, image, row), words) in enumerate(
            zip(suspects.keys.tolist(), suspects.kinds.words, strict=True)
        )
    ]
    return csv_text([HEADER, *rows])


def save_suspects(suspects: Suspects, path: str | os.PathLike) -> None:
    """Write suspects as CSV.

    Raises:
        InputError: the file cannot be written; what was there is intact.
    """
    write_text(path, suspects_csv(suspects))
