"""What each kind of error costs in average precision: what a class would gain if all errors of one kind were mended.

One kind is mended at a time, so the gains are not parts of a sum. TIDE mends errors with oracles:

    Cls       the detection gets the class of the object that it is on, and is right
    Loc       the detection gets the box of the object that it is on, and is right
    Both, Dupe, Bkg    the detection is dropped
    Missed    the objects that no detection hits, and none that Cls or Loc mend, are no longer asked for
    FP        all false positives are dropped
    FN        no object that is missed is asked for

Where Cls or Loc make a second hit of an object, the one with the lower score is dropped; of a difficult object, the
detection is dropped.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rcnn_svm.evaluation.errors import DetectionErrors, TideKind, falling
from rcnn_svm.evaluation.voc import average_precision_area

# What is mended: the columns of `ErrorCosts.gain`.
MENDED = ("Cls", "Loc", "Both", "Dupe", "Bkg", "Missed", "FP", "FN")


@dataclass(frozen=True)
class ErrorCosts:
    """What errors cost, class by class.

    Attributes:
        classes: K class names.
        ap: (K,) float64, average precision (area) as it is; NaN where a class has no objects.
        gain: (K, 8) float64, what would be added to it if the errors of each of `MENDED` were; NaN as in `ap`.
    """

    classes: tuple[str, ...]
    ap: np.ndarray
    gain: np.ndarray

    @property
    def mean_ap(self) -> float:
        """Mean average precision (area) over the classes that have objects; NaN where none has."""
        known = self.ap[~np.isnan(self.ap)]
        return float(known.mean()) if len(known) else float("nan")

    @property
    def mean_gain(self) -> np.ndarray:
        """(8,) float64, what would be added to the mean average precision; NaN where no class has objects."""
        known = self.gain[~np.isnan(self.ap)]
        return known.mean(axis=0) if len(known) else np.full(len(MENDED), np.nan)


def error_costs(errors: DetectionErrors) -> ErrorCosts:
    """Return what each kind of error costs in average precision (area under the curve, VOC2010 and later).

    Source: TIDE, sections 2.2 and 2.3. Differences of its code, tidecv, from the paper are not taken over: there a
    mended detection is dropped wherever its object was found before, even with a lower score, and the area is a sum
    over 101 levels of recall.
    """
    classes, lost = errors.detections.classes, missed_for_good(errors)
    values = [_of_class(errors, index, lost) for index in range(len(classes))]
    return ErrorCosts(classes, np.array([ap for ap, _ in values]), np.stack([gain for _, gain in values]))


def missed_for_good(errors: DetectionErrors) -> np.ndarray:
    """Return TIDE's missed objects, (G,) bool: no detection hits them, and mending Cls or Loc would find none."""
    missed = errors.missed()
    missed[errors.tide.object[np.isin(errors.tide.kind, (TideKind.CLS, TideKind.LOC))]] = False
    return missed


def _of_class(errors: DetectionErrors, index: int, lost: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the average precision of a class, and what mending each kind adds to it, (8,).

    Args:
        errors: what is wrong.
        index: the class.
        lost: (G,) bool, TIDE's missed objects.
    """
    kind, of_class = errors.tide.kind, errors.objects.cls == index
    wanted = int((of_class & ~errors.objects.difficult).sum())
    if not wanted:
        return np.nan, np.full(len(MENDED), np.nan)
    rows = falling(errors.detections, index)
    rows = rows[kind[rows] != TideKind.IGNORED]
    right = errors.right[rows]

    # Of equal scores, the class's own detections come before those that it gets from others.
    arriving = np.flatnonzero((kind == TideKind.CLS) & of_class[errors.tide.object])
    together = np.concatenate([rows[kind[rows] != TideKind.CLS], arriving])
    together = together[np.argsort(-errors.detections.score[together].astype(np.float64), kind="stable")]
    mended = {
        "Cls": _area(_found_anew(errors, together, TideKind.CLS), wanted),
        "Loc": _area(_found_anew(errors, rows, TideKind.LOC), wanted),
        "Both": _area(right[kind[rows] != TideKind.BOTH], wanted),
        "Dupe": _area(right[kind[rows] != TideKind.DUPE], wanted),
        "Bkg": _area(right[kind[rows] != TideKind.BKG], wanted),
        "Missed": _area(right, wanted - int((lost & of_class).sum())),
        "FP": _area(right[right], wanted),
        "FN": _area(right, int(right.sum())),
    }
    as_it_is = _area(right, wanted)
    return as_it_is, np.array([mended[name] for name in MENDED]) - as_it_is


def _found_anew(errors: DetectionErrors, rows: np.ndarray, kind: TideKind) -> np.ndarray:
    """Return which detections are right once those of a kind hit their objects, (m,) bool, without those dropped.

    Args:
        errors: what is wrong.
        rows: (n,) int, detections by falling score.
        kind: what is mended.
    """
    target = errors.tide.object[rows]
    hits = np.isin(errors.tide.kind[rows], (TideKind.RIGHT, kind))
    first = np.zeros(len(rows), bool)
    first[np.unique(np.where(hits, target, -1), return_index=True)[1]] = True
    right = hits & first & ~errors.objects.difficult[target]
    return right[right | ~hits]


def _area(right: np.ndarray, wanted: int) -> float:
    """Return the average precision of detections by falling score, (n,) bool; 0 where nothing is wanted."""
    if not wanted:
        return 0.0
    hits = np.cumsum(right)
    return average_precision_area(hits / wanted, hits / np.arange(1, len(right) + 1))
