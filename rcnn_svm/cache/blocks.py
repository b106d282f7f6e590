"""Consecutive images of a feature cache, whose features are read when they are asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from rcnn_svm.cache.rows import StoredRows, as_float32, stored_rows
from rcnn_svm.compiled import compiled


@dataclass(frozen=True)
class Block:
    """The regions of consecutive images.

    All arrays count from the block's first region; they are views of what is in memory, and read from a file.

    Attributes:
        images: their indices in the cache.
        first_region: number of the block's first region over all images of the cache.
        image_start: (I + 1,) int64; rows `image_start[i]:image_start[i + 1]` belong to `images[i]`.
        boxes: (N, 4) float32, x1 y1 x2 y2, 0-based inclusive pixels.
        gt: (N,) bool, the row is a ground-truth object; these come first in every image.
        label: (N,) int32, class index + 1 of a ground-truth row, else 0.
        difficult: (N,) bool, the row is a ground-truth object marked difficult.
        overlap: (N, K) float32, largest IoU with any ground-truth box of each class.
        image_size: (I, 2) int32, height and width in pixels.
        stored: (N, S) float32 or float16, what the features are read from: see `features`. An array in memory, or rows
            in a file, which are not read yet.
        transform: computes the features from `stored`; None where they are stored themselves.
    """

    images: range
    first_region: int
    image_start: np.ndarray
    boxes: np.ndarray
    gt: np.ndarray
    label: np.ndarray
    difficult: np.ndarray
    overlap: np.ndarray
    image_size: np.ndarray
    stored: np.ndarray | StoredRows
    transform: Callable[[np.ndarray], np.ndarray] | None = None

    def __len__(self) -> int:
        """Return N, the number of regions."""
        return len(self.boxes)

    def features(self, rows: np.ndarray | slice | None = None, out: np.ndarray | None = None) -> np.ndarray:
        """Return features of the block's regions in single precision; nothing is read or computed for the others.

        Args:
            rows: which regions: (n,) int indices, an (N,) bool mask or a slice; all where None.
            out: (M, D) float32, contiguous, M >= n: memory that what is in a file may be read into, and half precision
                widened. A buffer of some MB that is used again and again saves the page faults of new memory.

        Returns:
            (n, D) float32. A view of what is stored where that is single precision in memory and `rows` is no array,
            else the first rows of `out` or a new array.

        Raises:
            InputError: rows in a file are not what was written, or `out` does not fit.
        """
        if self.transform is not None:
            return self.transform(stored_rows(self.stored, rows))
        if isinstance(self.stored, StoredRows):
            return self.stored.as_float32(rows, out)
        return as_float32(stored_rows(self.stored, rows), out)

    def norms(self, rows: np.ndarray) -> np.ndarray:
        """Return the L2 norms, (n,) float64, of the features of regions `rows`, (n,) int, without a copy if it can."""
        if self.transform is None and isinstance(self.stored, np.ndarray) and self.stored.dtype == np.float32:
            rows = np.arange(len(self))[rows]  # an index beyond them is an error here, and none in the compiled loop
            return _row_norms(self.stored, rows)
        return _row_norms(self.features(rows), np.arange(len(rows)))


@compiled(fastmath=True)
def _row_norms(features, rows):
    norms = np.empty(len(rows))
    for i in range(len(rows)):
        row, total = features[rows[i]], 0.0
        for d in range(len(row)):
            total += np.float64(row[d]) * np.float64(row[d])
        norms[i] = np.sqrt(total)
    return norms
