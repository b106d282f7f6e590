"""Boxes as arrays: overlap, non-maximum suppression, clipping, the coding of corrections.

Every box here is `x1 y1 x2 y2` in 0-based inclusive pixels: a box of one pixel has x1 == x2, and a width is
x2 - x1 + 1. The originals count pixels from 1; no overlap or area depends on that.
"""

from __future__ import annotations

import numpy as np

from rcnn_svm.compiled import compiled
from rcnn_svm.errors import InputError


def box_areas(boxes: np.ndarray) -> np.ndarray:
    """Return the areas of inclusive boxes.

    Args:
        boxes: (N, 4) float, x1 y1 x2 y2, 0-based inclusive pixels.

    Returns:
        (N,) float64, pixels.
    """
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    return (boxes[:, 2] - boxes[:, 0] + 1) * (boxes[:, 3] - boxes[:, 1] + 1)


def iou_matrix(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the intersection over union of every box of `a` with every box of `b`.

    Args:
        a: (N, 4) float, x1 y1 x2 y2, inclusive pixels.
        b: (M, 4) float, x1 y1 x2 y2, inclusive pixels.

    Returns:
        (N, M) float64 in [0, 1]; 0 where two boxes share no area.

    Source: `boxoverlap.m` of R-CNN.
    """
    intersection = _intersections(a, b)
    return intersection / (box_areas(a)[:, None] + box_areas(b)[None, :] - intersection)


def shares_inside(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the share of the area of every box of `a` that is inside every box of `b`.

    Args:
        a: (N, 4) float, x1 y1 x2 y2, inclusive pixels.
        b: (M, 4) float, x1 y1 x2 y2, inclusive pixels.

    Returns:
        (N, M) float64 in [0, 1].
    """
    return _intersections(a, b) / box_areas(a)[:, None]


def _intersections(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the area that every box of `a`, (N, 4), shares with every box of `b`, (M, 4): (N, M) float64, pixels."""
    a = np.asarray(a, np.float64).reshape(-1, 4)
    b = np.asarray(b, np.float64).reshape(-1, 4)
    width = np.minimum(a[:, None, 2], b[None, :, 2]) - np.maximum(a[:, None, 0], b[None, :, 0]) + 1
    height = np.minimum(a[:, None, 3], b[None, :, 3]) - np.maximum(a[:, None, 1], b[None, :, 1]) + 1
    return np.maximum(width, 0) * np.maximum(height, 0)


def class_overlaps(boxes: np.ndarray, gt_boxes: np.ndarray, gt_classes: np.ndarray, num_classes: int) -> np.ndarray:
    """Return, for every box and class, the largest IoU with a ground-truth box of that class.

    Args:
        boxes: (N, 4) float, x1 y1 x2 y2, inclusive pixels.
        gt_boxes: (M, 4) float, the same convention.
        gt_classes: (M,) int, class indices in [0, num_classes).
        num_classes: K.

    Returns:
        (N, K) float32; 0 for a class without ground truth in the image.

    Source: `imdb_eval`'s and `roidb_from_voc.m`'s `overlap`: computed in double, stored in single precision,
    which decides cases at exactly 0.3.
    """
    overlaps = np.zeros((len(boxes), num_classes), np.float32)
    if len(gt_boxes):
        iou = iou_matrix(boxes, gt_boxes)
        for index in np.unique(gt_classes):
            overlaps[:, index] = iou[:, np.asarray(gt_classes) == index].max(axis=1, initial=0)
    return overlaps


def clip_boxes(boxes: np.ndarray, image_size: tuple[int, int]) -> np.ndarray:
    """Return the boxes cut to the image.

    Args:
        boxes: (N, 4) float, x1 y1 x2 y2, 0-based inclusive pixels.
        image_size: (height, width), pixels.

    Returns:
        (N, 4) of the input's dtype, x in [0, width - 1], y in [0, height - 1].
    """
    height, width = image_size
    return np.clip(boxes, 0, np.array([width - 1, height - 1, width - 1, height - 1], boxes.dtype))


def box_deltas(boxes: np.ndarray, objects: np.ndarray) -> np.ndarray:
    """Return what turns boxes into the boxes of objects, independent of place and size.

    Args:
        boxes: (N, 4) float, x1 y1 x2 y2, 0-based inclusive pixels.
        objects: (N, 4) float, the same convention; the object of every box.

    Returns:
        (N, 4) float64, dx dy dw dh: difference of the centres in widths and heights of the box, and logarithm
        of the ratio of widths and of heights.

    Source: equations 6 to 9 of the R-CNN paper, `rcnn_train_bbox_regressor.m`. Widths and heights are x2 - x1
    and y2 - y1 here, as there, without the + 1 of areas.
    """
    center, size = _center_size(boxes)
    object_center, object_size = _center_size(objects)
    return np.hstack([(object_center - center) / size, np.log(object_size / size)])


def apply_box_deltas(boxes: np.ndarray, deltas: np.ndarray) -> np.ndarray:
    """Return boxes corrected by deltas; the inverse of `box_deltas`.

    Args:
        boxes: (N, 4) float, x1 y1 x2 y2, 0-based inclusive pixels.
        deltas: (N, 4) float, dx dy dw dh.

    Returns:
        (N, 4) float32, not clipped to any image; infinite where a correction exceeds single precision.

    Source: equations 1 to 4 of the R-CNN paper, `rcnn_predict_bbox_regressor.m`.
    """
    deltas = np.asarray(deltas, np.float64)
    center, size = _center_size(boxes)
    with np.errstate(over="ignore"):
        center = center + deltas[:, :2] * size
        half = 0.5 * np.exp(deltas[:, 2:]) * size
        return np.hstack([center - half, center + half]).astype(np.float32)


def _center_size(boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (N, 2) centres and (N, 2) widths and heights in the convention of box corrections."""
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    size = boxes[:, 2:] - boxes[:, :2] + np.finfo(np.float64).eps
    return boxes[:, :2] + 0.5 * size, size


def nms(boxes: np.ndarray, scores: np.ndarray, threshold: float, max_boxes: int | None = None) -> np.ndarray:
    """Greedy non-maximum suppression.

    Args:
        boxes: (N, 4) float, x1 y1 x2 y2, inclusive pixels.
        scores: (N,) float; the highest is kept first, and among equal scores the highest row.
        threshold: a box is suppressed when its IoU with a kept one is strictly greater.
        max_boxes: stop when so many are kept, 1 or more, which takes less time; None for all.

    Returns:
        (M,) int64, the rows kept, in order of keeping.

    Raises:
        InputError: boxes and scores do not fit together, a score is NaN, which has no rank, or the threshold is no
            IoU.

    Source: `nms.m` of voc-dpm and R-CNN.
    """
    if not 0 <= threshold <= 1:
        raise InputError(f"nms: the threshold is {threshold}, expected an IoU between 0 and 1")
    boxes, scores = np.ascontiguousarray(boxes, np.float64), np.asarray(scores)
    if not boxes.size and not scores.size:
        return np.empty(0, np.int64)
    # The compiled loop looks at no bounds: a score too many would read beyond the boxes.
    if boxes.ndim != 2 or boxes.shape[1] != 4 or scores.shape != boxes.shape[:1]:
        raise InputError(
            f"nms: boxes have shape {boxes.shape} and scores {scores.shape}, expected (N, 4) and (N,), a score per box"
        )
    if np.isnan(scores).any():
        raise InputError(f"nms: {int(np.isnan(scores).sum())} of {len(scores)} scores are NaN")
    order = np.argsort(scores, kind="stable")[::-1]
    most = len(boxes) if max_boxes is None else max_boxes
    return order[_greedy_nms(np.ascontiguousarray(boxes[order].T), float(threshold), most)]


@compiled()
def iou_with(box, corners):
    """Return the IoU of a box, (4,) float64, with each of some, (4, N) float64: (N,), for compiled loops."""
    x1, y1, x2, y2 = corners
    width = np.minimum(box[2], x2) - np.maximum(box[0], x1) + 1
    height = np.minimum(box[3], y2) - np.maximum(box[1], y1) + 1
    intersection = np.maximum(width, 0) * np.maximum(height, 0)
    area = (box[2] - box[0] + 1) * (box[3] - box[1] + 1)
    return intersection / (area + (x2 - x1 + 1) * (y2 - y1 + 1) - intersection)


@compiled()
def _greedy_nms(corners, threshold, most):
    """Return which of some boxes survive, (4, N), best first: the first `most` of them."""
    count = corners.shape[1]
    suppressed = np.zeros(count, np.bool_)
    keep = np.empty(count, np.int64)
    kept = 0
    for i in range(count):
        if suppressed[i]:
            continue
        keep[kept] = i
        kept += 1
        if kept >= most:
            break
        suppressed[i + 1 :] |= iou_with(corners[:, i], corners[:, i + 1 :]) > threshold
    return keep[:kept]
