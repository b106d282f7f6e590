"""The order of proposals: which boxes to keep when only some can be afforded."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any

import numpy as np

from rcnn_svm.boxes import box_areas, nms
from rcnn_svm.errors import InputError

NEAR_DUPLICATE = 0.8  # IoU


def rank_boxes(boxes: np.ndarray, max_boxes: int | None = None) -> np.ndarray:
    """Return the distinct boxes, ordered so that any first part of them covers the image well.

    A box's priority is its position in order of falling area times a random number, as in selective search,
    where the position is that of the merge: large regions tend to come first, small ones mix in. Boxes that
    overlap an earlier one by more than 0.8 then go to the end, in the same order. The random numbers are the
    same in every call, so the order depends on the set of boxes alone.

    Args:
        boxes: (N, 4) float, x1 y1 x2 y2, 0-based inclusive pixels, in any order, repetitions allowed.
        max_boxes: return the first so many, which takes less time; None for all.

    Returns:
        (M, 4) float32, M <= N.

    Source: `priority .* rand` in `selective_search_boxes.m`. Ours: area instead of the order of merging,
    which OpenCV does not report; near duplicates last; fixed random numbers.
    """
    boxes = np.unique(np.asarray(boxes, np.float32).reshape(-1, 4), axis=0)
    position = np.empty(len(boxes))
    position[np.argsort(-box_areas(boxes), kind="stable")] = np.arange(1, len(boxes) + 1)
    priority = position * np.random.default_rng(0).random(len(boxes))
    return boxes[spread_order(boxes, -priority, NEAR_DUPLICATE, max_boxes)]


def spread_order(boxes: np.ndarray, scores: np.ndarray, threshold: float, max_boxes: int | None = None) -> np.ndarray:
    """Return the rows of boxes by falling score, those that overlap a better one by more behind all others.

    Args:
        boxes: (N, 4) float, x1 y1 x2 y2, inclusive pixels.
        scores: (N,) float.
        threshold: boxes whose IoU with a better one that stays in front is greater go behind.
        max_boxes: return the first so many; None for all.
    """
    first = nms(boxes, scores, threshold, max_boxes)
    rest = np.setdiff1d(np.arange(len(boxes)), first)
    return np.concatenate([first, rest[np.argsort(-scores[rest], kind="stable")]])[:max_boxes]


def limit_boxes(boxes: np.ndarray, max_boxes: int | None = None, merge_iou: float | None = None) -> np.ndarray:
    """Return the boxes worth the network's time: the first so many, without those that nearly repeat another.

    Args:
        boxes: (N, 4) float, x1 y1 x2 y2, inclusive pixels, best first.
        max_boxes: take the first so many; None for all.
        merge_iou: then drop a box whose IoU with an earlier one that stays is greater; None for none.

    Returns:
        (M, 4) of the input's dtype, M <= N, in the same order.

    Raises:
        InputError: `merge_iou` is no IoU (from `nms`).
    """
    boxes = boxes[:max_boxes]
    if merge_iou is None:
        return boxes
    return boxes[nms(boxes, -np.arange(len(boxes)), merge_iou)]


def check_limits(max_boxes: int | None, merge_iou: float | None) -> None:
    """Raise InputError unless each is None or means something: at least 1 box, an IoU between 0 and 1."""
    if max_boxes is not None and not (isinstance(max_boxes, Integral) and max_boxes >= 1):
        raise InputError(f"max_boxes is {max_boxes}, expected at least 1, or None for all boxes")
    if merge_iou is not None and not (isinstance(merge_iou, Real) and 0 <= merge_iou <= 1):
        raise InputError(f"merge_iou is {merge_iou}, expected an IoU between 0 and 1, or None to merge nothing")


def limit_settings(max_boxes: int | None, merge_iou: float | None) -> dict[str, Any]:
    """Return the limits as proposals record them; without merging, as files written before there was any do."""
    return {"max_boxes": max_boxes} | ({} if merge_iou is None else {"merge_iou": merge_iou})
