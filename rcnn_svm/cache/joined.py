"""Several feature caches as one: those of more images than a stage has, such as background, beside the training's.

Nothing is copied or read: a joined cache reads the shards of its parts. Images count on from one part to the next, so
that keys of different parts are different.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

import numpy as np

from rcnn_svm.artefacts.files import fingerprint
from rcnn_svm.cache.feature_cache import FeatureCache
from rcnn_svm.cache.plan import CachePlan
from rcnn_svm.cache.shards import Shard, ShardArrays
from rcnn_svm.errors import InputError


@dataclass(frozen=True)
class _JoinedPlan(CachePlan):
    """The plan of a joined cache.

    Attributes:
        plans: those of its parts.
    """

    plans: tuple[CachePlan, ...] = ()

    @functools.cached_property
    def fingerprint(self) -> str:
        """16 hex digits that differ between any two joined caches."""
        return fingerprint([self.name, [plan.fingerprint for plan in self.plans]])

    @property
    def num_shards(self) -> int:
        """Number of shards of all parts."""
        return sum(plan.num_shards for plan in self.plans)

    def part_of(self, shard: int) -> tuple[int, int]:
        """Return the part that a shard is in, and its number there."""
        starts = [0, *accumulate(plan.num_shards for plan in self.plans)]
        part = int(np.searchsorted(starts, shard, side="right")) - 1
        return part, shard - starts[part]

    def images_of(self, shard: int) -> range:
        """Return the indices of the images in a shard."""
        part, number = self.part_of(shard)
        images, first = self.plans[part].images_of(number), self._first_images[part]
        return range(first + images.start, first + images.stop)

    def place_of(self, image: int) -> tuple[int, int]:
        """Return the shard of an image, and its number there."""
        part = int(np.searchsorted(self._first_images, image, side="right")) - 1
        shard, number = self.plans[part].place_of(image - self._first_images[part])
        return sum(plan.num_shards for plan in self.plans[:part]) + shard, number

    @functools.cached_property
    def _first_images(self) -> list[int]:
        return [0, *accumulate(len(plan.image_ids) for plan in self.plans[:-1])]


def join_caches(caches: Sequence[FeatureCache]) -> FeatureCache:
    """Return a cache of the images of several, in their order.

    It has the name and the settings of the first; ids of the images of the others begin with the names of their sets.

    Args:
        caches: one or more, of the same classes.

    Raises:
        InputError: the features are of different lengths, or the classes are not the same.
    """
    first, *others = caches
    if not others:
        return first
    for other in others:
        if other.dim != first.dim:
            raise InputError(f"{other.name} has {other.dim}-d features, {first.name} has {first.dim}-d ones")
        if other.classes != first.classes:
            raise InputError(f"{other.name} has other classes than {first.name}; make both with the same --classes")
    plans = tuple(cache._plan for cache in caches)
    names = [f"{other.name}/{image_id}" for other in others for image_id in other.image_ids]
    plan = _JoinedPlan(
        folder=plans[0].folder,
        name=first.name,
        classes=first.classes,
        image_ids=(*first.image_ids, *names),
        rows=tuple(rows for part in plans for rows in part.rows),
        dim=first.dim,
        dtype=first.dtype,
        shard_images=0,
        settings=first.settings,
        plans=plans,
    )

    def load(shard: int) -> Shard:
        part, number = plan.part_of(shard)
        return caches[part]._shard(number)

    return FeatureCache(plan, load)


def as_background(cache: FeatureCache, classes: Sequence[str]) -> FeatureCache:
    """Return a cache of images that show no object of some classes, as one of these classes: all its regions negatives.

    Objects of other classes, if it has any, are regions like others.

    Args:
        cache: the images.
        classes: K class names.

    Raises:
        InputError: there is an object of one of the classes.
    """
    columns = [cache.classes.index(name) + 1 for name in classes if name in cache.classes]
    for block in cache.blocks():
        shown = np.flatnonzero(np.isin(block.label, columns))
        if len(shown):
            image, row = cache.keys(block.first_region + shown[:1])[0].tolist()
            raise InputError(
                f"{cache.name} is not background: row {row} of image {cache.image_ids[image]} is an object of class "
                f"{cache.classes[block.label[shown[0]] - 1]!r}; leave out the images that show one"
            )

    def load(number: int) -> Shard:
        shard = cache._shard(number)
        stored: ShardArrays[Any] = shard.arrays  # from here some are in memory and some in the file
        size = len(stored.label)
        arrays = replace(
            stored,
            gt=np.zeros(size, bool),
            label=np.zeros(size, np.int32),
            difficult=np.zeros(size, bool),
            overlap=np.zeros((size, len(classes)), np.float32),
        )
        return replace(shard, arrays=arrays)

    return FeatureCache(replace(cache._plan, classes=tuple(classes)), load)
