"""Feature rows that several classes share: one copy of a row, however many classes train on it.

Which rows a class has, and that it has none twice, is in `class_cache.py`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from rcnn_svm.errors import InputError
from rcnn_svm.svm.kernels import copy_scaled

# The first size of a pool. Memory that was never written to costs nothing, copying it to grow does.
RESERVED_BYTES = 1 << 30
# But of every row some is written at once, so that there is an end where rows are short.
RESERVED_ROWS = 1 << 18


class FeaturePool:
    """Scaled feature rows under the number of their region, with the number of classes that hold them.

    A row enters when the first class takes it and its place is reused when the last class lets go of it, so
    memory is that of the rows in use. Rows enter from one block of consecutive regions at a time.

    Args:
        dim: D.
        scale: factor for the rows that are kept.
        max_rows: as many rows as can ever be needed at once.
        check: called with the numbers (n,) and squared norms (n,) of the regions that enter, to refuse features that
            are not finite; none are refused where None.

    Attributes:
        rows: (M, D) float32, the places; reallocated as the pool grows.
        norms: (M,) float64, squared L2 norms of the rows.
        regions: (M,) int64, number of the region in each place, counted over all images; -1 where free.
        holders: (M,) int32, classes that hold the row.
    """

    def __init__(
        self,
        dim: int,
        scale: np.float32,
        max_rows: int,
        check: Callable[[np.ndarray, np.ndarray], None] | None = None,
    ):
        self.scale = np.float32(scale)
        self.check = check
        self.max_rows = max_rows
        self.rows = np.empty((0, dim), np.float32)
        self.norms = np.empty(0, np.float64)
        self.regions = np.empty(0, np.int64)
        self.holders = np.empty(0, np.int32)
        self._free = np.empty(0, np.int64)
        self._num_free = 0
        self._num_used = 0  # places from here on were never taken
        self._block_start = 0
        self._slot_of = np.empty(0, np.int64)

    @property
    def dim(self) -> int:
        """D, the number of features."""
        return self.rows.shape[1]

    def __len__(self) -> int:
        return len(self.rows) - self._num_free

    def open_block(self, first: int, count: int) -> None:
        """Prepare for rows of regions `first` to `first + count`; every `put` names rows among these."""
        self._block_start = first
        self._slot_of = np.full(count, -1)
        regions = self.regions[: self._num_used]
        slots = np.flatnonzero((regions >= first) & (regions < first + count))
        self._slot_of[self.regions[slots] - first] = slots

    def put(self, indices: np.ndarray, features: np.ndarray, *, gathered: bool = False) -> np.ndarray:
        """Return the places of some regions for one more class, after copying in those that were not there.

        Args:
            indices: (n,) int, distinct, within the open block.
            features: (count, D) float32, unscaled, the block's rows; or (n, D), those of `indices`, if `gathered`.
            gathered: whether `features` has the rows of `indices` only.

        Raises:
            InputError: features of another length or type, or `check` refuses them.
        """
        # The compiled loop looks at no bounds.
        if features.dtype != np.float32 or features.ndim != 2 or features.shape[1] != self.dim:
            raise InputError(
                f"features are {features.dtype} of shape {features.shape}, expected float32 of {self.dim} dimensions"
            )
        slots = self._slot_of[indices]
        absent = np.flatnonzero(slots < 0)
        if len(absent):
            taken = self._take(len(absent))
            missing = indices[absent]
            copy_scaled(features, absent if gathered else missing, self.scale, self.rows, self.norms, taken)
            self.regions[taken] = missing + self._block_start
            if self.check is not None:
                self.check(self.regions[taken], self.norms[taken])
            self._slot_of[missing] = taken
            slots[absent] = taken
        self.holders[slots] += 1
        return slots

    def release(self, slots: np.ndarray) -> None:
        """Let one class go of the rows in `slots`; rows that no class holds leave the pool."""
        self.holders[slots] -= 1
        left = slots[self.holders[slots] == 0]
        inside = self.regions[left] - self._block_start
        self._slot_of[inside[(inside >= 0) & (inside < len(self._slot_of))]] = -1
        self.regions[left] = -1
        self._free[self._num_free : self._num_free + len(left)] = left
        self._num_free += len(left)

    def _take(self, count: int) -> np.ndarray:
        if self._num_free < count:
            self._grow(count - self._num_free)
        self._num_free -= count
        taken = self._free[self._num_free : self._num_free + count].copy()
        self._num_used = max(self._num_used, int(taken.max()) + 1)
        return taken

    def _grow(self, missing: int) -> None:
        old = len(self.rows)
        new = old + max(missing, old // 2, min(RESERVED_BYTES // (4 * self.dim), RESERVED_ROWS) - old)
        new = max(old + missing, min(new, self.max_rows))
        self.rows = _extended(self.rows, new)
        self.norms = _extended(self.norms, new)
        self.regions = _extended(self.regions, new)
        self.regions[old:] = -1
        self.holders = _extended(self.holders, new)
        self.holders[old:] = 0
        self._free = _extended(self._free, new)
        self._free[self._num_free : self._num_free + new - old] = np.arange(new - 1, old - 1, -1)
        self._num_free += new - old


def _extended(array: np.ndarray, length: int) -> np.ndarray:
    """Return a longer array that begins with the same rows."""
    longer = np.empty((length, *array.shape[1:]), array.dtype)
    longer[: len(array)] = array
    return longer
