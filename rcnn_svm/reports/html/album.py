"""The regions of training images that the page shows: each once, however many sections it is in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rcnn_svm.cache.feature_cache import FeatureCache


@dataclass(frozen=True)
class Picks:
    """Regions that a section of the page would show.

    Attributes:
        rank: (n,) int64, how much it wants each, 0 the most.
        keys: (n, 2) int, image and row; a region may come several times.
    """

    rank: np.ndarray
    keys: np.ndarray

    @classmethod
    def joined(cls, picks: Sequence[Picks]) -> Picks:
        """Return the picks of several sections as one, those of the first first."""
        ranks = [np.empty(0, np.int64), *(part.rank for part in picks)]
        return cls(np.concatenate(ranks), np.concatenate([np.empty((0, 2), np.int64), *(part.keys for part in picks)]))

    def most_wanted(self, limit: int) -> np.ndarray:
        """Return the keys (m, 2) int64 of at most `limit` different regions, by their best rank, then as they came."""
        keys = self.keys[np.argsort(self.rank, kind="stable")]
        _, first = np.unique(_codes(keys), return_index=True)
        return keys[np.sort(first)[:limit]]


@dataclass(frozen=True)
class Album:
    """Regions of a feature cache, the most wanted first; the page knows a region by its number here.

    Attributes:
        keys: (n, 2) int64, image and row, all different.
        boxes: (n, 4) float32, x1 y1 x2 y2, 0-based inclusive pixels.
        nearest: (n,) int64, class of the object that the region overlaps most, an index of the cache's classes; -1
            where it overlaps none.
        overlap: (n,) float32, the IoU with it.
    """

    keys: np.ndarray
    boxes: np.ndarray
    nearest: np.ndarray
    overlap: np.ndarray

    @classmethod
    def of_cache(cls, cache: FeatureCache, keys: np.ndarray) -> Album:
        """Look up regions (n, 2) of a cache; the images that have one are read one by one, without their features."""
        boxes, overlap = np.empty((len(keys), 4), np.float32), np.empty(len(keys), np.float32)
        nearest = np.empty(len(keys), np.int64)
        for image in np.unique(keys[:, 0]).tolist():
            of_image = np.flatnonzero(keys[:, 0] == image)
            block, rows = cache.block(image), keys[of_image, 1]
            boxes[of_image], overlaps = block.boxes[rows], block.overlap[rows]
            nearest[of_image], overlap[of_image] = overlaps.argmax(axis=1), overlaps.max(axis=1)
        return cls(keys, boxes, np.where(overlap > 0, nearest, -1), overlap)

    def __len__(self) -> int:
        return len(self.keys)

    def numbers(self, keys: np.ndarray) -> np.ndarray:
        """Return the numbers (m,) int64 of regions (m, 2) in the album, -1 for those that are not in it."""
        if not len(self):
            return np.full(len(keys), -1)
        known, wanted = _codes(self.keys), _codes(keys)
        order = np.argsort(known)
        place = order[np.searchsorted(known, wanted, sorter=order).clip(max=len(order) - 1)]
        return np.where(known[place] == wanted, place, -1)


def _codes(keys: np.ndarray) -> np.ndarray:
    """Return a number (n,) int64 for every key (n, 2)."""
    return (keys[:, 0].astype(np.int64) << 32) + keys[:, 1]
