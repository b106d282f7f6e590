"""A feature cache whose features are computed, when they are read, from those of another cache."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from rcnn_svm.artefacts.files import fingerprint
from rcnn_svm.cache.feature_cache import FeatureCache
from rcnn_svm.cache.shards import Shard


class DerivedFeatures:
    """Features that are computed for those rows alone that are asked for, every time they are.

    Stands for the (N, D) float32 array wherever that is only indexed by rows.

    Args:
        stored: (N, S) float32 or float16, what they are computed from.
        transform: (n, S) -> (n, D) float32, each row for itself.
        dim: D.
    """

    dtype = np.dtype(np.float32)

    def __init__(self, stored: np.ndarray, transform: Callable[[np.ndarray], np.ndarray], dim: int):
        self._stored = stored
        self._transform = transform
        self.shape = (len(stored), dim)

    def __len__(self) -> int:
        return len(self._stored)

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        """Return the features of some rows: a slice, (n,) int indices or an (N,) bool mask."""
        return self._transform(self._stored[rows])


class DerivedCache(FeatureCache):
    """The same regions with other features.

    Args:
        base: the cache whose features are stored.
        transform: (n, S) float32 or float16 as stored -> (n, D) float32, each row for itself.
        dim: D.
        settings: JSON-able, everything that decides the values of the new features.

    Source: `rcnn_train.m` and `rcnn_test.m`, which apply `rcnn_pool5_to_fcX.m` to cached pool5 features as they
    go. Here rows that nobody looks at are not computed.
    """

    def __init__(
        self, base: FeatureCache, transform: Callable[[np.ndarray], np.ndarray], dim: int, settings: dict[str, Any]
    ):
        plan = dataclasses.replace(base._plan, dim=dim, dtype="float32", settings=settings)

        def load(number: int) -> Shard:
            arrays = base._shard(number).arrays
            features = DerivedFeatures(arrays.features, transform, dim)
            return Shard(dataclasses.replace(arrays, features=features))

        super().__init__(plan, load)
        self._base = base

    @functools.cached_property
    def fingerprint(self) -> str:
        """16 hex digits that change with any setting, and with any feature, box or label of the base."""
        return fingerprint([self._base.fingerprint, self.settings])

    def verify(self) -> list[str]:
        """Return one sentence for everything that is wrong with the data of the base."""
        return self._base.verify()
