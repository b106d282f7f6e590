"""A limit of the memory that the examples of all classes take, after voc-dpm; the original has none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rcnn_svm.errors import InputError


@dataclass(frozen=True)
class MemoryBudget:
    """How many negatives a class may hold, and which go first.

    A class is trained before an image whose hard negatives do not fit, and then gives up its easiest negatives, but no
    support vectors, until half of its space is free. What still does not fit is left out, the easiest first.

    Args:
        capacity: negatives that a class may hold; no limit where None.

    Source: the data mining of voc-dpm (Felzenszwalb et al., PAMI 2010), with a share of the memory for every class.
    """

    capacity: int | None = None

    @classmethod
    def of_bytes(cls, memory: int | None, num_positives: Sequence[int], dim: int) -> MemoryBudget:
        """Share memory out: the positives first, what is left in equal parts for the negatives of every class.

        Args:
            memory: bytes for the features of all examples; no limit where None.
            num_positives: number of positives of every class.
            dim: D.

        Raises:
            InputError: fewer than two negatives a class are left.
        """
        if memory is None:
            return cls()
        row_bytes, positives, classes = 4 * dim, sum(num_positives), len(num_positives)
        capacity = (memory // row_bytes - positives) // classes
        if capacity < 2:
            raise InputError(
                f"memory_budget = {memory} bytes leaves {classes} classes no room for negatives beside their "
                f"{positives} positives of {row_bytes} bytes; give at least {(positives + 2 * classes) * row_bytes}, "
                f"better some hundred times {classes * row_bytes} more"
            )
        return cls(capacity)

    def max_rows(self, num_positives: Sequence[int], num_rows: int) -> int:
        """Return how many rows some classes can hold together, out of `num_rows` of the whole cache."""
        if self.capacity is None:
            return num_rows
        return min(num_rows, sum(num_positives) + self.capacity * len(num_positives))

    def room(self, num_negatives: int) -> float:
        """Return how many negatives more a class may take that has `num_negatives`."""
        return np.inf if self.capacity is None else max(self.capacity - num_negatives, 0)

    def num_fitting(self, num_negatives: int, counts: np.ndarray) -> int:
        """Return how many of the next images a class has room for, by the number of negatives that each adds."""
        if self.capacity is None:
            return len(counts)
        return int(np.searchsorted(np.cumsum(counts), self.room(num_negatives), side="right"))

    def excess(self, num_negatives: int) -> int:
        """Return how many of its negatives a class has to give up after a training."""
        return 0 if self.capacity is None else max(num_negatives - self.capacity // 2, 0)


def easiest(scores: np.ndarray, count: int) -> np.ndarray:
    """Return the positions of the `count` lowest scores, (<= count,) int64; of equals the first."""
    return np.argsort(scores, kind="stable")[:count]
