"""Numeric arrays from MATLAB files of either format."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
import scipy.io

from rcnn_svm.errors import InputError
from rcnn_svm.guarded import guarded
from rcnn_svm.hdf5 import check_dataset, open_hdf5


def read_mat_arrays(path: str | Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Return some numeric or logical matrices of a .mat file, in MATLAB's shapes, read in a child process (`guarded`).

    Args:
        path: a version 5 to 7 file, or a version 7.3 file, which is HDF5 with the axes reversed.
        names: variables to read.

    Raises:
        InputError: the file is missing, damaged, or lacks a variable, or is refused by `open_hdf5`.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path} does not exist")
    try:
        found = guarded(_read_arrays, path, list(names))
    except InputError:
        raise
    # Damaged bytes make the readers raise nearly anything.
    except Exception as error:
        raise InputError(f"{path} is not a readable MATLAB file ({type(error).__name__}: {error})") from error
    for name in names:
        if name not in found:
            raise InputError(f"{path} has no variable {name!r}, expected {', '.join(names)}")
    return {name: np.asarray(found[name]) for name in names}


def _read_arrays(path: Path, names: list[str]) -> dict[str, np.ndarray]:
    if h5py.is_hdf5(path):
        with open_hdf5(path, known_whole=True) as handle:
            return {name: hdf5_matrix(handle[name]) for name in names if name in handle}
    found = scipy.io.loadmat(path, variable_names=names)
    return {name: found[name] for name in names if name in found}


def hdf5_matrix(dataset: h5py.Dataset) -> np.ndarray:
    """Return a matrix of a version 7.3 file in MATLAB's shape; an empty one is stored as its shape with a mark."""
    check_dataset(dataset)
    if dataset.attrs.get("MATLAB_empty", 0):
        shape = dataset[()].astype(int)
        if shape.all():
            raise InputError(
                f"{dataset.file.filename}: {dataset.name} is marked as empty but of shape {shape.tolist()}"
            )
        return np.zeros(shape)
    return dataset[()].T
