"""What a fine-tuning leaves on disk beside the weights: what they are and how they came about."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rcnn_svm.artefacts.files import file_digest, fingerprint, reading, write_text
from rcnn_svm.artefacts.schema import check_json_schema
from rcnn_svm.errors import InputError
from rcnn_svm.parameters import plain

KIND = "fine-tuned network"
SCHEMA = 1
RECORD = "finetune.json"
WEIGHTS = "weights.pt"
LOG_LINES = 500


@dataclass(frozen=True)
class FineTuningRecord:
    """What the weights in a file are.

    Attributes:
        identity: settings and data that they came from, as `FineTuner.identity` states them.
        log: per interval of the training, `iteration` (the last of it, from 1), and the means of `loss`, `accuracy`
            and `foreground_accuracy`.
        weights_sha256: digest of the weights file.
        provenance: versions, command line and time of the process that wrote it.
    """

    identity: dict[str, Any]
    log: list[dict[str, float]]
    weights_sha256: str
    provenance: dict[str, str]

    @property
    def classes(self) -> tuple[str, ...]:
        """K class names; output c + 1 of the network is class c."""
        return tuple(self.identity["classes"])

    @property
    def network(self) -> dict[str, Any]:
        """The settings of the network."""
        return self.identity["network"]

    def save(self, path: Path) -> None:
        """Write it as JSON, atomically."""
        content = {
            "kind": KIND,
            "schema": SCHEMA,
            "fingerprint": fingerprint(self.identity),
            "identity": self.identity,
            "weights_sha256": self.weights_sha256,
            "log": self.log,
            "provenance": self.provenance,
        }
        write_text(path, json.dumps(content, indent=1) + "\n")


def load_record(weights: str | os.PathLike) -> FineTuningRecord:
    """Read the record beside a weights file, as `save_finetuned` wrote them, and check that it is of these weights.

    Raises:
        InputError: a file is missing, damaged, or does not belong to the other.
    """
    path = Path(weights).with_name(RECORD)
    if not path.is_file():
        raise InputError(f"{path} does not exist; the finetune stage writes it beside the weights")
    record = _read_record(path)
    if not Path(weights).is_file():
        raise InputError(f"{weights} does not exist; the finetune stage writes it")
    if file_digest(weights) != record.weights_sha256:
        raise InputError(
            f"{weights} is not the file that {RECORD} beside it describes; restore it, or delete the folder and "
            "fine-tune again"
        )
    return record


def _read_record(path: Path) -> FineTuningRecord:
    with reading(path):
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["kind"] != KIND:
            raise InputError(f"{path} holds {plain(content['kind'])}, expected {KIND}; correct the path")
        check_json_schema(path, content, KIND, SCHEMA, "fine-tune again")
        record = FineTuningRecord(
            content["identity"], content["log"], content["weights_sha256"], dict(content["provenance"])
        )
        if fingerprint(record.identity) != content["fingerprint"]:
            raise InputError(f"{path} was changed since it was written; delete the folder and fine-tune again")
        return record


def summarize_history(history: np.ndarray) -> list[dict[str, float]]:
    """Return the history of a training as at most 500 lines, each the mean of an interval.

    Args:
        history: (iterations, 3) float32, loss, accuracy and accuracy on objects.
    """
    interval = -(-len(history) // LOG_LINES)
    lines = []
    for first in range(0, len(history), interval):
        part = history[first : first + interval]
        loss, accuracy, on_objects = part.mean(axis=0, dtype=np.float64).round(6).tolist()
        lines.append(
            {
                "iteration": first + len(part),
                "loss": loss,
                "accuracy": accuracy,
                "foreground_accuracy": on_objects,
            }
        )
    return lines
