"""Features that caches hold already, so that only those of new images and boxes are computed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rcnn_svm.cache.plan import CachePlan, read_plan
from rcnn_svm.cache.rows import stored_rows
from rcnn_svm.cache.shards import Shard, ShardArrays
from rcnn_svm.errors import InputError


class EarlierFeatures:
    """Finds the features of boxes that caches hold, of images whose files are still the same.

    Labels, classes and other images may have changed since they were written: what a network makes of a box depends on
    pixels and box alone.

    Args:
        plans: the caches; an image is taken from the first that has it.
    """

    def __init__(self, plans: Sequence[CachePlan] = ()):
        self._caches = [_EarlierCache(plan) for plan in plans]
        self._found: dict[str, _EarlierCache] = {}

    @classmethod
    def open(cls, folders: Iterable[str | Path], settings: dict[str, Any], dim: int, dtype: str) -> EarlierFeatures:
        """Return the features that folders hold if they were made with `settings`, whatever the proposals."""
        plans = []
        for folder in folders:
            try:
                plan = read_plan(folder)
            except InputError:
                continue
            if (plan.dim, plan.dtype) == (dim, dtype) and _network(plan.settings) == _network(settings):
                plans.append(plan)
        return cls(plans)

    def rows(
        self, image_id: str, image_digest: str, image_size: tuple[int, int], boxes: np.ndarray
    ) -> np.ndarray | None:
        """Return where the features of an image's boxes are, for `features`.

        Args:
            image_id: identifier of the image.
            image_digest: digest of its file.
            image_size: (height, width), pixels, as its annotation states it.
            boxes: (N, 4) float32, x1 y1 x2 y2, 0-based inclusive pixels.

        Returns:
            (N,) int64, rows of the earlier image, -1 for a box that it did not have; None without such an image.
        """
        for cache in self._caches:
            rows = cache.rows(image_id, image_digest, image_size, boxes)
            if rows is not None:
                self._found[image_id] = cache
                return rows
        return None

    def features(self, image_id: str, rows: np.ndarray) -> np.ndarray:
        """Return the features of an image, (n, D), as they are stored; `rows` are some of those of `rows`."""
        return self._found[image_id].features(image_id, rows)


class _EarlierCache:
    """One of the caches of `EarlierFeatures`."""

    def __init__(self, plan: CachePlan):
        self._plan = plan
        self._index = {image_id: number for number, image_id in enumerate(plan.image_ids)}
        self._whole: dict[int, bool] = {}
        self._opened: tuple[int, Shard] | None = None

    def rows(
        self, image_id: str, image_digest: str, image_size: tuple[int, int], boxes: np.ndarray
    ) -> np.ndarray | None:
        found = self._image(image_id)
        if found is None:
            return None
        arrays, digest = found
        if digest != image_digest or tuple(arrays.image_size[0].tolist()) != tuple(image_size):
            return None
        known = {box.tobytes(): row for row, box in reversed([*enumerate(arrays.boxes)])}
        return np.array([known.get(box.tobytes(), -1) for box in boxes], np.int64).reshape(len(boxes))

    def features(self, image_id: str, rows: np.ndarray) -> np.ndarray:
        found = self._image(image_id)
        if found is None:
            raise KeyError(image_id)
        return stored_rows(found[0].features, rows)

    def _image(self, image_id: str) -> tuple[ShardArrays[np.ndarray], str] | None:
        """Return what an earlier shard holds of an image, and the digest of its file; None where it does not."""
        if image_id not in self._index:
            return None
        number, local = self._plan.place_of(self._index[image_id])
        if self._opened is None or self._opened[0] != number:
            shard = self._open(number)
            if shard is None:
                return None
            self._opened = number, shard
        shard = self._opened[1]
        if len(shard.image_digests) <= local:
            return None
        return shard.arrays.of_images(range(local, local + 1)), shard.image_digests[local]

    def _open(self, number: int) -> Shard | None:
        """Return a shard if it is whole: damaged bytes must not pass into a new one as if they were its own."""
        if not self._whole.get(number, True):
            return None
        try:
            shard = self._plan.read_shard(number)
            if number not in self._whole:
                self._whole[number] = shard.arrays.checksum() == shard.checksum
        except InputError:
            self._whole[number] = False
        return shard if self._whole[number] else None


def _network(settings: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in settings.items() if key != "proposals"}
