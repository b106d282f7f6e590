"""False positives on background and average precision of several detectors, as a table."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from rcnn_svm.evaluation.on_background import OnBackground
from rcnn_svm.reports.table import Table, percent


def background_table(results: Mapping[str, OnBackground]) -> Table:
    """Return a table of detectors by name; the first is the one that the others are compared with."""
    first = next(iter(results.values()))
    has_background, has_test = first.images > 0, not np.isnan(first.average_precision).all()
    header = ["", *(["mAP %"] if has_test else [])]
    notes = [f"False positives an image, on {first.images} images of background, all classes together."]
    if has_background:
        header += [*(["at equal recall", "of the first"] if has_test else []), "scores above 0"]
    rows = []
    for name, result in results.items():
        row = [name, *([percent(np.nanmean(result.average_precision))] if has_test else [])]
        if has_background and has_test:
            wrong, before = np.nansum(result.at_recall), np.nansum(first.at_recall)
            row += [f"{wrong:.3f}", f"{wrong / before:.2f}" if before else "-"]
        rows.append([*row, *([f"{result.reported.sum():.3f}"] if has_background else [])])
    if has_test:
        notes.append(
            f"Equal recall: in every class, that of {next(iter(results))!r} at its best F1, on average "
            f"{percent(np.nanmean(first.recall))} %."
        )
    return Table(header, rows, notes=notes if has_background else ())
