"""The progress of a training on disk, small because feature rows stay in the feature cache."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import h5py
import numpy as np

from rcnn_svm.artefacts.files import array_digest, create_h5, open_h5, read_settings
from rcnn_svm.artefacts.identity import first_difference, only_data_differs
from rcnn_svm.errors import InputError

T = TypeVar("T")
KIND = "training checkpoint"
SCHEMA = 1


class Checkpoint:
    """A file that holds arrays and the point they were taken at.

    Args:
        path: the file.
        identity: settings and data of the training, JSON-able; a checkpoint of another identity is refused.

    Attributes:
        on_save: function of the class that every save calls last, with the checkpoint and the point it was taken
            at. A test interrupts a training there.
    """

    on_save: ClassVar[Callable[[Checkpoint, int], None] | None] = None

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
            for name, array in arrays.items():
                handle.create_dataset(name, data=array)
        if Checkpoint.on_save is not None:
            Checkpoint.on_save(self, done)

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
            # Where the file has no checksum, as those of earlier versions.
            if handle.attrs.get("digest") not in (None, _digest(arrays)):
                raise InputError(f"{self.path} is damaged (its arrays are not those written); delete it to start anew")
            done = int(handle.attrs["done"])
            if done < 0:
                raise InputError(f"{self.path} is damaged (it was taken at step {done}); delete it to start anew")
            return done, arrays

    def resume(self, take_over: Callable[[int, dict[str, np.ndarray]], T]) -> T:
        """Hand the point reached and the arrays to a training and return what it makes of them.

        Raises:
            InputError: as `load`, or the arrays are not those that the training needs.
        """
        done, arrays = self.load()
        try:
            return take_over(done, arrays)
        except (LookupError, ValueError, TypeError, AttributeError, ArithmeticError) as error:
            raise InputError(
                f"{self.path} is damaged ({type(error).__name__} while going on from it); delete it to start anew"
            ) from error


def checkpoint_beside(
    out: Path, identity: dict[str, Any], *, overwrite: bool = False, update: bool = False, derived: Sequence[str] = ()
) -> Path:
    """Return the file for the progress of the training that writes `out`.

    Args:
        out: what the training writes.
        identity: settings and data of the training, JSON-able.
        overwrite: `out` is to be replaced: remove the checkpoint of another training, which would be refused.
        update: remove the checkpoint of a training that differs in images or labels alone.
        derived: names in `identity` of what follows from images and labels, besides those of `without_data`.
    """
    path = out.with_name(f"{out.name}.checkpoint")
    if overwrite:
        remove_other(path, identity)
    elif update and path.exists():
        with contextlib.suppress(InputError), open_h5(path, KIND, SCHEMA) as handle:
            if only_data_differs(read_settings(handle), identity, derived):
                path.unlink()
                print(f"begun anew: images or labels changed since {path} was written", flush=True)
    return path


def remove_other(path: Path, identity: dict[str, Any]) -> None:
    """Remove a checkpoint that cannot be resumed from, as it is damaged or that of a training with another identity."""
    if path.exists():
        try:
            Checkpoint(path, identity).load()
        except InputError:
            path.unlink()


def _digest(arrays: dict[str, np.ndarray]) -> str:
    return array_digest(*(arrays[name] for name in sorted(arrays)))
