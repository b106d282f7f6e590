"""Thresholds to work with, as tables, CSV and records: `evaluation/operating_points.py` for people and for models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rcnn_svm.evaluation.at_threshold import AtThreshold
from rcnn_svm.evaluation.bootstrap import COVERS
from rcnn_svm.evaluation.operating_points import MIN_OBJECTS, PRECISION, OperatingPoints
from rcnn_svm.reports.table import Table, cell, percent, records_csv

POINT_HEADER = ("score", "precision", "recall", "FP an image")
PRECISE = f"precision_{100 * PRECISION:.0f}"


def points_table(points: OperatingPoints) -> Table:
    """Return AP with its interval, and what is found at the best F1 and at the precision that is wanted."""
    header = ("class", "objects", "AP area", "from", "to", *(f"F1: {name}" for name in POINT_HEADER))
    header += tuple(f"{100 * PRECISION:.0f} %: {name}" for name in POINT_HEADER)
    rows = [
        [
            name,
            str(points.best_f1.objects[k]),
            *map(percent, (points.ap_area[k], *points.ap_interval[k])),
            *_cells(points.best_f1, k),
            *_cells(points.precise, k),
        ]
        for k, name in enumerate(points.best_f1.classes)
    ]
    notes = [
        f"From and to: AP (area) on other test images of this kind, {100 * COVERS:.0f} % of resamples.",
        "F1: above the score with the best F1 of the class. "
        f"{100 * PRECISION:.0f} %: above the lowest score with such a precision; none where there is none.",
        "FP an image: false positives of the class an image.",
    ]
    if points.borrowed.any():
        names = [name for name, is_so in zip(points.best_f1.classes, points.borrowed, strict=True) if is_so]
        notes.append(
            f"Fewer than {MIN_OBJECTS} objects, or none found, so that the score of the best F1 is chance: "
            f"{', '.join(names)}. The median of the other classes is taken to work with, "
            f"{points.thresh[points.borrowed][0]:.2f}."
        )
    return Table(header, rows, notes=notes)


def points_csv(points: OperatingPoints) -> str:
    """Return all figures as CSV, one line per class, fractions in full; empty where there is no value."""
    return records_csv(points_records(points))


def points_records(points: OperatingPoints) -> list[dict[str, Any]]:
    """Return all figures of every class, JSON-able; NaN where there is no value."""
    return [
        {
            "class": name,
            "objects": int(points.best_f1.objects[k]),
            "ap_area": float(points.ap_area[k]),
            "ap_area_low": float(points.ap_interval[k, 0]),
            "ap_area_high": float(points.ap_interval[k, 1]),
            "thresh": float(points.thresh[k]),
            "borrowed": bool(points.borrowed[k]),
            **_record("best_f1", points.best_f1, k),
            **_record(PRECISE, points.precise, k),
        }
        for k, name in enumerate(points.best_f1.classes)
    ]


def expected_line(records: Sequence[Mapping[str, Any]]) -> str:
    """Return in a sentence what to expect at the best F1, of `points_records`; None where there is no value."""
    tested = [record for record in records if record["objects"]]
    precision, recall = (
        np.mean([record[f"best_f1_{name}"] or 0 for record in tested]) if tested else None
        for name in ("precision", "recall")
    )
    wrong = sum(record["best_f1_wrong_per_image"] or 0 for record in records)
    return (
        f"expect: {percent(precision, 0)} % of what is reported is right, {percent(recall, 0)} % of the objects are "
        f"found (means of classes); {wrong:.2f} false positives an image"
    )


def interval_line(points: OperatingPoints) -> str:
    """Return in a line how sure the mean AP is."""
    low, high = map(percent, points.map_interval)
    return f"On other test images of this kind mAP area is {low} to {high} ({100 * COVERS:.0f} % of resamples)."


def _cells(at: AtThreshold, k: int) -> list[str]:
    if np.isinf(at.thresh[k]):
        return ["-"] * 4
    return [f"{at.thresh[k]:.2f}", percent(at.precision[k]), percent(at.recall[k]), cell(at.wrong_per_image[k], ".2f")]


def _record(prefix: str, at: AtThreshold, k: int) -> dict[str, float]:
    reached = np.isfinite(at.thresh[k])
    values = {
        "thresh": at.thresh[k],
        "precision": at.precision[k],
        "recall": at.recall[k],
        "wrong_per_image": at.wrong_per_image[k],
    }
    return {f"{prefix}_{name}": float(value) if reached else float("nan") for name, value in values.items()}
