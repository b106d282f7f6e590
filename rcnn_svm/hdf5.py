"""The one place that opens HDF5 files: what is in one that is read is in it, and as large as it says."""

from __future__ import annotations

import functools
import math
import os
from pathlib import Path
from typing import Any, BinaryIO

import h5py

from rcnn_svm.errors import InputError
from rcnn_svm.guarded import check_unpacked, guarded

# No deflate stream grows more than 1032 times; what a dataset says beyond that has not been written.
_GROWTH = 1100
_SMALL = 1 << 24  # bytes that nobody lacks, whatever a file says
# What comes with HDF5 and h5py: a filter of another number is code that was installed for it.
_FILTERS = (
    *(h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32, h5py.h5z.FILTER_SZIP),
    *(h5py.h5z.FILTER_NBIT, h5py.h5z.FILTER_SCALEOFFSET, h5py.h5z.FILTER_LZF),
)
# Bytes of names and attributes, which are read whole, beside as many again as the arrays have.
_DESCRIPTIONS = 1 << 28


def open_hdf5(
    path: str | os.PathLike | BinaryIO, mode: str = "r", *, known_whole: bool = False, **options: Any
) -> h5py.File:
    """Open an HDF5 file, without the locks that many network file systems do not have.

    Locks protect nothing here: a file is written under a temporary name and read once it is complete.
    A file to read is checked before its data are: all that its links lead to; and if it is not known to be whole, a
    child process reads it first, once for every version of the file (`guarded`).

    Args:
        path: the file, or a stream to write to.
        mode: `r` to read, `w` to write a new file.
        known_whole: the bytes are those that were written, or this is the child process.
        options: more of `h5py.File`.

    Raises:
        InputError: data would be read from another file (external storage, an external link, a virtual dataset) or
            through a filter that somebody installed, or a dataset is larger than its bytes can be, or all take 50 times
            as much as the file and 256 MiB, or attributes take more than 256 MiB, or reading ends a process.
        OSError: it is no HDF5 file, or damaged.
    """
    if mode == "r" and not known_whole:
        if not isinstance(path, str | os.PathLike):
            raise TypeError("a child process cannot read a stream: give the file, or say that its bytes are whole")
        status = os.stat(path)
        _try(os.path.abspath(path), (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns))
    handle = h5py.File(path, mode, locking=False, **options)
    if mode == "r":
        try:
            check_stored_here(handle)
        except BaseException:
            handle.close()
            raise
    return handle


@functools.lru_cache(maxsize=10_000)
def _try(path: str, version: tuple[int, ...]) -> None:
    """Let the child process read a file, once for every version of it."""
    guarded(read_all, path)


def read_all(path: str | os.PathLike) -> None:
    """Read all of an HDF5 file but long arrays of numbers in one piece, of which HDF5 only has to know the place.

    Raises:
        Exception: whatever damaged bytes make h5py raise.
    """

    def read(name: str, item: h5py.Group | h5py.Dataset | h5py.Datatype) -> None:
        dict(item.attrs)
        if isinstance(item, h5py.Dataset):
            if item.chunks:
                for part in item.iter_chunks():
                    item[part]
            elif item.nbytes <= _SMALL or item.dtype.hasobject:
                item[()]

    with open_hdf5(path, known_whole=True) as handle:
        read("/", handle)
        handle.visititems(read)


def check_stored_here(handle: h5py.File) -> None:
    """Check an open file as `open_hdf5` does when it reads."""
    links, arrays, unpacked = [], 0, 0
    handle.id.links.visit(lambda name, link: links.append((name, link.type)), info=True)
    for name, kind in links:
        if kind == h5py.h5l.TYPE_HARD:
            found = h5py.h5o.open(handle.id, name)
            if isinstance(found, h5py.h5d.DatasetID):
                unpacked += check_dataset(h5py.Dataset(found))
                arrays += found.get_storage_size()
        elif kind != h5py.h5l.TYPE_SOFT:  # a soft link leads to another name in this file
            raise _elsewhere(handle, name.decode(errors="replace"), "an external link")
    size = Path(handle.filename).stat().st_size
    check_unpacked(handle.filename, unpacked, size)
    others = size - 2 * arrays
    if others > _DESCRIPTIONS:
        raise InputError(
            f"{handle.filename} is refused: {others + arrays:,} bytes of it are no arrays but attributes or gaps; "
            "save the arrays anew or fetch it again"
        )


def check_dataset(dataset: h5py.Dataset) -> int:
    """Check one dataset, also one that a reference leads to and no link, as `open_hdf5` does when it reads.

    Returns:
        The bytes that it takes in memory.
    """
    properties = dataset.id.get_create_plist()
    if properties.get_external_count():
        raise _elsewhere(dataset.file, dataset.name, "external storage")
    if properties.get_layout() == h5py.h5d.VIRTUAL:
        raise _elsewhere(dataset.file, dataset.name, "a virtual dataset")
    filters = [properties.get_filter(number)[0] for number in range(properties.get_nfilters())]
    if not set(filters) <= set(_FILTERS):
        raise InputError(
            f"{dataset.file.filename} is refused: {dataset.name} needs filter {max(filters)} of HDF5, which is code "
            "installed for it; save it with gzip or without compression"
        )
    item = dataset.id.get_type().get_size()
    values = max(dataset.id.get_space().get_simple_extent_npoints(), math.prod(dataset.chunks or (0,)))
    if item * values <= _SMALL:
        return item * values
    path = Path(dataset.file.filename)
    stored = min(dataset.id.get_storage_size(), path.stat().st_size)
    if item * values > _GROWTH * stored:
        raise InputError(
            f"{path} is refused: its array {dataset.name} would take {item * values:,} bytes, of which {stored:,} "
            "are in the file; it is damaged, so make or fetch it again"
        )
    return item * values


def _elsewhere(handle: h5py.File, name: str, how: str) -> InputError:
    return InputError(
        f"{handle.filename} is refused: {name} is {how}, so bytes of other files would be read; save the arrays "
        "themselves in the file"
    )
