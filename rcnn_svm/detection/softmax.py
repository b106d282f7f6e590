"""The last layer of a fine-tuned network on cached features: what the SVMs are compared with."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from rcnn_svm.errors import InputError


@dataclass(frozen=True)
class SoftmaxClassifier:
    """Scores regions as the network itself does, with the interface of `Detector`.

    Attributes:
        classes: K class names.
        W: (D, K + 1) float32, weights of the last layer, background first.
        B: (K + 1,) float32, biases.
        feature_settings: settings of a feature cache that holds the input of this layer.
        training: settings of the fine-tuning and what it was done on.
    """

    classes: tuple[str, ...]
    W: np.ndarray
    B: np.ndarray
    feature_settings: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)

    @property
    def dim(self) -> int:
        """D, the length of a feature vector."""
        return self.W.shape[0]

    @property
    def digest(self) -> str:
        """16 hex digits that change with the classes or any weight."""
        named = f"softmax {self.classes!r}".encode()
        return hashlib.sha256(named + self.W.tobytes() + self.B.tobytes()).hexdigest()[:16]

    def scores(self, features: np.ndarray) -> np.ndarray:
        """Return the log-odds of every region for every class, log(p / (1 - p)) of the softmax probability p.

        They rank as the probabilities do, and above 0 a class is likelier than all others and the background
        together. The probability itself has no room at its upper end: float32 rounds all beyond 1 - 6e-8 to 1, where
        the best detections of a class would tie, as their log-probabilities would once the exponentials are summed.

        Args:
            features: (N, D) float32, as cached.

        Returns:
            (N, K) float32.

        Raises:
            InputError: the features have another length.

        Source: R-CNN appendix B, where this takes the place of the SVMs.
        """
        if features.shape[1] != self.dim:
            raise InputError(
                f"the softmax classifier expects {self.dim}-d features, these have {features.shape[1]} dimensions; "
                "use the backbone and layer it was fine-tuned with"
            )
        return log_odds(features @ self.W + self.B)[:, 1:].astype(np.float32)

    @classmethod
    def load(cls, path: str | os.PathLike) -> SoftmaxClassifier:
        """Read the weights that the finetune stage wrote, with the record beside them.

        Raises:
            InputError: a file is missing, damaged, or does not belong to the other.
        """
        from rcnn_svm.features.backbones import load_backbone, read_state_dict
        from rcnn_svm.features.extract import feature_settings
        from rcnn_svm.finetune.record import RECORD, load_record

        record = load_record(Path(path).with_name(RECORD))
        record.check_weights(path)
        network = record.network
        # Without a layer it is the input of the last one; its digest decides which caches may be scored.
        backbone = load_backbone(
            network["name"], weights=path, crop_size=network["crop_size"], padding=network["padding"]
        )
        state = read_state_dict(Path(path))
        weight, bias = (state[f"{network['last_layer']}.{part}"].numpy() for part in ("weight", "bias"))
        return cls(
            classes=record.classes,
            W=np.ascontiguousarray(weight.T),
            B=bias,
            feature_settings=feature_settings(backbone),
            training=record.identity,
        )


def log_odds(scores: np.ndarray) -> np.ndarray:
    """Return log(p / (1 - p)) of softmax probabilities, exact at both ends.

    Args:
        scores: (N, C) float, before the softmax; C of at least 2.

    Returns:
        (N, C) float64.
    """
    scores = np.asarray(scores, np.float64)
    rows, best = np.arange(len(scores)), scores.argmax(axis=1)
    top = scores[rows, best]
    exponentials = np.exp(scores - top[:, None])
    # Without a column that is not the best, the sum is at least 1. Without the best, the difference would be noise.
    rest = top[:, None] + np.log(np.maximum(exponentials.sum(axis=1, keepdims=True) - exponentials, 1))
    others = scores.copy()
    others[rows, best] = -np.inf
    second = others.max(axis=1)
    rest[rows, best] = second + np.log(np.exp(others - second[:, None]).sum(axis=1))
    return scores - rest
