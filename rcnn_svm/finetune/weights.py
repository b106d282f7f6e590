"""The weights of a fine-tuned network on disk, with the record of what they are beside them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rcnn_svm.artefacts.files import atomic_stream, file_digest, provenance
from rcnn_svm.detection.softmax import SoftmaxClassifier
from rcnn_svm.features.backbones import load_backbone, read_state_dict
from rcnn_svm.finetune.network import FineTuneNetwork
from rcnn_svm.finetune.record import RECORD, WEIGHTS, FineTuningRecord, load_record, summarize_history


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
    record = FineTuningRecord(identity, summarize_history(history), file_digest(weights), provenance())
    record.save(Path(folder) / RECORD)
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
