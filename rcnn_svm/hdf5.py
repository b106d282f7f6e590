"""The one place that opens HDF5 files."""

from __future__ import annotations

import os
from typing import Any, BinaryIO

import h5py


def open_hdf5(path: str | os.PathLike | BinaryIO, mode: str = "r", **options: Any) -> h5py.File:
    """Open an HDF5 file, without the locks that many network file systems do not have.

    Locks protect nothing here: a file is written under a temporary name and read once it is complete.

    Args:
        path: the file, or a stream to write to.
        mode: `r` to read, `w` to write a new file.
        options: more of `h5py.File`.
    """
    return h5py.File(path, mode, locking=False, **options)
