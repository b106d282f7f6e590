"""Scores to work with, class by class: of the best F1, and of a precision that is wanted; and how sure the AP is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rcnn_svm.data.database import ImageDatabase
from rcnn_svm.evaluation.at_threshold import AtThreshold, errors_at
from rcnn_svm.evaluation.bootstrap import bootstrap_ap, interval
from rcnn_svm.evaluation.errors import DetectionErrors
from rcnn_svm.evaluation.voc import PrecisionRecall, VocResult

# The precision of the second point.
PRECISION = 0.9
# With fewer objects, which score has the best F1 is chance.
MIN_OBJECTS = 10


@dataclass(frozen=True)
class OperatingPoints:
    """What a detector does at two thresholds of every class.

    Attributes:
        best_f1: at the threshold of the best F1.
        precise: at the lowest threshold with a precision of `PRECISION` or more; infinity where there is none.
        ap_area: (K,) float64, AP (area); NaN without objects.
        ap_interval: (K, 2) float64, an interval of it over other test images; NaN without objects.
        map_interval: the same of the mean.
        thresh: (K,) float64, the thresholds to work with: of the best F1; of classes with fewer than `MIN_OBJECTS`
            objects, or none of them found, the median of the others.
        borrowed: (K,) bool, which classes have the median of the others.
    """

    best_f1: AtThreshold
    precise: AtThreshold
    ap_area: np.ndarray
    ap_interval: np.ndarray
    map_interval: tuple[float, float]
    thresh: np.ndarray
    borrowed: np.ndarray


def find_operating_points(result: VocResult, errors: DetectionErrors, database: ImageDatabase) -> OperatingPoints:
    """Return what a detector does at two thresholds of every class.

    Args:
        result: the evaluation of detections.
        errors: what is wrong with the same detections.
        database: the same images and ground truth.
    """
    best_f1 = errors_at(errors, result.best_f1_thresh)
    ap = bootstrap_ap(errors.detections, database, iou=result.iou, nms_threshold=None)[:, :, 1]
    drawn = [of_class[~np.isnan(of_class)] for of_class in ap.T]
    thresh, borrowed = working_thresholds(best_f1)
    has_objects = ~np.isnan(ap).all(axis=1)
    return OperatingPoints(
        best_f1=best_f1,
        precise=errors_at(errors, np.array([precise_thresh(of_class) for of_class in result.classes])),
        ap_area=np.array([of_class.ap_area for of_class in result.classes]),
        ap_interval=np.array([interval(values) if len(values) else (np.nan, np.nan) for values in drawn]),
        map_interval=interval(np.nanmean(ap[has_objects], axis=1)) if has_objects.any() else (np.nan, np.nan),
        thresh=thresh,
        borrowed=borrowed,
    )


def precise_thresh(result: PrecisionRecall, precision: float = PRECISION) -> float:
    """Return the lowest threshold above which detections have a precision or more; infinity where none has."""
    scores = result.scores.astype(np.float32)
    # Detections of the same score are accepted together.
    accepted = np.append(scores[:-1] > scores[1:], True)[: len(scores)]
    good = np.flatnonzero(accepted & (np.nan_to_num(result.precision) >= precision))
    return float(np.nextafter(scores[good[-1]], np.float32(-np.inf))) if len(good) else np.inf


def working_thresholds(best_f1: AtThreshold) -> tuple[np.ndarray, np.ndarray]:
    """Return thresholds to work with, (K,) float64, and which of them are other classes', (K,) bool.

    Args:
        best_f1: what is found at the best F1 of every class.
    """
    found = best_f1.right > 0
    sure = found & (best_f1.objects >= MIN_OBJECTS)
    # Where all classes have few objects, their median is the best there is.
    known = best_f1.thresh[sure if sure.any() else found]
    return np.where(sure, best_f1.thresh, np.median(known) if len(known) else 0.0), ~sure
