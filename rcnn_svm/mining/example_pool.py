"""The feature rows that some class trains on, each kept once however many classes find it hard."""

from __future__ import annotations

import numpy as np


class ExamplePool:
    """Scaled feature rows under keys (image, row), with the classes that hold them.

    A row enters when the first class takes it and its place is reused when the last class lets go of it, so
    memory is that of the examples in use.

    Args:
        dim: D.
        num_classes: K.

    Attributes:
        rows: (M, D) float32, the places; reallocated as the pool grows.
        norms: (M,) float64, squared L2 norms of the rows.
        images: (M,) int32, image of the row in each place.
        indices: (M,) int32, the row's number within its image.
        member: (M, K) bool, the class holds the row, as a positive or a negative.
    """

    def __init__(self, dim: int, num_classes: int):
        self.rows = np.empty((0, dim), np.float32)
        self.norms = np.empty(0, np.float64)
        self.images = np.empty(0, np.int32)
        self.indices = np.empty(0, np.int32)
        self.member = np.zeros((0, num_classes), bool)
        self._slot_of: dict[tuple[int, int], int] = {}
        self._free: list[int] = []

    def __len__(self) -> int:
        return len(self._slot_of)

    def put(self, image: int, indices: np.ndarray, features: np.ndarray, scale: np.float32) -> np.ndarray:
        """Return the places of some rows of an image, after copying in those that were not there.

        Args:
            image: image index.
            indices: (n,) int, row numbers within the image.
            features: (image's rows, D) float32, unscaled.
            scale: factor for the stored copy.
        """
        slots = np.array([self._slot_of.get((image, int(i)), -1) for i in indices], np.int64)
        absent = np.flatnonzero(slots < 0)
        if len(absent):
            if len(self._free) < len(absent):
                self._grow(len(absent) - len(self._free))
            taken = np.array([self._free.pop() for _ in absent], np.int64)
            slots[absent] = taken
            copied = features[indices[absent]] * scale
            self.rows[taken] = copied
            self.norms[taken] = np.einsum("nd,nd->n", copied, copied, dtype=np.float64)
            self.images[taken] = image
            self.indices[taken] = indices[absent]
            for slot, index in zip(taken.tolist(), indices[absent].tolist(), strict=True):
                self._slot_of[image, index] = slot
        return slots

    def hold(self, slots: np.ndarray | int, cls: int) -> None:
        """Let class `cls` hold the rows in `slots`."""
        self.member[slots, cls] = True

    def release(self, slots: np.ndarray, cls: int) -> None:
        """Let class `cls` go of the rows in `slots`; rows that nobody holds leave the pool."""
        self.member[slots, cls] = False
        for slot in slots[~self.member[slots].any(axis=1)].tolist():
            del self._slot_of[int(self.images[slot]), int(self.indices[slot])]
            self._free.append(slot)

    def _grow(self, missing: int) -> None:
        old = len(self.rows)
        new = old + max(missing, old // 4, 256)
        # ndarray.resize moves pages instead of copying them where the system can.
        self.rows.resize((new, self.rows.shape[1]), refcheck=False)
        self.norms.resize(new, refcheck=False)
        self.images.resize(new, refcheck=False)
        self.indices.resize(new, refcheck=False)
        self.member.resize((new, self.member.shape[1]), refcheck=False)
        self._free += range(new - 1, old - 1, -1)
