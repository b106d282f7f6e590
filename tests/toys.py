"""Toy feature caches and pictures, which several rooms' tests share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from rcnn_svm.artefacts.files import describe, read_settings
from rcnn_svm.boxes import box_deltas, class_overlaps, iou_matrix
from rcnn_svm.cache import FeatureCache, RegionSet
from rcnn_svm.cache.blocks import Block
from rcnn_svm.cache.importers import write_cache
from rcnn_svm.cache.rows import as_float32
from rcnn_svm.cache.shards import ALIGNMENT, KIND, SCHEMA, ShardArrays, write_shard
from rcnn_svm.hdf5 import open_hdf5

CLASSES = ("cat", "cow", "dog")


def toy_cache(
    rows: Sequence[int],
    *,
    classes: Sequence[str] = CLASSES,
    objects: int = 2,
    dim: int = 6,
    seed: int = 0,
    **given: Any,
) -> FeatureCache:
    """Return images of some regions each, whose classes can be learnt but not easily.

    Args:
        rows: regions of every image.
        classes: K names.
        objects: the first regions of an image that are objects; the one in row r of image i is of class (i + r) % K.
        dim: D.
        seed: seeds overlaps and features.
        given: arguments of `FeatureCache.from_arrays`, instead of what is made here; `gt` and the drawn `overlap`
            follow from a given `label`, features that are drawn follow from a given `overlap`.
    """
    rng = np.random.default_rng(seed)
    start = np.cumsum([0, *rows])
    image = np.repeat(np.arange(len(rows)), rows)
    row = np.arange(start[-1]) - start[image]
    label = np.asarray(given.get("label", np.where(row < objects, 1 + (image + row) % len(classes), 0)))
    shape = len(label), len(classes)
    overlap = rng.random(shape) * (rng.random(shape) < 0.3)
    overlap[np.flatnonzero(label), label[label > 0] - 1] = 1
    overlap = np.asarray(given.get("overlap", overlap), np.float32)
    noise = 0.3 + 0.6 * rng.standard_normal((len(label), dim))
    made = {
        "features": np.maximum(0, 2 * overlap @ rng.random((len(classes), dim)) + noise),
        "boxes": np.tile([0, 0, 9, 9], (len(label), 1)),
        "gt": label > 0,
        "label": label,
        "overlap": overlap,
        "name": "toy",
    }
    return FeatureCache.from_arrays(**{**made, **given}, image_start=start, classes=classes)


def arrays_of(cache: FeatureCache) -> dict[str, np.ndarray]:
    """Return the arrays of all regions of a cache, read image by image."""
    names = ("features", "boxes", "gt", "label", "difficult", "overlap")
    return joined([vars(cache.regions(image)) for image in range(cache.num_images)], names)


def joined(images: Sequence[dict[str, Any]], names: Sequence[str]) -> dict[str, np.ndarray]:
    """Return the arrays of some names, those of all images one after the other."""
    return {name: np.concatenate([image[name] for image in images]) for name in names}


def stored(cache: FeatureCache, folder: Path, **options: Any) -> FeatureCache:
    """Write a cache to a folder, as `write_cache` does with its options, and open it."""
    write_cache(cache, folder, **options)
    return FeatureCache.open(folder)


def rewrite_shard(path: Path, *, earlier: bool = False, **changed: np.ndarray) -> None:
    """Write a shard anew with some arrays changed, so that its checksums fit.

    Args:
        path: the shard.
        earlier: write it as earlier versions did, without a checksum of every row and one at the end of the file.
        changed: arrays in place of those of these names.
    """
    with h5py.File(path, "r") as handle:
        names = ShardArrays.__dataclass_fields__
        arrays = ShardArrays(**{name: changed.get(name, handle[name][...]) for name in names})
        identity, sources = read_settings(handle), handle["sources"].asstr()[...].tolist()
    if not earlier:
        write_shard(path, arrays, identity, sources)
        return
    with open_hdf5(path, "w", alignment_threshold=1, alignment_interval=ALIGNMENT) as handle:
        describe(handle, KIND, SCHEMA, identity)
        for name, array in arrays.items():
            handle.create_dataset(name, data=array)
        handle.create_dataset("sources", data=sources, dtype=h5py.string_dtype())
        handle.attrs["checksum"] = arrays.checksum()


def flip(path: Path, at: int) -> None:
    """Flip a bit of a byte of a file."""
    with open(path, "r+b") as stream:
        stream.seek(at)
        byte = stream.read(1)[0]
        stream.seek(at)
        stream.write(bytes([byte ^ 16]))


def place_of(path: Path, name: str) -> int:
    """Return where an array begins in a shard."""
    with h5py.File(path, "r") as handle:
        return handle[name].id.get_offset()


class WatchedCache:
    """A feature cache that notes the reading of features, and fails at one.

    Args:
        cache: what is read.
        method: what fails: `scan` (features of a block of `blocks(max_bytes)`), `block`, `regions` or `gather`; nothing
            where None.
        after: so many calls of it are good.
        error: what the next one raises.

    Attributes:
        read: the first image of everything read, by method; 0 of what was gathered.
    """

    def __init__(self, cache: FeatureCache, method: str | None = None, after: int = 0, error: type = KeyboardInterrupt):
        self._cache, self._method, self._after, self._error = cache, method, after, error
        self.read: dict[str, list[int]] = {"scan": [], "block": [], "regions": [], "gather": []}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cache, name)

    def blocks(self, max_bytes: int | None = None) -> Iterator[Block]:
        for block in self._cache.blocks(max_bytes):
            yield block if max_bytes is None else replace(block, transform=partial(self._features, block))

    def block(self, image: int) -> Block:
        self._note("block", image)
        return self._cache.block(image)

    def regions(self, image: int) -> RegionSet:
        self._note("regions", image)
        return self._cache.regions(image)

    def gather(self, *args: Any) -> np.ndarray:
        self._note("gather", 0)
        return self._cache.gather(*args)

    def _features(self, block: Block, stored: np.ndarray) -> np.ndarray:
        self._note("scan", block.images.start)
        return as_float32(stored) if block.transform is None else block.transform(stored)

    def _note(self, method: str, image: int) -> None:
        if method == self._method and len(self.read[method]) == self._after:
            raise self._error
        self.read[method].append(image)


def few_objects(seed: int, num_images: int) -> FeatureCache:
    """A cache whose classes have few and more objects, and look like them by how far they overlap."""
    rng = np.random.default_rng(seed)
    prototypes = np.random.default_rng(0).random((3, 24)) * 2
    images = []
    for _ in range(num_images):
        classes = np.repeat(np.arange(3), rng.poisson((0.4, 0.7, 1.5)))
        own, other = _some_boxes(rng, len(classes), 150, 30, 60), _some_boxes(rng, 80, 150, 20, 60)
        near = rng.random(80) < 0.3
        if len(own):
            other[near] = own[rng.integers(0, len(own), near.sum())] + rng.integers(-12, 13, (near.sum(), 4))
        image = _image(own, classes, other)
        features = image["overlap"] ** 2 @ prototypes + rng.standard_normal((len(image["boxes"]), 24)) + 0.5
        images.append({**image, "features": np.maximum(0, features)})
    return _cache_of(images, classes=("rare", "middling", "common"), name="few")


def telling(seed: int, num_images: int, name: str = "telling") -> FeatureCache:
    """A cache whose features tell the class of a box and where its object is; the last image has no object."""
    rng = np.random.default_rng(seed)
    images = []
    for number in range(num_images):
        count = 0 if number == num_images - 1 else rng.integers(1, 3)
        classes = rng.integers(0, 3, count)
        own = 20 + _some_boxes(rng, count, 80, 30, 60)
        other = _some_boxes(rng, 50, 140, 20, 50)
        if count:
            other[:25] = own[rng.integers(0, count, 25)] + rng.integers(-9, 10, (25, 4))
        image = _image(own, classes, other)
        boxes = image["boxes"]
        features = np.hstack([image["overlap"] ** 2 * 3, np.zeros((len(boxes), 4)), np.ones((len(boxes), 1))])
        if count:
            iou = iou_matrix(boxes, own)
            on_object = iou.max(axis=1) >= 0.4
            features[on_object, 3:7] = 3 * box_deltas(boxes, own[iou.argmax(axis=1)])[on_object]
        images.append({**image, "features": features + 0.1 * rng.standard_normal(features.shape)})
    return _cache_of(images, image_size=np.full((num_images, 2), 200), name=name)


def off_target(num_images: int = 10, classes: Sequence[int] = (0, 1, 2), dim: int = 8, **given: Any) -> FeatureCache:
    """A cache of an object per class, and proposals whose features tell in which direction they are off."""
    rng = np.random.default_rng(4)
    pattern = rng.normal(size=(4, dim))
    images = []
    for _ in range(num_images):
        own = 5 + _some_boxes(rng, len(classes), 35, 25, 45)
        shift = rng.integers(-4, 5, (len(classes), 12, 4))
        image = _image(own, np.array(classes), (own[:, None] + shift).reshape(-1, 4))
        off = np.concatenate([np.zeros((len(classes), 4)), shift.reshape(-1, 4)])
        images.append({**image, "features": off @ pattern + 0.3 * rng.normal(size=(len(off), dim))})
    of_images = {"image_ids": [f"{n:03d}" for n in range(num_images)], "image_size": [(90, 120)] * num_images}
    settings = {"backbone": {"name": "lite0", "layer": "penultimate"}}
    return _cache_of(images, settings=settings, **of_images, **given)


def _some_boxes(rng: np.random.Generator, count: int, corner: int, shortest: int, longest: int) -> np.ndarray:
    """Draw boxes, (count, 4) int, whose upper left corner is below `corner` and whose sides are within bounds."""
    corners = rng.integers(0, corner, (count, 2))
    return np.hstack([corners, corners + rng.integers(shortest, longest, (count, 2))])


def _image(objects: np.ndarray, classes: np.ndarray, proposals: np.ndarray) -> dict[str, np.ndarray]:
    """Return the regions of an image: its objects (G, 4) of `classes` (G,), then its proposals (P, 4)."""
    boxes = np.concatenate([objects, proposals]).astype(np.float32)
    return {
        "boxes": boxes,
        "label": np.concatenate([classes + 1, np.zeros(len(proposals), int)]),
        "overlap": class_overlaps(boxes, objects, classes, len(CLASSES)),
    }


def _cache_of(images: Sequence[dict[str, np.ndarray]], **given: Any) -> FeatureCache:
    """Return the cache of images that `_image` made."""
    arrays = joined(images, ("features", "boxes", "label", "overlap"))
    return toy_cache([len(image["boxes"]) for image in images], **{**arrays, **given})


def one_feature() -> FeatureCache:
    """Three images of one class whose regions have one feature, for mining with pencil and paper."""
    return toy_cache(
        [4, 3, 1],
        classes=["thing"],
        features=np.array([[4, 1, 0, 3, 2, 0.5, 3, 1.5]]).T,
        overlap=np.array([[1, 0.1, 0, 0.3, 0, 0, 0.5, 0]]).T,
        label=[1, 0, 0, 0, 0, 0, 0, 0],
        name="one feature",
    )


def make_scene(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Return overlapping rectangles of noisy colour, (H, W, 3) uint8."""
    rng = np.random.default_rng(seed)
    image = np.full((height, width, 3), 120.0)
    for _ in range(25):
        x, y = rng.integers(0, width), rng.integers(0, height)
        w, h = rng.integers(width // 12 + 1, width // 3 + 2), rng.integers(height // 12 + 1, height // 3 + 2)
        image[y : y + h, x : x + w] = rng.uniform(0, 255, 3)
    return np.clip(image + rng.normal(0, 6, image.shape), 0, 255).astype(np.uint8)
