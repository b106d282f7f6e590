"""What a fine-tuning leaves on disk: the weights, and beside them what they are and how they came about."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rcnn_svm.artefacts.files import atomic_stream, file_digest, fingerprint, provenance, reading, write_text
from rcnn_svm.detection.softmax import SoftmaxClassifier
from rcnn_svm.errors import InputError
from rcnn_svm.features.backbones import load_backbone, read_state_dict
from rcnn_svm.finetune.network import FineTuneNetwork

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
    """

    identity: dict[str, Any]
    log: list[dict[str, float]]
    weights_sha256: str

    @property
    def classes(self) -> tuple[str, ...]:
        """K class names; output c + 1 of the network is class c."""
        return tuple(self.identity["classes"])

    @property
    def network(self) -> dict[str, Any]:
        """The settings of the network."""
        return self.identity["network"]


def save_finetuned(
    folder: str | Path, network: FineTuneNetwork, identity: dict[str, Any], history: np.ndarray
) -> FineTuningRecord:
    """Write the weights and then the record, which says that the weights are complete.

    Args:
        folder: folder of `weights.pt`, the state dict of the whole network, and of `finetune.json`.
        network: the fine-tuned network, on the CPU.
        identity: the result of `FineTuner.identity` before the training.
        history: (iterations, 3) float32, the result of `FineTuner.fit`.

    Raises:
        InputError: the folder cannot be written.
    """
    weights = Path(folder) / WEIGHTS
    with atomic_stream(weights) as stream:
        torch.save(network.module.state_dict(), stream)
    record = FineTuningRecord(identity, summarize_history(history), file_digest(weights))
    content = {
        "kind": KIND,
        "schema": SCHEMA,
        "fingerprint": fingerprint(identity),
        "identity": record.identity,
        "weights_sha256": record.weights_sha256,
        "log": record.log,
        "provenance": provenance(),
    }
    write_text(Path(folder) / RECORD, json.dumps(content, indent=1) + "\n")
    return record


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
        if (content["kind"], content["schema"]) != (KIND, SCHEMA):
            raise InputError(f"{path} holds {content['kind']} of schema {content['schema']}, expected {KIND} {SCHEMA}")
        record = FineTuningRecord(content["identity"], content["log"], content["weights_sha256"])
        if fingerprint(record.identity) != content["fingerprint"]:
            raise InputError(f"{path} was changed since it was written; delete the folder and fine-tune again")
        return record


def load_softmax(weights: str | os.PathLike) -> SoftmaxClassifier:
    """Return the last layer of a fine-tuned network, which scores the features that the layers before it make.

    Args:
        weights: file that `save_finetuned` wrote, with the record beside it.

    Raises:
        InputError: a file is missing, damaged, or does not belong to the other.
    """
    record = load_record(weights)
    network = record.network
    # Without a layer it is the input of the last one; its digest decides which caches may be scored.
    backbone = load_backbone(
        network["name"], weights=weights, crop_size=network["crop_size"], padding=network["padding"]
    )
    state = read_state_dict(Path(weights))
    weight, bias = (state[f"{network['last_layer']}.{part}"].numpy() for part in ("weight", "bias"))
    return SoftmaxClassifier(
        classes=record.classes,
        W=np.ascontiguousarray(weight.T),
        B=bias,
        feature_settings=backbone.feature_settings().to_json(),
        training=record.identity,
    )


def summarize_history(history: np.ndarray) -> list[dict[str, float]]:
    """Return the history of a training as at most 500 lines, each the mean of an interval.

    Args:
        history: (iterations, 3) float32, loss, accuracy and accuracy on objects.
    """
    interval = -(-len(history) // LOG_LINES)
    lines = []
    for first in range(0, len(history), interval):
        part = history[first : first + interval]
        loss, accuracy, on_objects = np.mean(part, axis=0, dtype=np.float64).round(6).tolist()
        lines.append(
            {
                "iteration": first + len(part),
                "loss": loss,
                "accuracy": accuracy,
                "foreground_accuracy": on_objects,
            }
        )
    return lines
