"""Feature caches made from what others computed: arrays, or the original's per-image .mat files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rcnn_svm.artefacts.files import file_digest
from rcnn_svm.cache.feature_cache import FeatureCache
from rcnn_svm.cache.plan import plan_cache
from rcnn_svm.cache.regions import RegionSet
from rcnn_svm.errors import InputError
from rcnn_svm.matlab import read_mat_arrays
from rcnn_svm.progress import progress_bar

# Beyond this no coordinate is one of an image.
_LARGEST = 1 << 30


def write_cache(cache: FeatureCache, folder: str | Path, *, shard_images: int = 20, dtype: str = "float32") -> None:
    """Write a cache, such as one made by `FeatureCache.from_arrays`, to a folder, its features stored as `dtype`.

    Raises:
        InputError: the folder holds another cache, or the disk is full.
    """
    _write(
        folder,
        name=cache.name,
        classes=cache.classes,
        image_ids=cache.image_ids,
        rows=np.diff(cache.image_start).tolist(),
        dim=cache.dim,
        settings=cache.settings,
        shard_images=shard_images,
        regions=cache.regions,
        sources=[cache.fingerprint] * cache.num_images,
        dtype=dtype,
    )


def import_girshick_cache(
    source: str | Path,
    folder: str | Path,
    *,
    classes: Sequence[str],
    image_ids: Sequence[str] | None = None,
    name: str | None = None,
    network: str | None = None,
    shard_images: int = 20,
    overwrite: bool = False,
) -> None:
    """Turn the original's feature cache, one .mat file per image, into ours.

    Args:
        source: folder of `<image id>.mat` files with the variables gt, overlap, boxes (1-based), feat, class.
        folder: folder of the new cache.
        classes: K class names, in the order of the columns of `overlap`.
        image_ids: images in their order; every file of `source`, sorted by name, where None.
        name: name of the image set; the name of `source` where None.
        network: names what made the features, in any words; a model is only applied to features of the same.
        shard_images: images per shard.
        overwrite: replace a cache in `folder` that was made with other settings, when the new one is complete.

    Raises:
        InputError: a file is missing or damaged, or does not fit the classes; `folder` holds another cache.

    Source: the files that `rcnn_cache_pool5_features.m` writes. They say neither which rows are `difficult`
    nor the image size: no row is marked difficult, and the size is the extent of the boxes.
    """
    source = Path(source)
    if not source.is_dir():
        raise InputError(f"{source} is not a folder; give the one that holds the <image id>.mat files")
    if image_ids is None:
        image_ids = sorted(path.stem for path in source.glob("*.mat"))
    if not image_ids:
        raise InputError(f"{source} holds no .mat files")

    def read(index: int) -> RegionSet:
        return _read_girshick_image(source / f"{image_ids[index]}.mat", image_ids[index], len(classes))

    counts, dims = [], set()
    for index in range(len(image_ids)):
        features = read(index).computed_features
        counts.append(len(features))
        if len(features):
            dims.add(features.shape[1])
    if len(dims) != 1:
        raise InputError(f"{source}: the files hold features of {sorted(dims)} dimensions, expected one length")
    _write(
        folder,
        name=name or source.name,
        classes=classes,
        image_ids=image_ids,
        rows=counts,
        dim=dims.pop(),
        settings={"source": "feature cache of the original", "backbone": {"name": network or "unnamed"}},
        shard_images=shard_images,
        regions=read,
        sources=[file_digest(source / f"{image_id}.mat")[:16] for image_id in image_ids],
        overwrite=overwrite,
    )


def _read_girshick_image(path: Path, image_id: str, num_classes: int) -> RegionSet:
    data = read_mat_arrays(path, ("gt", "overlap", "boxes", "feat", "class"))
    boxes = np.asarray(data["boxes"], np.float32).reshape(-1, 4) - 1
    count = len(boxes)
    overlap = np.asarray(data["overlap"], np.float32)
    overlap = overlap.reshape(count, -1) if count else np.zeros((0, num_classes), np.float32)
    if overlap.shape[1] != num_classes:
        raise InputError(f"{path}: overlap has {overlap.shape[1]} columns, but {num_classes} classes were named")
    features = np.ascontiguousarray(data["feat"], np.float32)
    for name, length in (("feat", len(features)), ("gt", data["gt"].size), ("class", data["class"].size)):
        if length != count:
            raise InputError(f"{path}: {name} has {length} rows for {count} boxes")
    possible = (np.abs(boxes) < _LARGEST).all(axis=1)  # no number that is not finite is less than anything
    if not possible.all():
        row = int(possible.argmin())
        raise InputError(f"{path}: box {row} is {boxes[row].tolist()}, expected x1 y1 x2 y2 in pixels")
    corner = boxes[:, 2:].max(axis=0, initial=0)
    return RegionSet(
        image_id=image_id,
        image_size=(int(np.ceil(corner[1])) + 1, int(np.ceil(corner[0])) + 1),
        boxes=boxes,
        gt=data["gt"].ravel().astype(bool),
        label=data["class"].ravel().astype(np.int32),
        difficult=np.zeros(count, bool),
        overlap=overlap,
        features=features,
    )


def _write(
    folder: str | Path,
    *,
    dim: int,
    regions: Callable[[int], RegionSet],
    **description: Any,
) -> None:
    plan = plan_cache(folder, dim=dim, **description)
    pending = plan.pending()
    done = len(plan.image_ids) - sum(len(plan.images_of(shard)) for shard in pending)
    with progress_bar(len(plan.image_ids), "writing", "image", initial=done) as bar:
        for shard in pending:
            images = plan.images_of(shard)
            plan.write_shard(shard, [_with_dim(regions(index), dim) for index in images])
            bar.update(len(images))
    plan.move_to(folder)


def _with_dim(regions: RegionSet, dim: int) -> RegionSet:
    """Give an image without rows, whose features may have lost their length, the cache's."""
    if not len(regions):
        regions.features = np.zeros((0, dim), np.float32)
    return regions
