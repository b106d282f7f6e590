"""What a training did, class by class, from the record in its model file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from rcnn_svm.artefacts.files import reading
from rcnn_svm.detection.detector import Detector
from rcnn_svm.mining.engine.history import class_records
from rcnn_svm.mining.engine.validation import best_pass
from rcnn_svm.reports.table import Table, cell
from rcnn_svm.svm.class_weights import AUTO
from rcnn_svm.tuning.svm_C import best_C

HEADER = ("class", "positives", "hard negatives", "evicted", "in cache", "updates", "loss", "gap")


def mining_table(path: str | Path) -> str:
    """Return the table of a trained model: examples, updates and the last objective of every class.

    Raises:
        InputError: the file is missing, damaged or not a model.
    """
    detector, history = Detector.load(path), Detector.load_history(path)
    if not history:
        return f"{len(detector.classes)} classes: {', '.join(detector.classes)} (without a record of the training)"
    with reading(path):
        return _table(detector, history)


def mining_records(detector: Detector, history: dict[str, np.ndarray]) -> list[dict[str, Any]]:
    """Return what a training did of every class, JSON-able; None for what a class that was not trained has not.

    Args:
        detector: the detector.
        history: its record, as `training_record` describes it.
    """
    kept = np.bincount(history["negatives"][:, 0], minlength=len(detector.classes))
    records = class_records(history, len(detector.classes))
    return [
        {"class": name, **record, "in_cache": int(number)}
        for name, record, number in zip(detector.classes, records, kept, strict=True)
    ]


def examples_table(detector: Detector, history: dict[str, np.ndarray]) -> Table:
    """Return the examples, updates and the last objective of every class.

    Args:
        detector, history: as in `mining_records`.
    """
    records = mining_records(detector, history)
    counts = ("positives", "negatives", "evicted", "in_cache", "updates")
    rows = [
        [
            record["class"],
            *(cell(record[name]) for name in counts),
            *([f"{record['loss']:.4g}", cell(record["gap"], ".0e")] if record["updates"] else ["not trained", ""]),
        ]
        for record in records
    ]
    totals = [str(sum(record[name] or 0 for record in records)) for name in counts]
    mined = detector.training.get("identity", {}).get("training") != "random negatives"
    header = HEADER if mined else [name.replace("hard", "random") for name in HEADER]
    return Table(header, rows, ["total", *totals, "", ""])


def _table(detector: Detector, history: dict[str, np.ndarray]) -> str:
    return "\n".join(
        [
            examples_table(detector, history).text(),
            *_convergence(detector, history),
            *_validation(detector, history),
            *budget_sentences(detector, history),
            *_weights(detector),
            *_selection(history),
            *_calibration(detector),
        ]
    )


def _convergence(detector: Detector, history: dict[str, np.ndarray]) -> list[str]:
    """Return the table of the stop test, if it was asked for."""
    table = history.get("convergence", np.empty((0, 4)))
    if not len(table):
        return []
    rows = [
        [detector.classes[int(c)], str(int(epoch) + 1), f"{cached:.5g}", f"{full:.5g}", f"{full / cached:.3f}"]
        for c, epoch, cached, full in table
    ]
    return ["", Table(("class", "pass", "objective on the cache", "on all data", "ratio"), rows).text()]


def _validation(detector: Detector, history: dict[str, np.ndarray]) -> list[str]:
    """Return the table of the stop by held-out average precision, if it was asked for."""
    table = history.get("validation", np.empty((0, 3)))
    if not len(table):
        return []
    rows = []
    for index, name in enumerate(detector.classes):
        precisions = table[table[:, 0] == index, 2]
        for epoch, precision in enumerate(precisions):
            kept = "kept" if epoch == best_pass(precisions) else ""
            rows.append([name, str(epoch + 1), f"{100 * precision:.1f}", kept])
    return ["", Table(("class", "pass", "held-out AP area", ""), rows).text()]


def budget_sentences(detector: Detector, history: dict[str, np.ndarray]) -> list[str]:
    """Return a sentence for every class whose share of the memory budget was too small."""
    table = history.get("budget", np.empty((0, 5), np.int32))
    lines = []
    for c in np.unique(table[:, 0]):
        left_out, evicted = table[table[:, 0] == c, 3:].sum(axis=0)
        lines.append(
            f"the memory budget bound for {detector.classes[c]}: {evicted} negatives evicted that were not easy, "
            f"{left_out} hard ones left out"
        )
    return lines


def _weights(detector: Detector) -> list[str]:
    """Return the line of the classes' own weights, if they were found from the numbers of examples."""
    if detector.training["identity"]["parameters"]["pos_loss_weight"] != AUTO:
        return []
    pairs = zip(detector.classes, detector.training["pos_loss_weight"], strict=True)
    return ["", "weight of a positive: " + ", ".join(f"{name} {weight:.1f}" for name, weight in pairs)]


def _selection(history: dict[str, np.ndarray]) -> list[str]:
    """Return the table of C, if it was chosen from data."""
    table = history.get("selection", np.empty((0, 3)))
    if not len(table):
        return []
    best = best_C(table)
    rows = [
        [f"{C:.2g}", f"{100 * precision:.1f}", f"{seconds:.1f}", "chosen" if best == C else ""]
        for C, precision, seconds in table
    ]
    return ["", Table(("C", "held-out mAP area", "s", ""), rows).text()]


def _calibration(detector: Detector) -> list[str]:
    """Return the table of probabilities, if the detector is calibrated."""
    if detector.calibration is None:
        return []
    marks = np.array([-1.0, -0.5, 0.0, 0.5, 1.0])
    at = detector.probabilities(np.repeat(marks[:, None], len(detector.classes), axis=1))
    half = detector.scores_at(0.5)
    rows = [
        [name, *(f"{probability:.3f}" for probability in at[:, k]), f"{half[k]:.2f}"]
        for k, name in enumerate(detector.classes)
    ]
    header = ("probability at score", *(f"{mark:g}" for mark in marks), "0.5 is at")
    return ["", Table(header, rows).text()]
