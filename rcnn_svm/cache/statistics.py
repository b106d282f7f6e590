"""What the regions of a cache are, counted image by image, and what its features are like, from a sample of rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rcnn_svm.cache.feature_cache import FeatureCache
from rcnn_svm.errors import InputError

# Where the bins of IoU begin; the last one ends at 1. Below the first, a proposal shows nothing of an object.
IOU_BINS = (0.1, 0.3, 0.5, 0.7)
# The sample of features: so many rows, an equal share of so many images.
SAMPLE_IMAGES = 200
SAMPLE_ROWS = 20_000
# A feature is saturated if more than this share of the rows have exactly its largest value, which a limit explains,
# such as that of a ReLU6, and chance does not.
SATURATED = 0.1


@dataclass(frozen=True)
class RegionCounts:
    """What the regions of some images are.

    Attributes:
        objects: (K,) int64, objects of every class, the difficult ones not counted.
        difficult: (K,) int64, objects marked difficult.
        images_with: (K,) int64, images with an object of the class, difficult or not.
        near: (K, 4) int64, proposals by their IoU with the objects of a class, in the bins that `IOU_BINS` begin.
        regions: (I,) int64, regions of every image.
        proposals: (I,) int64, those that are no objects.
        image_size: (I, 2) int64, height and width in pixels.
    """

    objects: np.ndarray
    difficult: np.ndarray
    images_with: np.ndarray
    near: np.ndarray
    regions: np.ndarray
    proposals: np.ndarray
    image_size: np.ndarray


def count_regions(cache: FeatureCache, images: Sequence[int]) -> RegionCounts:
    """Return what the regions of some images of a cache are; no features are read.

    Args:
        cache: the cache.
        images: their indices.
    """
    K = len(cache.classes)
    objects, difficult, images_with = (np.zeros(K, np.int64) for _ in range(3))
    at_least = np.zeros((len(IOU_BINS), K), np.int64)
    regions, proposals = np.zeros((2, len(images)), np.int64)
    image_size = np.zeros((len(images), 2), np.int64)
    for number, image in enumerate(images):
        block = cache.block(image)
        of_class = np.bincount(block.label[block.gt] - 1, minlength=K)
        hard = np.bincount(block.label[block.gt & block.difficult] - 1, minlength=K)
        objects, difficult, images_with = objects + of_class - hard, difficult + hard, images_with + (of_class > 0)
        overlap = block.overlap[~block.gt]
        at_least += [(overlap >= np.float32(edge)).sum(axis=0) for edge in IOU_BINS]
        regions[number], proposals[number] = len(block), len(overlap)
        image_size[number] = block.image_size[0]
    near = at_least.copy()
    near[:-1] -= at_least[1:]
    return RegionCounts(objects, difficult, images_with, near.T, regions, proposals, image_size)


@dataclass(frozen=True)
class FeatureLook:
    """What features are like.

    Attributes:
        norms: (n,) float64, L2 norm of every row that was looked at and is finite.
        not_finite: number of rows that are not, which nothing else counts.
        damaged: a sentence for every image that was to be looked at and has a row that is not what was written.
        zeros: (D,) int64, rows in which a feature is 0.
        lowest, highest: (D,) float32, its range; NaN without rows.
        at_highest: (D,) int64, rows that have exactly its largest value.
    """

    norms: np.ndarray
    not_finite: int
    damaged: tuple[str, ...]
    zeros: np.ndarray
    lowest: np.ndarray
    highest: np.ndarray
    at_highest: np.ndarray

    @property
    def num_rows(self) -> int:
        """n, the rows looked at that are finite."""
        return len(self.norms)

    @property
    def sparsity(self) -> float:
        """Share of all values that are 0; NaN without rows."""
        return float(self.zeros.sum() / (self.num_rows * len(self.zeros))) if self.num_rows else float("nan")

    @property
    def dead(self) -> np.ndarray:
        """Indices, (d,) int64, of the features that have one value in all rows and tell regions apart by nothing."""
        return np.flatnonzero(self.lowest == self.highest)

    @property
    def saturated(self) -> np.ndarray:
        """Indices, (s,) int64, of the features that are at their largest value in more than a tenth of the rows."""
        often = self.at_highest > max(SATURATED * self.num_rows, 1)
        return np.flatnonzero(often & (self.lowest < self.highest))


class FeatureTally:
    """Looks at features part by part, in the memory of a part.

    Args:
        dim: D.
    """

    def __init__(self, dim: int):
        self._norms = [np.empty(0)]
        self._not_finite = 0
        self._damaged: list[str] = []
        self._zeros, self._at_highest = np.zeros((2, dim), np.int64)
        self._lowest, self._highest = np.full(dim, np.inf, np.float32), np.full(dim, -np.inf, np.float32)

    def add(self, features: np.ndarray) -> None:
        """Look at some rows, (n, D) float32."""
        finite = np.isfinite(features).all(axis=1)
        self._not_finite += int((~finite).sum())
        features = features[finite]
        if not len(features):
            return
        self._norms.append(np.sqrt(np.einsum("nd,nd->n", features, features, dtype=np.float64)))
        self._zeros += (features == 0).sum(axis=0)
        self._lowest = np.minimum(self._lowest, features.min(axis=0))
        highest = np.maximum(self._highest, features.max(axis=0))
        self._at_highest[highest > self._highest] = 0
        self._at_highest += (features == highest).sum(axis=0)
        self._highest = highest

    def note(self, damage: str) -> None:
        """Note rows that cannot be looked at, by the sentence that says why."""
        self._damaged.append(damage)

    def look(self) -> FeatureLook:
        """Return what was seen."""
        norms = np.concatenate(self._norms)
        lowest, highest = (self._lowest, self._highest) if len(norms) else np.full((2, len(self._zeros)), np.nan)
        damaged = tuple(self._damaged)
        return FeatureLook(norms, self._not_finite, damaged, self._zeros, lowest, highest, self._at_highest)


def look_at_features(
    cache: FeatureCache, images: Sequence[int], max_images: int = SAMPLE_IMAGES, max_rows: int = SAMPLE_ROWS
) -> FeatureLook:
    """Return what the features of a sample of rows are like: the same rows in every call.

    The rows of an image are spread over all of it, as its objects come first and then the best proposals.

    Args:
        cache: the features.
        images: indices of the images that may be looked at.
        max_images: look at so many of them, spread evenly.
        max_rows: rows to read in all.
    """
    tally = FeatureTally(cache.dim)
    images = spread(images, max_images)
    for image in images:
        block = cache.block(image)
        rows = np.array(spread(range(len(block)), max(max_rows // len(images), 1)), np.int64)
        try:
            tally.add(block.features(rows))
        except InputError as error:
            tally.note(str(error))
    return tally.look()


def spread(items: Sequence[int], limit: int) -> list[int]:
    """Return all items, or `limit` of them at even distances, the first among them."""
    if len(items) <= limit:
        return list(items)
    return [items[number * len(items) // limit] for number in range(limit)]
