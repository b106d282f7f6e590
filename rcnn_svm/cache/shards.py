"""One shard of a feature cache: some tens of images in one HDF5 file, written whole, read by mapping it."""

from __future__ import annotations

import functools
import hashlib
import math
import mmap
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from rcnn_svm.artefacts.files import create_h5, open_h5, read_settings, reading, require_file
from rcnn_svm.cache.regions import RegionSet
from rcnn_svm.compiled import compiled
from rcnn_svm.errors import InputError

KIND = "feature shard"
SCHEMA = 1
# Mapped arrays start on cache lines, so that BLAS reads them without a copy.
ALIGNMENT = 64


@dataclass
class ShardArrays:
    """The flat arrays of consecutive images; rows `image_start[i]:image_start[i + 1]` are image i's.

    Attributes:
        features: (N, D) float32 or float16.
        boxes: (N, 4) float32, x1 y1 x2 y2, 0-based inclusive pixels.
        gt: (N,) bool.
        label: (N,) int32.
        difficult: (N,) bool.
        overlap: (N, K) float32.
        image_start: (I + 1,) int64.
        image_size: (I, 2) int32, height and width in pixels.
    """

    features: np.ndarray
    boxes: np.ndarray
    gt: np.ndarray
    label: np.ndarray
    difficult: np.ndarray
    overlap: np.ndarray
    image_start: np.ndarray
    image_size: np.ndarray

    @classmethod
    def from_regions(cls, regions: Sequence[RegionSet], dtype: str) -> ShardArrays:
        """Return the flat arrays of `regions`, with features stored as `dtype`.

        Raises:
            InputError: a feature is too large for `dtype`.
        """
        counts = [len(region) for region in regions]
        joined = {
            name: np.concatenate([getattr(region, name) for region in regions])
            for name in ("boxes", "gt", "label", "difficult", "overlap")
        }
        return cls(
            features=np.concatenate([_stored_as(dtype, region) for region in regions]),
            image_start=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            image_size=np.array([region.image_size for region in regions], np.int32).reshape(-1, 2),
            **joined,
        )

    def of_images(self, images: range) -> ShardArrays:
        """Return the arrays of consecutive images, views of these; `images` count from the first image of the shard."""
        start = self.image_start[images.start : images.stop + 1]
        of_images = {"image_start": start - start[0], "image_size": self.image_size[images.start : images.stop]}
        return ShardArrays(**{name: of_images.get(name, array[start[0] : start[-1]]) for name, array in self.items()})

    def checksum(self) -> str:
        """Return a digest of every array, 32 hex digits."""
        digest = hashlib.blake2b(digest_size=16)
        for name, array in self.items():
            digest.update(name.encode())
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()

    def items(self) -> Iterator[tuple[str, np.ndarray]]:
        """Yield every array with its name, in a fixed order."""
        for field in fields(self):
            yield field.name, getattr(self, field.name)


def _stored_as(dtype: str, region: RegionSet) -> np.ndarray:
    with np.errstate(over="ignore"):
        stored = region.features.astype(dtype, copy=False)
    # Features that were not finite before are for those who compute and read them to judge.
    if np.isinf(stored).any() and not np.isinf(region.features).any():
        raise InputError(
            f"image {region.image_id} has features of up to {np.nanmax(np.abs(region.features)):g}, {dtype} ends at "
            f"{np.finfo(dtype).max:g}; store them as float32"
        )
    return stored


class MixedCacheError(InputError):
    """A shard is in a cache that it was not made for."""


def write_shard(path: Path, arrays: ShardArrays, identity: dict[str, Any], sources: Sequence[str]) -> None:
    """Write a shard atomically.

    Args:
        path: file of the shard.
        arrays: contents of the shard.
        identity: says which shard of which cache this is, JSON-able.
        sources: per image, a digest of what its rows were made from.

    Raises:
        InputError: the disk is full; the shards written before are intact.
    """
    with create_h5(path, KIND, SCHEMA, identity, alignment=ALIGNMENT, checksum=False) as handle:
        for name, array in arrays.items():
            handle.create_dataset(name, data=array)
        handle.create_dataset("sources", data=list(sources), dtype=h5py.string_dtype())
        handle.attrs["checksum"] = arrays.checksum()


@dataclass(frozen=True)
class Shard:
    """The arrays of a shard, in memory or mapped read-only from its file.

    Mapped arrays are read when they are used, and give their memory back when the last view of them goes.

    Attributes:
        arrays: the arrays.
        checksum: digest of the arrays when they were written; None for arrays that never were.
        sources: per image, a digest of what its rows were made from.
        transform: computes the features of some rows, (n, D) float32, from those that are stored, (n, S) float32 or
            float16, each row for itself; None where features are used as they are stored.
    """

    arrays: ShardArrays
    checksum: str | None = None
    sources: tuple[str, ...] = ()
    transform: Callable[[np.ndarray], np.ndarray] | None = None

    def derived(self, transform: Callable[[np.ndarray], np.ndarray]) -> Shard:
        """Return the same regions with features that are computed from these ones."""
        first = self.transform
        return Shard(self.arrays, transform=transform if first is None else lambda stored: transform(first(stored)))

    def digest(self) -> str:
        """Return the recorded checksum, or else the one of the arrays with their features as they are used."""
        if self.checksum:
            return self.checksum
        if self.transform is None:
            return self.arrays.checksum()
        return replace(self.arrays, features=self.transform(self.arrays.features)).checksum()


def read_shard(path: Path, identity: dict[str, Any]) -> Shard:
    """Map a shard.

    Args:
        path: file of the shard.
        identity: says which shard of which cache it must be.

    Raises:
        MixedCacheError: the file is another shard, or one of a cache made with other settings.
        InputError: the file is missing or damaged.
    """
    require_file(path)
    with reading(path), open(path, "rb") as stream:
        status = os.fstat(stream.fileno())
        layout = _read_layout(path, (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns))
        if layout.owner != identity:
            raise MixedCacheError(
                f"{path} is {_describe(layout.owner)}, its folder and name say {_describe(identity)}; caches of "
                "different backbones, settings or image sets cannot be mixed, so move it back where it belongs"
            )
        mapping = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        mapped = np.frombuffer(mapping, np.uint8)
        arrays = ShardArrays(**{name: place.view(mapped) for name, place in layout.places.items()})
    return Shard(arrays, layout.checksum, layout.sources)


@dataclass(frozen=True)
class _Place:
    """The place of an array in a file; `offset` is None for an empty one, which has no storage."""

    offset: int | None
    dtype: np.dtype
    shape: tuple[int, ...]

    def view(self, mapped: np.ndarray) -> np.ndarray:
        """Return the array as a view of the file's bytes."""
        if self.offset is None:
            return np.empty(self.shape, self.dtype)
        count = math.prod(self.shape) * self.dtype.itemsize
        return mapped[self.offset : self.offset + count].view(self.dtype).reshape(self.shape)


@dataclass(frozen=True)
class _Layout:
    """All that HDF5 is needed for to map a shard; `owner` is its identity, the rest as in `Shard`."""

    owner: dict[str, Any]
    checksum: str
    sources: tuple[str, ...]
    places: dict[str, _Place]


@functools.lru_cache(maxsize=10_000)
def _read_layout(path: Path, version: tuple[int, ...]) -> _Layout:
    """Read a shard's layout, once for every version of the file: a training goes over all shards several times."""
    with open_h5(path, KIND, SCHEMA) as handle:
        places = {}
        for field in fields(ShardArrays):
            dataset = handle[field.name]
            places[field.name] = _Place(dataset.id.get_offset(), dataset.dtype, dataset.shape)
            if places[field.name].offset is None and dataset.size:
                raise InputError(
                    f"{path} does not hold its {field.name} in one piece, as it was written (was it compressed?); "
                    "delete it and run the stage that writes it again"
                )
        sources = tuple(handle["sources"].asstr()[()])
        return _Layout(read_settings(handle), str(handle.attrs["checksum"]), sources, places)


def _describe(identity: dict[str, Any]) -> str:
    return f"shard {identity.get('shard')} of the cache with fingerprint {identity.get('cache')}"


def as_float32(features: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """Return stored features in single precision; without a copy where they are stored so.

    Args:
        features: (N, D) float32 or float16.
        out: (M, D) float32, contiguous, M >= N; where half precision is widened to, instead of a new array.
            A buffer of some MB that is used again and again saves the page faults of new memory.

    Returns:
        (N, D) float32: `features` itself, the first rows of `out`, or a new array.

    numpy's `astype` gives the same numbers, some thirty times slower.
    """
    if features.dtype == np.float32:
        return features
    widened = np.empty(features.shape, np.float32) if out is None else out[: len(features)]
    bits = np.ascontiguousarray(features).view(np.uint16).reshape(-1)
    _widen(bits, widened.reshape(-1).view(np.uint32))
    return widened


@compiled()
def _widen(bits, out):
    # Fraction and exponent move into place, a product corrects the bias of the exponent, subnormals included.
    # Integers because the processor's own instruction is not everywhere, and its lack ends the process.
    for i in range(len(bits)):
        half = np.uint32(bits[i])
        shifted = np.uint32((half & np.uint32(0x7FFF)) << np.uint32(13))
        single = np.float32(shifted.view(np.float32) * np.float32(2.0**112)).view(np.uint32)
        if shifted >= np.uint32(0x0F800000):  # infinite or not a number
            single = np.uint32(single | np.uint32(0x7F800000))
        out[i] = np.uint32(single | np.uint32((half & np.uint32(0x8000)) << np.uint32(16)))
