"""Examples of a class in a feature cache: every region is a positive, a negative, or neither."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from rcnn_svm import paper
from rcnn_svm.cache.feature_cache import FeatureCache
from rcnn_svm.cache.feature_norm import feature_scale
from rcnn_svm.errors import InputError
from rcnn_svm.mining.rules import MiningRules
from rcnn_svm.parameters import plain


def one_vs_rest_targets(label: np.ndarray, overlap: np.ndarray, neg_overlap: float) -> np.ndarray:
    """Return whether every region is a positive or a negative of every class.

    Args:
        label: (N,) int, class index + 1 for ground-truth rows, else 0.
        overlap: (N, K) float32, IoU with the nearest object of every class.
        neg_overlap: negatives have an IoU strictly below.

    Returns:
        (N, K) int8: 1 a positive (ground truth of the class), -1 a negative, 0 neither.

    Source: `rcnn_train.m`.
    """
    targets = np.where(MiningRules(neg_overlap=neg_overlap).negative(overlap), np.int8(-1), np.int8(0))
    objects = np.flatnonzero(label)
    targets[objects, label[objects] - 1] = 1
    return targets


def class_columns(cache: FeatureCache, names: Sequence[str] | None) -> list[int]:
    """Return the cache's column of every class to train; of all where None.

    Raises:
        InputError: a name is not among the cache's classes.
    """
    if names is None:
        return list(range(len(cache.classes)))
    for name in names:
        if name not in cache.classes:
            raise InputError(f"class {plain(name)!r} is not in {cache.name}; it has {', '.join(cache.classes)}")
    return [cache.classes.index(name) for name in names]


def class_positives(cache: FeatureCache, columns: Sequence[int]) -> list[np.ndarray]:
    """Return the regions, counted over all images, that are a class's ground truth, for every class.

    Args:
        cache: the regions.
        columns: (k,) the classes' columns in `cache.overlap`.

    Returns:
        (P,) int64 for every class.

    Raises:
        InputError: classes have none; all of them are named.
    """
    found: list[list[np.ndarray]] = [[] for _ in columns]
    for block in cache.blocks():
        label = np.where(block.gt, block.label, 0)
        for regions, column in zip(found, columns, strict=True):
            regions.append(block.first_region + np.flatnonzero(label == column + 1))
    positives = [np.concatenate(regions) for regions in found]
    empty = [
        plain(cache.classes[column]) for column, regions in zip(columns, positives, strict=True) if not len(regions)
    ]
    if empty:
        names = f"classes {', '.join(map(repr, empty))} have" if len(empty) > 1 else f"class {empty[0]!r} has"
        raise InputError(
            f"{names} no ground truth in {cache.name}: none of its {cache.num_images} images shows one; leave them "
            "out or add images that do"
        )
    return positives


def cache_batches(
    cache: FeatureCache,
    cls: str,
    *,
    neg_overlap: float = paper.NEG_OVERLAP,
    feat_norm_mean: float | None = None,
    batch_bytes: int = 32 << 20,
) -> Callable[[], Iterator[tuple[np.ndarray, np.ndarray]]]:
    """Return a function that yields the examples of a class, as `BootstrapClassifier.fit_batches` takes them.

    Args:
        cache: the features.
        cls: name of the class.
        neg_overlap: negatives have an IoU strictly below with every object of the class.
        feat_norm_mean: features are scaled by 20 over this, as `HardNegativeMiner` does; not at all where None.
        batch_bytes: bytes of float32 features in a batch; a single larger image makes a batch of its own.

    Returns:
        A function without arguments that yields pairs of (n, D) float32 features and (n,) int8 labels: 1 the ground
        truth of the class, -1 its negatives; regions that are neither are left out. `cache_keys` says which
        regions they are.

    Raises:
        InputError: the cache has no such class.
    """
    [column] = class_columns(cache, [cls])
    scale = np.float32(1) if feat_norm_mean is None else feature_scale(feat_norm_mean)

    def batches() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for block in cache.blocks(batch_bytes):
            targets = one_vs_rest_targets(block.label, block.overlap, neg_overlap)[:, column]
            examples = np.flatnonzero(targets)
            yield block.features(examples) * scale, targets[examples]

    return batches


def cache_keys(cache: FeatureCache, cls: str, *, neg_overlap: float = paper.NEG_OVERLAP) -> np.ndarray:
    """Return (N, 2) int32, image and row of every example that `cache_batches` yields, in its order.

    Raises:
        InputError: the cache has no such class.
    """
    [column] = class_columns(cache, [cls])
    examples = []
    for block in cache.blocks():
        targets = one_vs_rest_targets(block.label, block.overlap, neg_overlap)[:, column]
        examples.append(block.first_region + np.flatnonzero(targets))
    return cache.keys(np.concatenate(examples)).astype(np.int32)
