"""What an artefact says of itself and its arrays, read without knowing its kind."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from rcnn_svm.artefacts.files import members, open_h5_of, read_settings


@dataclass(frozen=True)
class Header:
    """What an HDF5 artefact says of itself.

    Attributes:
        path: the file.
        kind: what it holds, such as `detector`.
        schema: version of the layout of its kind.
        settings: what made it, JSON-able.
        fingerprint: 16 hex digits of the settings.
        provenance: versions, command line and time of the process that wrote it.
        arrays: shape and type of every array by its name, those of parts included.
        parts: kinds of the models inside it by name.
        num_bytes: size of the file.
    """

    path: Path
    kind: str
    schema: int
    settings: dict[str, Any]
    fingerprint: str
    provenance: dict[str, Any]
    arrays: dict[str, tuple[tuple[int, ...], str]]
    parts: dict[str, str]
    num_bytes: int


def read_header(path: str | os.PathLike) -> Header:
    """Return what an HDF5 artefact says of itself.

    Raises:
        InputError: the file is missing, damaged or not ours.
    """
    path = Path(path)
    arrays: dict[str, tuple[tuple[int, ...], str]] = {}

    def collect(name: str, item: h5py.Group | h5py.Dataset) -> None:
        if isinstance(item, h5py.Dataset):
            text = h5py.check_string_dtype(item.dtype)
            arrays[name] = item.shape, "text" if text else str(item.dtype)

    with open_h5_of(path, ()) as handle:
        handle.visititems(collect)
        made = dict(json.loads(handle.attrs["provenance"]))
        if not {"rcnn_svm", "command", "time"} <= made.keys():
            raise ValueError("its provenance is not complete")
        return Header(
            path=path,
            kind=str(handle.attrs["kind"]),
            schema=int(handle.attrs["schema"]),
            settings=read_settings(handle),
            fingerprint=str(handle.attrs["fingerprint"]),
            provenance=made,
            arrays=arrays,
            parts={name: str(part.attrs["kind"]) for name, part in members(handle.get("parts", {})).items()},
            num_bytes=path.stat().st_size,
        )


def read_arrays(path: str | os.PathLike, group: str = "") -> dict[str, np.ndarray]:
    """Return the arrays of an HDF5 artefact by name, text as arrays of str objects.

    Args:
        path: the file.
        group: only those of this group, such as `history`, and by their names in it; all where empty.

    Raises:
        InputError: the file is missing, damaged or not ours.
    """
    arrays: dict[str, np.ndarray] = {}

    def collect(name: str, item: h5py.Group | h5py.Dataset) -> None:
        if isinstance(item, h5py.Dataset):
            arrays[name] = item.asstr()[...] if h5py.check_string_dtype(item.dtype) else item[...]

    with open_h5_of(path, ()) as handle:
        if not group or group in handle:
            (handle[group] if group else handle).visititems(collect)
    return arrays
