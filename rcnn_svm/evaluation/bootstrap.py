"""How sure an average precision is: the same on test images that are drawn again and again."""

from __future__ import annotations

import numpy as np

from rcnn_svm import paper
from rcnn_svm.data.database import ImageDatabase
from rcnn_svm.detection.detections import Detections
from rcnn_svm.evaluation.voc import (
    align,
    average_precision_11,
    average_precision_area,
    judge_detections,
    objects_in_database,
)

RESAMPLES = 200
COVERS = 0.95


def bootstrap_map(
    detections: Detections,
    database: ImageDatabase,
    *,
    iou: float = paper.HIT_IOU,
    nms_threshold: float | None = paper.NMS_THRESHOLD,
    resamples: int = RESAMPLES,
    seed: int = paper.SEED,
) -> np.ndarray:
    """Return the mean average precision of both VOC protocols on resampled test images, (R, 2) float64 in [0, 1].

    The mean is over the classes that have objects in a resample; arguments are those of `bootstrap_ap`.
    """
    ap = bootstrap_ap(detections, database, iou=iou, nms_threshold=nms_threshold, resamples=resamples, seed=seed)
    return np.nanmean(ap, axis=1)


def bootstrap_ap(
    detections: Detections,
    database: ImageDatabase,
    *,
    iou: float = paper.HIT_IOU,
    nms_threshold: float | None = paper.NMS_THRESHOLD,
    resamples: int = RESAMPLES,
    seed: int = paper.SEED,
) -> np.ndarray:
    """Return the average precision of every class in both VOC protocols on resampled test images.

    Every resample draws as many images as there are, with replacement. The middle 95 % of the values of a class are an
    interval for its AP over other test images of this kind; other training images are not part of it.

    Args:
        detections, database, iou, nms_threshold: as in `evaluate_detections`.
        resamples: R.
        seed: decides the draws.

    Returns:
        (R, K, 2) float64 in [0, 1]: 11 points (VOC2007), and area (VOC2010); NaN where no object of a class is drawn.

    Source: Efron & Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13, percentile intervals; images are
    drawn, since detections of an image depend on each other.
    """
    detections = align(detections, database)
    if nms_threshold is not None:
        detections = detections.after_nms(nms_threshold)
    draws = np.random.default_rng(seed).multinomial(
        len(database), np.full(len(database), 1 / len(database)), size=resamples
    )
    values = np.full((resamples, len(database.classes), 2), np.nan)
    objects = objects_in_database(database)
    for index in range(len(database.classes)):
        rows, truth = detections.of_class(index), objects.cls == index
        gt_image, gt_difficult = objects.image[truth], objects.difficult[truth]
        found = (detections.image[rows], detections.box[rows], detections.score[rows])
        order, right, wrong = judge_detections(*found, gt_image, objects.box[truth], gt_difficult, iou)
        # What comes after the last hit adds no recall.
        last = int(np.flatnonzero(right)[-1]) + 1 if right.any() else 0
        image, right, wrong = detections.image[rows][order][:last], right[:last], wrong[:last]
        for number, draw in enumerate(draws):
            count = int(draw[gt_image[~gt_difficult]].sum())
            if count:
                copies = draw[image]
                tp, fp = np.cumsum(np.repeat(right, copies)), np.cumsum(np.repeat(wrong, copies))
                with np.errstate(invalid="ignore"):
                    precision = tp / (tp + fp)
                values[number, index] = (
                    average_precision_11(tp / count, precision),
                    average_precision_area(tp / count, precision),
                )
    return values


def interval(values: np.ndarray, covers: float = COVERS) -> tuple[float, float]:
    """Return the ends of the middle part of numbers, (N,), that covers a share of them."""
    return tuple(np.quantile(values, [(1 - covers) / 2, (1 + covers) / 2]).tolist())
