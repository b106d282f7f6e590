"""The last layers of Fast R-CNN on cached features: class scores and corrected boxes of regions."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from rcnn_svm.artefacts.files import array_digest, create_h5, fingerprint, open_h5, read_settings
from rcnn_svm.boxes import apply_box_deltas, clip_boxes
from rcnn_svm.cache.feature_norm import feature_scale
from rcnn_svm.detection.softmax import log_odds
from rcnn_svm.errors import InputError

KIND = "RoI head"
SCHEMA = 1
ARRAYS = ("hidden_W", "hidden_B", "W", "B", "box_W", "box_B")


@dataclass(frozen=True)
class RoIHead:
    """Scores regions with the interface of `Detector`, and corrects their boxes with that of `BoxRegressor`.

    Attributes:
        classes: K class names.
        W: (H, K + 1) float32, weights of the scores before the softmax, background first; H is D without a hidden
            layer.
        B: (K + 1,) float32, biases.
        box_W: (H, 4 (K + 1)) float32, weights of dx dy dw dh of every class, divided by `box_stds`.
        box_B: (4 (K + 1),) float32, biases.
        hidden_W: (D, H) float32, weights of a hidden layer, which a ReLU follows; (D, 0) without one.
        hidden_B: (H,) float32, biases; (0,) without one.
        box_stds: what box targets were divided by.
        feat_norm_mean: mean L2 norm of the training features; features are scaled by 20 / feat_norm_mean.
        feature_settings: settings of the feature cache that it was trained on.
        training: settings of the training and what it was trained on.

    Source: Fast R-CNN section 2.
    """

    classes: tuple[str, ...]
    W: np.ndarray
    B: np.ndarray
    box_W: np.ndarray
    box_B: np.ndarray
    hidden_W: np.ndarray
    hidden_B: np.ndarray
    box_stds: tuple[float, ...]
    feat_norm_mean: float
    feature_settings: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)

    @property
    def dim(self) -> int:
        """D, the length of a feature vector."""
        return self.hidden_W.shape[0]

    @cached_property
    def digest(self) -> str:
        """16 hex digits that change with anything that decides a score or a correction."""
        arrays = array_digest(*(getattr(self, name) for name in ARRAYS))
        return fingerprint([KIND, list(self.classes), list(self.box_stds), float(self.feat_norm_mean), arrays])

    def columns(self, classes: Sequence[str]) -> np.ndarray:
        """Return the (len(classes),) int64 indices of classes by name.

        Raises:
            InputError: a class is not among those of the head.
        """
        missing = [name for name in classes if name not in self.classes]
        if missing:
            raise InputError(f"the RoI head has no class {missing[0]!r}, it has {', '.join(self.classes)}")
        return np.array([self.classes.index(name) for name in classes], np.int64)

    def scores(self, features: np.ndarray) -> np.ndarray:
        """Return the log-odds of every region for every class, log(p / (1 - p)) of the softmax probability p.

        They rank as the probabilities do, which tie near 1; see `SoftmaxClassifier.scores`.

        Args:
            features: (N, D) float32, as cached (unscaled).

        Returns:
            (N, K) float32.

        Raises:
            InputError: the features have another length.
        """
        return log_odds(self._last(features) @ self.W + self.B)[:, 1:].astype(np.float32)

    def correct(
        self, features: np.ndarray, boxes: np.ndarray, cls: np.ndarray, image_size: tuple[int, int]
    ) -> np.ndarray:
        """Return corrected boxes cut to the image.

        Args:
            features: (N, D) float32, as cached (unscaled).
            boxes: (N, 4) float32, x1 y1 x2 y2, 0-based inclusive pixels.
            cls: (N,) int, the class index that each box is corrected for.
            image_size: (height, width), pixels.

        Returns:
            (N, 4) float32, the same convention.

        Raises:
            InputError: the features have another length, or a correction is not finite.

        Source: Fast R-CNN section 2.3; `bbox_transform_inv` of its code.
        """
        normalised = (self._last(features) @ self.box_W + self.box_B).reshape(len(boxes), len(self.classes) + 1, 4)
        deltas = normalised[np.arange(len(boxes)), np.asarray(cls) + 1] * self.box_stds
        if not np.isfinite(deltas).all():
            raise InputError(
                "corrections of boxes are not finite numbers; the features or the RoI head are damaged "
                "(the inspect stage verifies a cache)"
            )
        return clip_boxes(apply_box_deltas(boxes, deltas), image_size)

    def _last(self, features: np.ndarray) -> np.ndarray:
        """Return the (N, H) float32 input of the last layers."""
        if features.shape[1] != self.dim:
            raise InputError(
                f"the RoI head expects {self.dim}-d features, these have {features.shape[1]} dimensions; "
                "use the backbone and layer it was trained with"
            )
        scaled = features * feature_scale(self.feat_norm_mean)
        return np.maximum(scaled @ self.hidden_W + self.hidden_B, 0) if len(self.hidden_B) else scaled

    def save(self, path: str | os.PathLike, history: dict[str, np.ndarray] | None = None) -> None:
        """Write the head to an HDF5 file, with the arrays of its training history where given."""
        settings = {
            "classes": list(self.classes),
            "box_stds": list(self.box_stds),
            "feat_norm_mean": self.feat_norm_mean,
            "features": self.feature_settings,
            "training": self.training,
        }
        with create_h5(path, KIND, SCHEMA, settings) as handle:
            for name in ARRAYS:
                handle.create_dataset(name, data=getattr(self, name))
            for name, array in (history or {}).items():
                handle.create_dataset(f"history/{name}", data=array)

    @classmethod
    def load(cls, path: str | os.PathLike) -> RoIHead:
        """Read a head written by `save`.

        Raises:
            InputError: the file is missing, damaged or not a RoI head.
        """
        with open_h5(path, KIND, SCHEMA) as handle:
            settings = read_settings(handle)
            for name in settings["classes"]:
                name.encode()  # damaged text decodes to what cannot be written again
            return cls(
                classes=tuple(settings["classes"]),
                box_stds=tuple(settings["box_stds"]),
                feat_norm_mean=settings["feat_norm_mean"],
                feature_settings=settings["features"],
                training=settings["training"],
                **{name: handle[name][...] for name in ARRAYS},
            )


def load_head_history(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Return the arrays of the training history recorded beside a head: `steps` and `probes` of `Descent`.

    Raises:
        InputError: the file is missing, damaged or not a RoI head.
    """
    with open_h5(path, KIND, SCHEMA) as handle:
        return {name: data[...] for name, data in handle.get("history", {}).items()}
