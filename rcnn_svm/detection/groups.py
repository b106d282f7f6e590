"""Boxes in groups: those of a class in an image, which vote for or suppress each other and no others."""

from __future__ import annotations

import numpy as np

from rcnn_svm.errors import InputError


def rows_by_group(
    boxes: np.ndarray, scores: np.ndarray, groups: np.ndarray, name: str
) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of boxes, group after group, and where each group starts, for a compiled loop.

    A compiled loop looks at no bounds, so the arrays are checked here.

    Args:
        boxes: (N, 4) float, x1 y1 x2 y2, 0-based inclusive pixels.
        scores: (N,) float.
        groups: (N,) int.
        name: what is done with them, for a message.

    Returns:
        (N,) int64, rows by group, within a group as they come; (G + 1,) int64, positions among these of the first row
        of each group, and N.

    Raises:
        InputError: the arrays do not fit together.
    """
    if boxes.shape != (len(scores), 4) or scores.ndim != 1 or groups.shape != scores.shape:
        raise InputError(
            f"{name}: boxes have shape {boxes.shape}, scores {scores.shape} and groups {groups.shape}, "
            "expected (N, 4), (N,) and (N,)"
        )
    order = np.argsort(groups, kind="stable")
    return order, np.append(np.flatnonzero(np.diff(groups[order], prepend=groups.min(initial=0) - 1)), len(order))
