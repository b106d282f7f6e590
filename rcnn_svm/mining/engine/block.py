"""Consecutive images that are scored at once, with their place in the passes over the image set."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class ScanBlock:
    """A block of a feature cache with its features in memory; images and rows count from its first.

    Attributes:
        epoch: number of the pass over the images.
        images: their indices in the cache.
        first_region: number of the first region over all images.
        image_start: (I + 1,) int64, rows `image_start[i]:image_start[i + 1]` are those of `images[i]`.
        overlap: (N, K) float32, of all classes of the cache.
        features: (N, D) float32, unscaled.
        skip: so many images at the beginning are done already.
        last: the last image of the last pass is among them.
    """

    epoch: int
    images: range
    first_region: int
    image_start: np.ndarray
    overlap: np.ndarray
    features: np.ndarray
    skip: int = 0
    last: bool = False

    def __len__(self) -> int:
        """Return N, the number of regions."""
        return len(self.features)

    @property
    def num_images(self) -> int:
        """I, the number of images."""
        return len(self.images)

    @property
    def first(self) -> bool:
        """Whether the first image of the first pass is among them."""
        return self.epoch == 0 and self.images.start == 0

    @property
    def of_first_image(self) -> bool | np.ndarray:
        """Which rows are of the first image of the first pass: (N,) bool, or False where that is not among them."""
        return self.first and np.arange(len(self)) < self.image_start[1]

    def rows_from(self, image: int) -> slice:
        """Return the rows of an image and of all later ones."""
        return slice(self.image_start[image], None)

    def per_image(self, mask: np.ndarray) -> np.ndarray:
        """Return how many rows of every image a mask (N,) bool holds, (I,) int64."""
        sums = np.zeros(len(mask) + 1, np.int64)
        np.cumsum(mask, out=sums[1:])
        return np.diff(sums[self.image_start])
