"""The objects that a detector found in one image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class ImageDetections:
    """The objects that a detector found in one image, best first.

    Attributes:
        cls: (n,) int32, class indices.
        boxes: (n, 4) float32, x1 y1 x2 y2, 0-based inclusive pixels.
        scores: (n,) float32, descending.
    """

    cls: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray

    def __len__(self) -> int:
        return len(self.scores)

    def above(self, thresh: float | np.ndarray) -> ImageDetections:
        """Return the detections with a score strictly above `thresh`, one number or (K,), one per class."""
        keep = self.scores > (thresh if np.ndim(thresh) == 0 else np.asarray(thresh)[self.cls])
        return ImageDetections(self.cls[keep], self.boxes[keep], self.scores[keep])


def best_of_groups(groups: np.ndarray, scores: np.ndarray, limit: int) -> np.ndarray:
    """Return the rows of the best of each group, at most `limit` of each, by group and descending score.

    Args:
        groups: (N,) int.
        scores: (N,) float.
        limit: rows of a group.
    """
    rows = np.lexsort((-scores, groups))
    place = np.arange(len(rows)) - np.searchsorted(groups[rows], groups[rows])
    return rows[place < limit]
