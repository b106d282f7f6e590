"""The order of proposals: which boxes to keep when only some can be afforded."""

from __future__ import annotations

import numpy as np

from rcnn_svm.boxes import box_areas, nms
from rcnn_svm.errors import InputError

NEAR_DUPLICATE = 0.8  # IoU


def rank_boxes(boxes: np.ndarray) -> np.ndarray:
    """Return the distinct boxes, ordered so that any first part of them covers the image well.

    A box's priority is its position in order of falling area times a random number, as in selective search,
    where the position is that of the merge: large regions tend to come first, small ones mix in. Boxes that
    overlap an earlier one by more than 0.8 then go to the end, in the same order. The random numbers are the
    same in every call, so the order depends on the set of boxes alone.

    Args:
        boxes: (N, 4) float, x1 y1 x2 y2, 0-based inclusive pixels, in any order, repetitions allowed.

    Returns:
        (M, 4) float32, M <= N.

    Source: `priority .* rand` in `selective_search_boxes.m`. Ours: area instead of the order of merging,
    which OpenCV does not tell; near duplicates last; fixed random numbers.
    """
    boxes = np.unique(np.asarray(boxes, np.float32).reshape(-1, 4), axis=0)
    position = np.empty(len(boxes))
    position[np.argsort(-box_areas(boxes), kind="stable")] = np.arange(1, len(boxes) + 1)
    priority = position * np.random.default_rng(0).random(len(boxes))
    first = nms(boxes, -priority, NEAR_DUPLICATE)
    rest = np.setdiff1d(np.arange(len(boxes)), first)
    return boxes[np.concatenate([first, rest[np.argsort(priority[rest], kind="stable")]])]


def check_max_boxes(max_boxes: int | None) -> None:
    """Raise InputError unless `max_boxes` is None (no limit) or at least 1."""
    if max_boxes is not None and max_boxes < 1:
        raise InputError(f"max_boxes is {max_boxes}, expected at least 1, or None for all boxes")
