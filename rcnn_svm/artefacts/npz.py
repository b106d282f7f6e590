"""Arrays of numbers from numpy's .npz files, which anyone may have made."""

from __future__ import annotations

import os
import zipfile
from typing import BinaryIO

import numpy as np

from rcnn_svm.errors import InputError
from rcnn_svm.guarded import check_unpacked


def read_npz(source: str | os.PathLike | BinaryIO, name: str | os.PathLike) -> dict[str, np.ndarray]:
    """Return all arrays of a .npz file, by name; objects, which would have to be unpickled, are refused.

    Args:
        source: the file, or a stream of its bytes.
        name: what a message calls it.

    Raises:
        FileNotFoundError: there is no such file.
        InputError: it is no such file, damaged, or takes much more memory than the file.
    """
    try:
        with zipfile.ZipFile(source) as archive:
            packed = sum(entry.compress_size for entry in archive.infolist())
            unpacked = sum(entry.file_size for entry in archive.infolist())
        check_unpacked(name, unpacked, packed)
        if not isinstance(source, (str, os.PathLike)):
            source.seek(0)
        with np.load(source, allow_pickle=False) as arrays:
            return dict(arrays)
    except (InputError, FileNotFoundError):
        raise
    # Damaged bytes make zipfile raise nearly anything, and numpy's own words would advise to unpickle the file.
    except Exception:
        raise InputError(f"{name} is not a readable .npz file of arrays") from None
