"""A training whose classes are shared out: a part is the checkpoint of some classes, and together they are the whole.

Classes do not see each other while they are mined, so that a part is mined as the whole would mine it. What joins the
parts is the checkpoint of a whole training at its end.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rcnn_svm.artefacts.checkpoint import Checkpoint
from rcnn_svm.artefacts.files import fingerprint, parts_folder, remove_parts
from rcnn_svm.artefacts.header import read_header
from rcnn_svm.errors import InputError
from rcnn_svm.mining.engine.history import TABLES, MiningHistory


class TrainingParts:
    """The parts of a training, files in a folder.

    Args:
        path: the file of the whole model, which the folder of parts is beside.
        identity: settings and data of the whole training, JSON-able.
        num_classes: K.
        num_done: images that a part counts when it is complete, of all passes.
    """

    def __init__(self, path: Path, identity: dict[str, Any], num_classes: int, num_done: int):
        self.folder = parts_folder(path, identity)
        self._identity, self._num_classes, self._num_done = identity, num_classes, num_done

    def checkpoint(self, classes: Sequence[int]) -> Checkpoint:
        """Return the file of the part with some classes, by their numbers."""
        numbers = list(classes)
        return Checkpoint(self.folder / f"{fingerprint(numbers)}.h5", {**self._identity, "classes mined": numbers})

    def missing(self) -> list[int]:
        """Return the numbers of the classes that no complete part has."""
        found = self._complete()
        return [number for number in range(self._num_classes) if number not in found]

    def join(self, whole: Checkpoint) -> None:
        """Write the checkpoint of the whole training at its end.

        Raises:
            InputError: a class is missing.
        """
        if missing := self.missing():
            raise InputError(f"{self.folder} lacks {len(missing)} of {self._num_classes} classes; run their parts")
        arrays: dict[str, np.ndarray] = {}
        histories: dict[int, MiningHistory] = {}
        for number, part in self._complete().items():
            own = f"class/{number}/"
            arrays |= {name: array for name, array in part.items() if name.startswith(own)}
            histories[number] = _history_of(part, number)
        history = MiningHistory()
        history.take_over([histories[number] for number in sorted(histories)])
        whole.save(self._num_done, {**history.tables(), **arrays})

    def remove(self) -> None:
        """Remove the parts, whose whole is there."""
        remove_parts(self.folder)

    def _complete(self) -> dict[int, dict[str, np.ndarray]]:
        """Return the arrays of a complete part for the number of every class that one has."""
        found: dict[int, dict[str, np.ndarray]] = {}
        for path in sorted(self.folder.glob("*.h5")):
            try:
                checkpoint = Checkpoint(path, read_header(path).settings)
                done, arrays = checkpoint.load()
            except InputError:  # damaged: its classes are mined again
                continue
            if done == self._num_done and checkpoint.identity | self._identity == checkpoint.identity:
                found |= dict.fromkeys(checkpoint.identity["classes mined"], arrays)
        return found


def _history_of(arrays: dict[str, np.ndarray], number: int) -> MiningHistory:
    """Return what happened to one class of a part."""
    history = MiningHistory()
    own = {name: arrays[name][:, 0] == number for name in ("added", "scan", "updates", "budget")}
    own["update_loss"] = own["update_gap"] = own["updates"]
    for name, rows in own.items():
        history.record(name, arrays[name][rows])
    evicted = arrays["evicted"]
    rows = own["updates"][evicted[:, 0]]
    place = np.cumsum(own["updates"]) - 1
    history.record("evicted", np.column_stack([place[evicted[rows, 0]], evicted[rows, 1:]]))
    for name in TABLES.keys() - own.keys() - {"evicted"}:
        history.record(name, arrays[name][:0])
    return history
