"""What a detector gets wrong, as tables, CSV and a few lines: `evaluation/errors.py` for people."""

from __future__ import annotations

from typing import Any

import numpy as np

from rcnn_svm.evaluation.at_threshold import AtThreshold
from rcnn_svm.evaluation.tide import MENDED, ErrorCosts
from rcnn_svm.reports.table import Table, cell, csv_text, percent, records_csv

# In the order of `HoiemKind` and `TideKind`.
HOIEM = ("localisation", "similar class", "other class", "background")
TIDE = MENDED[:5]

COST_HEADER = ("class", "AP area", *MENDED)
WORK_HEADER = (
    "class",
    "score",
    "precision",
    "recall",
    "F1",
    *HOIEM,
    "an image",
    "without the class",
    "without objects",
)


def cost_table(costs: ErrorCosts) -> Table:
    """Return what each kind of error costs in average precision, in percent, class by class and in the mean."""
    rows = [
        [name, percent(ap), *map(percent, gain)]
        for name, ap, gain in zip(costs.classes, costs.ap, costs.gain, strict=True)
    ]
    mean = ["mean", percent(costs.mean_ap), *map(percent, costs.mean_gain)]
    notes = [
        "What AP (area) would gain if the errors of a kind were mended (TIDE); the gains do not add up.",
        "Cls: well placed, on an object of another class. Loc: badly placed, on one of its own. Both: badly placed, on "
        "one of another class.",
        "Dupe: on an object found before. Bkg: IoU below 0.1 with every object. Missed: objects that none of these is "
        "on.",
        "FP: all false positives. FN: all objects that are not found.",
    ]
    return Table(COST_HEADER, rows, mean, notes)


def work_table(at: AtThreshold) -> Table:
    """Return what is found and wrong at a threshold, class by class and in all."""
    wrong_an_image = (at.wrong_per_image, at.wrong_per_image_without_class, at.wrong_per_image_without_objects)
    rows = [
        [
            name,
            f"{at.thresh[k]:.2f}",
            *(percent(value[k]) for value in (at.precision, at.recall, at.f1)),
            *map(str, at.hoiem[k]),
            *(cell(value[k], ".2f") for value in wrong_an_image),
        ]
        for k, name in enumerate(at.classes)
    ]
    in_all = [
        "all",
        "",
        *map(percent, at.means),
        *map(str, at.hoiem.sum(axis=0)),
        f"{at.wrong_per_image.sum():.2f}",
        "",
        cell(at.wrong_per_image_without_objects.sum(), ".2f"),
    ]
    notes = [
        "Detections with a score above the one shown; the last line has the means of precision, recall and F1, and the "
        "sums of the rest.",
        "False positives (Hoiem): badly placed or the second on an object of the class; on an object of a similar or "
        "of any other class; on the background.",
        f"Then false positives an image: on all {at.images}, on those without an object of the class, and on the "
        f"{at.images_without_objects} without objects.",
    ]
    return Table(WORK_HEADER, rows, in_all, notes)


def errors_csv(costs: ErrorCosts, at: AtThreshold) -> str:
    """Return all figures as CSV, one line per class, fractions in full; empty where there is no value."""
    return records_csv([_record(costs, at, k) for k in range(len(at.classes))])


def confusion_csv(at: AtThreshold) -> str:
    """Return the confusion of classes as CSV: a line per class of an object, a column per class of a detection."""
    rows = [[name, *row.tolist()] for name, row in zip((*at.classes, "no object"), at.confusion, strict=True)]
    return csv_text([["object", *at.classes, "missed"], *rows])


def error_lines(costs: ErrorCosts, at: AtThreshold) -> str:
    """Return some lines on what costs most, and on what to expect.

    Args:
        costs: what errors cost.
        at: what is found and wrong at the best F1 of each class.
    """
    gains = dict(zip(MENDED[:6], costs.mean_gain[:6], strict=True))
    dear = sorted(gains, key=lambda name: -np.nan_to_num(gains[name]))
    precision, recall, _ = map(percent, at.means)
    lines = [
        f"mAP lost (TIDE): {', '.join(f'{name} {percent(gains[name])}' for name in dear)}.",
        f"At the best F1: precision {precision}, recall {recall}, {at.wrong_per_image.sum():.2f} false positives an "
        "image.",
    ]
    if at.wrong.any():
        shares = at.hoiem.sum(axis=0) / at.wrong.sum()
        parts = ", ".join(f"{percent(share, 0)} % {name}" for name, share in zip(HOIEM, shares, strict=True))
        lines.append(f"Of these {parts}.")
    if at.images_without_objects:
        lines.append(
            f"On images without objects ({at.images_without_objects} of {at.images}): "
            f"{at.wrong_per_image_without_objects.sum():.2f} an image."
        )
    return "\n".join(lines)


def _record(costs: ErrorCosts, at: AtThreshold, k: int) -> dict[str, Any]:
    return {
        "class": at.classes[k],
        "ap_area": costs.ap[k],
        **{f"ap_cost_{name.lower()}": gain for name, gain in zip(MENDED, costs.gain[k], strict=True)},
        "thresh": at.thresh[k],
        "objects": at.objects[k],
        "right": at.right[k],
        "wrong": at.wrong[k],
        "missed": at.missed[k],
        "precision": at.precision[k],
        "recall": at.recall[k],
        "f1": at.f1[k],
        **{f"hoiem_{name.replace(' ', '_')}": count for name, count in zip(HOIEM, at.hoiem[k], strict=True)},
        **{f"tide_{name.lower()}": count for name, count in zip(TIDE, at.tide[k], strict=True)},
        "wrong_per_image": at.wrong_per_image[k],
        "wrong_per_image_without_class": at.wrong_per_image_without_class[k],
        "wrong_per_image_without_objects": at.wrong_per_image_without_objects[k],
    }
