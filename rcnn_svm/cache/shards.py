"""One shard of a feature cache: some tens of images in one HDF5 file, written whole, read a few rows at a time.

Everything in it is checked before it is used. The features have a sum for every row, held against the row whenever it
is read. All other bytes have a digest at the end of the file, held against them before HDF5 sees the file. Shards of
earlier versions have neither: their arrays have a digest, which takes a pass over the whole file.
"""

from __future__ import annotations

import functools
import hashlib
import io
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, BinaryIO, Generic, TypeVar

import h5py
import numpy as np

from rcnn_svm.artefacts.files import atomic_stream, describe, open_h5, read_settings, reading, require_file
from rcnn_svm.cache.regions import RegionSet
from rcnn_svm.cache.rows import OpenFile, StoredRows, damaged, row_sums, stored_rows
from rcnn_svm.errors import InputError
from rcnn_svm.hdf5 import open_hdf5

KIND = "feature shard"
SCHEMA = 1
# Earlier versions map the arrays, which start on cache lines for BLAS.
ALIGNMENT = 64
ROW_SUMS = "row_sums"
# The last bytes of a file: where its features begin and end, and the digest of all other bytes before these words.
SEAL = "\nSHA-256 of this feature shard but bytes %020d to %020d: %64s\n"
_SEAL = re.compile(SEAL.replace("%020d", r"(\d{20})").replace("%64s", "([0-9a-f]{64})").encode())
_SEAL_BYTES = len(SEAL % (0, 0, ""))
_CHUNK = 1 << 20

# What the rows of a shard are in: arrays in memory, or a file.
Rows = TypeVar("Rows", bound=np.ndarray | StoredRows)


@dataclass
class ShardArrays(Generic[Rows]):
    """The flat arrays of consecutive images; rows `image_start[i]:image_start[i + 1]` are image i's.

    Those of a file are `StoredRows`, but for `image_start` and `image_size`. Where all others are in memory, the
    features may still be in a file.

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

    features: np.ndarray | StoredRows
    boxes: Rows
    gt: Rows
    label: Rows
    difficult: Rows
    overlap: Rows
    image_start: np.ndarray
    image_size: np.ndarray

    @staticmethod
    def from_regions(regions: Sequence[RegionSet], dtype: str) -> ShardArrays[np.ndarray]:
        """Return the flat arrays of `regions`, with features stored as `dtype`.

        Raises:
            InputError: a feature is too large for `dtype`.
        """
        counts = [len(region) for region in regions]
        joined = {
            name: np.concatenate([getattr(region, name) for region in regions])
            for name in ("boxes", "gt", "label", "difficult", "overlap")
        }
        return ShardArrays(
            features=np.concatenate([_stored_as(dtype, region) for region in regions]),
            image_start=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            image_size=np.array([region.image_size for region in regions], np.int32).reshape(-1, 2),
            **joined,
        )

    def of_images(self, images: range) -> ShardArrays[np.ndarray]:
        """Return the arrays of consecutive images, all in memory but the features, which are as they are here.

        Args:
            images: counted from the first image of the shard.
        """
        start = self.image_start[images.start : images.stop + 1]
        rows = slice(int(start[0]), int(start[-1]))
        return ShardArrays(
            features=self.features[rows],
            boxes=stored_rows(self.boxes[rows]),
            gt=stored_rows(self.gt[rows]),
            label=stored_rows(self.label[rows]),
            difficult=stored_rows(self.difficult[rows]),
            overlap=stored_rows(self.overlap[rows]),
            image_start=start - start[0],
            image_size=self.image_size[images.start : images.stop],
        )

    def checksum(self) -> str:
        """Return a digest of every array, 32 hex digits; features in a file are read for it."""
        digest = hashlib.blake2b(digest_size=16)
        for name, array in self.items():
            digest.update(name.encode())
            for part in array.parts() if isinstance(array, StoredRows) else [array]:
                digest.update(np.ascontiguousarray(part).data)
        return digest.hexdigest()

    def items(self) -> Iterator[tuple[str, np.ndarray | StoredRows]]:
        """Yield every array with its name, in a fixed order."""
        for field in fields(self):
            yield field.name, getattr(self, field.name)


def _stored_as(dtype: str, region: RegionSet) -> np.ndarray:
    with np.errstate(over="ignore"):
        stored = region.computed_features.astype(dtype, copy=False)
    # Features that were not finite before are for those who compute and read them to judge.
    if np.isinf(stored).any() and not np.isinf(region.computed_features).any():
        largest = np.nanmax(np.abs(region.computed_features))
        raise InputError(
            f"image {region.image_id} has features of up to {largest:g}, {dtype} ends at "
            f"{np.finfo(dtype).max:g}; store them as float32"
        )
    return stored


class MixedCacheError(InputError):
    """A shard is in a cache that it was not made for."""


def write_shard(
    path: Path,
    arrays: ShardArrays[np.ndarray],
    identity: dict[str, Any],
    sources: Sequence[str],
    image_digests: Sequence[str] = (),
) -> None:
    """Write a shard atomically.

    Args:
        path: file of the shard.
        arrays: contents of the shard.
        identity: says which shard of which cache this is, JSON-able.
        sources: per image, a digest of what its rows were made from.
        image_digests: per image, a digest of its file, where there is one.

    Raises:
        InputError: the disk is full; the shards written before are intact.
    """
    with atomic_stream(path) as stream:
        with open_hdf5(stream, "w", alignment_threshold=1, alignment_interval=ALIGNMENT) as handle:
            describe(handle, KIND, SCHEMA, identity)
            for name, array in arrays.items():
                handle.create_dataset(name, data=array)
            handle.create_dataset(ROW_SUMS, data=row_sums(stored_rows(arrays.features)))
            handle.create_dataset("sources", data=list(sources), dtype=h5py.string_dtype())
            if image_digests:
                handle.create_dataset("image_digests", data=list(image_digests), dtype=h5py.string_dtype())
            handle.attrs["checksum"] = arrays.checksum()
            features = _Place.of(handle["features"])
        start, stop = features.offset, features.stop
        end = stream.seek(0, io.SEEK_END)
        stream.write((SEAL % (start, stop, _digest_around(stream, start, stop, end))).encode())


def _digest_around(stream: BinaryIO, start: int, stop: int, end: int) -> str:
    """Return the SHA-256 of the first `end` bytes of a file but those from `start` to `stop`; ends at the end."""
    digest = hashlib.sha256()
    for first, last in ((0, start), (stop, end)):
        stream.seek(first)
        while first < last and (chunk := stream.read(min(last - first, _CHUNK))):
            digest.update(chunk)
            first += len(chunk)
    stream.seek(end)
    return digest.hexdigest()


def _check_seal(path: Path) -> tuple[int, int] | None:
    """Return where a shard's features begin and end, by its last bytes; None where they say nothing.

    Raises:
        InputError: the other bytes are not those that were written.
    """
    with open(path, "rb") as stream:
        end = stream.seek(0, io.SEEK_END) - _SEAL_BYTES
        stream.seek(max(end, 0))
        seal = _SEAL.fullmatch(stream.read(_SEAL_BYTES))
        if seal is None:
            return None
        start, stop = int(seal[1]), int(seal[2])
        if not start <= stop <= end or _digest_around(stream, start, stop, end).encode() != seal[3]:
            raise damaged(path, "it does not match its checksum")
        return start, stop


def _nothing() -> None:
    """Check nothing: all is checked otherwise."""


@dataclass(frozen=True)
class Shard:
    """The arrays of a shard, in memory or in its file.

    Attributes:
        arrays: the arrays.
        checksum: digest of the arrays when they were written; None for arrays that never were.
        sources: per image, a digest of what its rows were made from.
        image_digests: per image, a digest of its file; empty where that is not known.
        transform: computes the features of some rows, (n, D) float32, from those that are stored, (n, S) float32 or
            float16, each row for itself; None where features are used as they are stored.
        version: changes when somebody writes to the file.
        check: to be called before the arrays are used; does what no reading of rows does.
    """

    arrays: ShardArrays[np.ndarray] | ShardArrays[StoredRows]
    checksum: str | None = None
    sources: tuple[str, ...] = ()
    image_digests: tuple[str, ...] = ()
    transform: Callable[[np.ndarray], np.ndarray] | None = None
    version: tuple[int, ...] = ()
    check: Callable[[], None] = _nothing

    def of_image(self, image: int) -> Shard:
        """Return one image, counted from the first of the shard."""
        arrays = self.arrays.of_images(range(image, image + 1))
        return Shard(arrays, transform=self.transform, check=self.check)

    def derived(self, transform: Callable[[np.ndarray], np.ndarray]) -> Shard:
        """Return the same regions with features that are computed from these ones."""
        first = self.transform
        both = transform if first is None else lambda stored: transform(first(stored))
        return Shard(self.arrays, transform=both, check=self.check)

    def digest(self) -> str:
        """Return the recorded checksum, or else the one of the arrays with their features as they are used."""
        if self.checksum:
            return self.checksum
        if self.transform is None:
            return self.arrays.checksum()
        return replace(self.arrays, features=self.transform(stored_rows(self.arrays.features))).checksum()


def read_shard(path: Path, identity: dict[str, Any]) -> Shard:
    """Open a shard.

    Args:
        path: file of the shard.
        identity: says which shard of which cache it must be.

    Raises:
        MixedCacheError: the file is another shard, or one of a cache made with other settings.
        InputError: the file is missing or damaged.
    """
    require_file(path)
    with reading(path):
        file = OpenFile(path, os.open(path, os.O_RDONLY))
        version = file.version
        layout = _read_layout(path, version)
        if layout.owner != identity:
            raise MixedCacheError(
                f"{path} is {_describe(layout.owner)}, its folder and name say {_describe(identity)}; caches of "
                "different backbones, settings or image sets cannot be mixed, so move it back where it belongs"
            )
        check = _nothing if layout.row_sums is not None else functools.partial(_check_arrays, path, version)
        return Shard(
            layout.arrays(file), layout.checksum, layout.sources, layout.image_digests, version=version, check=check
        )


@functools.lru_cache(maxsize=10_000)
def _check_arrays(path: Path, version: tuple[int, ...]) -> None:
    """Check the arrays of a shard of an earlier version, once for every version of the file.

    Raises:
        InputError: they are not those that were written.
    """
    layout = _read_layout(path, version)
    if layout.arrays(OpenFile(path, os.open(path, os.O_RDONLY))).checksum() != layout.checksum:
        raise damaged(path, "it does not match its checksum")


@dataclass(frozen=True)
class _Place:
    """The place of an array in a file; `offset` is 0 for an empty one, which has no storage."""

    offset: int
    dtype: np.dtype
    shape: tuple[int, ...]

    @property
    def stop(self) -> int:
        """Where the array ends."""
        return self.offset + self.dtype.itemsize * int(np.prod(self.shape))

    def rows(self, file: OpenFile, sums: np.ndarray | None = None) -> StoredRows:
        """Return the array's rows in an open file; `sums` as there."""
        return StoredRows(file, self.offset, self.dtype, self.shape, sums)

    @classmethod
    def of(cls, dataset: h5py.Dataset) -> _Place:
        """Return the place of a dataset that is stored in one piece."""
        offset = dataset.id.get_offset()
        if offset is None and dataset.size:
            raise InputError(
                f"{dataset.file.filename} does not hold its {dataset.name[1:]} in one piece, as it was written (was it "
                "compressed?); delete it and run the stage that writes it again"
            )
        return cls(offset or 0, dataset.dtype, dataset.shape)


@dataclass(frozen=True)
class _Layout:
    """All that HDF5 is needed for to read a shard, and nothing whose size goes with the number of regions.

    `owner` is its identity, `row_sums` the place of (N,) uint64, None in a shard of an earlier version; the rest is as
    in `Shard`.
    """

    owner: dict[str, Any]
    checksum: str
    sources: tuple[str, ...]
    image_digests: tuple[str, ...]
    places: dict[str, _Place]
    row_sums: _Place | None

    def arrays(self, file: OpenFile) -> ShardArrays[StoredRows]:
        """Return the arrays in an open file."""

        def rows(name: str, sums: np.ndarray | None = None) -> StoredRows:
            return self.places[name].rows(file, sums)

        return ShardArrays(
            features=rows("features", None if self.row_sums is None else self.row_sums.rows(file).read()),
            boxes=rows("boxes"),
            gt=rows("gt"),
            label=rows("label"),
            difficult=rows("difficult"),
            overlap=rows("overlap"),
            image_start=rows("image_start").read(),
            image_size=rows("image_size").read(),
        )


@functools.lru_cache(maxsize=10_000)
def _read_layout(path: Path, version: tuple[int, ...]) -> _Layout:
    """Read a shard's layout, once for every version of the file: a training goes over all shards several times."""
    sealed = _check_seal(path)
    with open_h5(path, KIND, SCHEMA, checksum=sealed is None) as handle:
        places = {field.name: _Place.of(handle[field.name]) for field in fields(ShardArrays)}
        sums = None
        if ROW_SUMS in handle:
            features = places["features"]
            sums = _Place.of(handle[ROW_SUMS])
            if sealed != (features.offset, features.stop) or sums.shape != features.shape[:1]:
                raise damaged(path, "its last bytes are not its checksum; it is truncated or damaged on disk")
        elif sealed is not None:
            raise damaged(path, "it has no checksums of its rows")
        sources = tuple(handle["sources"].asstr()[()])
        digests = tuple(handle["image_digests"].asstr()[()]) if "image_digests" in handle else ()
        return _Layout(read_settings(handle), str(handle.attrs["checksum"]), sources, digests, places, sums)


def _describe(identity: dict[str, Any]) -> str:
    return f"shard {identity.get('shard')} of the cache with fingerprint {identity.get('cache')}"
