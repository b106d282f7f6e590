"""False positives on images that show no object, of several detectors where they find equally many objects.

A threshold means something else for every detector: one that was trained on more negatives scores all regions lower.
So detectors are compared where each finds as many objects of a test as the first does at its best F1, class by class.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from rcnn_svm import paper
from rcnn_svm.cache.feature_cache import FeatureCache
from rcnn_svm.cache.joined import as_background
from rcnn_svm.detection.detections import Detections
from rcnn_svm.detection.image_set import detect_in_cache
from rcnn_svm.detection.interfaces import RegionScorer
from rcnn_svm.errors import InputError
from rcnn_svm.evaluation.voc import PrecisionRecall, evaluate_found, objects_in_cache

# The score above which `detect` reports what a detector without thresholds of its own finds.
REPORTED = 0.0


@dataclass(frozen=True)
class OnBackground:
    """How a detector does on background, and on a test.

    Attributes:
        classes: K class names.
        images: images of background; 0 where there were none.
        reported: (K,) float64, false positives an image with scores above 0.
        recall: (K,) float64, the recall at which detectors are compared; NaN without a test.
        at_recall: (K,) float64, false positives an image above the score that gives this recall; NaN without a test.
        average_precision: (K,) float64, on the test (area); NaN without one.
    """

    classes: tuple[str, ...]
    images: int
    reported: np.ndarray
    recall: np.ndarray
    at_recall: np.ndarray
    average_precision: np.ndarray


def compare_on_background(
    detectors: Sequence[RegionScorer],
    background: FeatureCache | None = None,
    test: FeatureCache | None = None,
    *,
    finish: Callable[[Detections], Detections] = Detections.after_nms,
) -> list[OnBackground]:
    """Compare detectors by their false positives on background, at equal recall on a test.

    Args:
        detectors: one or more; the classes of the first are those that count, and all have them.
        background: images that show no object of these classes; None where only the test counts.
        test: images with ground truth; None where there are none.
        finish: what is done with the boxes that were found.

    Raises:
        InputError: an image of the background shows an object, a detector lacks a class, or detectors and caches do not
            belong together.
    """
    classes = detectors[0].classes
    for detector in detectors:
        missing = [name for name in classes if name not in detector.classes]
        if missing:
            raise InputError(f"a detector lacks class {missing[0]!r}, and cannot be compared with one that has it")
    empty = None if background is None else as_background(background, classes)
    curves = [[] if test is None else _curves(detector, test, classes, finish) for detector in detectors]
    recall = np.array([_recall_at_best_f1(curve) for curve in curves[0]] or [np.nan] * len(classes))
    results = []
    for detector, of_test in zip(detectors, curves, strict=True):
        thresh = np.array([_score_at_recall(curve, at) for curve, at in zip(of_test, recall, strict=False)])
        found = None if empty is None else finish(detect_in_cache(empty, detector))
        images = 0 if empty is None else empty.num_images

        def wrong(
            thresh: np.ndarray, found: Detections | None = found, detector: RegionScorer = detector
        ) -> np.ndarray:
            """Return the detections an image that score as much or more, (K,) float64."""
            if found is None or not len(thresh):
                return np.full(len(classes), np.nan)
            of_class = [found.score[found.cls == detector.classes.index(name)] for name in classes]
            counts = [(scores >= at).sum() for scores, at in zip(of_class, thresh, strict=True)]
            return np.array(counts) / len(found.image_ids)

        results.append(
            OnBackground(
                classes=tuple(classes),
                images=images,
                reported=wrong(np.full(len(classes), np.nextafter(REPORTED, 1))),
                recall=recall,
                at_recall=wrong(thresh),
                average_precision=np.array([curve.ap_area for curve in of_test] or [np.nan] * len(classes)),
            )
        )
    return results


def _curves(
    detector: RegionScorer, test: FeatureCache, classes: Sequence[str], finish: Callable[[Detections], Detections]
) -> list[PrecisionRecall]:
    """Return the precision and recall of some classes of a detector on a test."""
    found = finish(detect_in_cache(test, detector))
    result = evaluate_found(found, objects_in_cache(test, detector.classes), test.name, paper.HIT_IOU)
    return [result.classes[detector.classes.index(name)] for name in classes]


def _recall_at_best_f1(curve: PrecisionRecall) -> float:
    above = curve.scores > curve.best_f1_thresh
    return float(curve.recall[above][-1]) if curve.num_objects and above.any() else np.nan


def _score_at_recall(curve: PrecisionRecall, recall: float) -> float:
    """Return the highest score from which on a recall is reached; that of no detection where it has no value.

    Where it is never reached, all detections count.
    """
    if np.isnan(recall):
        return np.inf
    reached = np.flatnonzero(curve.recall >= recall)
    return float(curve.scores[reached[0]]) if len(reached) else -np.inf
