"""The last layer of a fine-tuned network on cached features: what the SVMs are compared with."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rcnn_svm.detection.interfaces import check_length


@dataclass(frozen=True)
class SoftmaxClassifier:
    """Scores regions as the network itself does; a `RegionScorer`, as `Detector` is.

    `finetune.weights.load_softmax` reads one from the files of the finetune stage.

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
        check_length(features, self.dim, "the softmax classifier")
        return log_odds(features @ self.W + self.B)[:, 1:].astype(np.float32)


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
