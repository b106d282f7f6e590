"""The examples that every training of a class starts from: its ground truth."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rcnn_svm.cache.feature_cache import FeatureCache
from rcnn_svm.errors import InputError


def class_columns(cache: FeatureCache, names: Sequence[str] | None) -> list[int]:
    """Return the cache's column of every class to train; of all where None.

    Raises:
        InputError: a name is not among the cache's classes.
    """
    if names is None:
        return list(range(len(cache.classes)))
    for name in names:
        if name not in cache.classes:
            raise InputError(f"class {name!r} is not in {cache.name}; it has {', '.join(cache.classes)}")
    return [cache.classes.index(name) for name in names]


def class_positives(cache: FeatureCache, columns: Sequence[int]) -> list[np.ndarray]:
    """Return the regions, counted over all images, that are a class's ground truth, for every class.

    Args:
        cache: the regions.
        columns: of the classes.

    Returns:
        (P,) int64 for every class.

    Raises:
        InputError: a class has none.
    """
    found = [[] for _ in columns]
    for _, first, arrays in cache.shards():
        label = np.where(arrays.gt, arrays.label, 0)
        for regions, column in zip(found, columns, strict=True):
            regions.append(first + np.flatnonzero(label == column + 1))
    positives = [np.concatenate(regions) for regions in found]
    for column, regions in zip(columns, positives, strict=True):
        if not len(regions):
            raise InputError(
                f"class {cache.classes[column]!r} has no ground truth in {cache.name}: none of its "
                f"{cache.num_images} images shows one; leave the class out or add images that do"
            )
    return positives
