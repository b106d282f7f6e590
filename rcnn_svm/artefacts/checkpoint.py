"""The progress of a training on disk, small because feature rows stay in the feature cache."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np

from rcnn_svm.artefacts.files import array_digest, create_h5, open_h5, read_settings
from rcnn_svm.artefacts.identity import first_difference
from rcnn_svm.errors import InputError

KIND = "training checkpoint"
SCHEMA = 1


class Checkpoint:
    """A file that holds arrays and the point they were taken at.

    Args:
        path: where it lies.
        identity: JSON-able; a checkpoint of another identity is refused.
    """

    def __init__(self, path: str | Path, identity: dict[str, Any]):
        self.path = Path(path)
        self.identity = identity

    def exists(self) -> bool:
        """Return whether there is a checkpoint to resume from."""
        return self.path.exists()

    def save(self, done: int, arrays: dict[str, np.ndarray]) -> None:
        """Replace the checkpoint, atomically."""
        with create_h5(self.path, KIND, SCHEMA, self.identity) as handle:
            handle.attrs["done"] = done
            handle.attrs["digest"] = _digest(arrays)
            for name, array in arrays.items():
                handle.create_dataset(name, data=array)

    def load(self) -> tuple[int, dict[str, np.ndarray]]:
        """Return the point reached and the arrays.

        Raises:
            InputError: the file is damaged or the checkpoint of another training.
        """
        arrays: dict[str, np.ndarray] = {}

        def collect(name: str, item: h5py.Group | h5py.Dataset) -> None:
            if isinstance(item, h5py.Dataset):
                arrays[name] = item[...]

        with open_h5(self.path, KIND, SCHEMA) as handle:
            identity = read_settings(handle)
            if identity != self.identity:
                raise InputError(
                    f"{self.path} is the checkpoint of another training ({first_difference(identity, self.identity)}); "
                    "delete it to start anew, or train with the settings it was begun with"
                )
            handle.visititems(collect)
            # Checkpoints of earlier versions have no digest.
            if handle.attrs.get("digest") not in (None, _digest(arrays)):
                raise InputError(f"{self.path} is damaged (its arrays are not those written); delete it to start anew")
            return int(handle.attrs["done"]), arrays


def _digest(arrays: dict[str, np.ndarray]) -> str:
    return array_digest(*(arrays[name] for name in sorted(arrays)))
