"""The last layers of Fast R-CNN on cached features: class scores and corrected boxes of regions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import h5py
import numpy as np

from rcnn_svm.artefacts.files import array_digest, fingerprint
from rcnn_svm.artefacts.model_file import Model
from rcnn_svm.boxes import clip_boxes
from rcnn_svm.cache.feature_norm import feature_scale
from rcnn_svm.detection.bbox_regression import move_boxes
from rcnn_svm.detection.interfaces import check_length
from rcnn_svm.detection.softmax import log_odds


@dataclass(frozen=True, repr=False)
class RoIHead(Model):
    """Scores regions and corrects their boxes: a `RegionScorer`, as `Detector` is, and a `BoxCorrector`.

    Attributes:
        classes: K class names.
        W: (H, K + 1) float32, weights of the scores before the softmax, background first; H is D without a hidden
            layer.
        B: (K + 1,) float32, biases.
        box_W: (H, 4 (K + 1)) float32, weights of dx dy dw dh of every class, divided by `box_stds`.
        box_B: (4 (K + 1),) float32, biases.
        hidden_W: (D, H) float32, weights of a hidden layer, which a ReLU follows; (D, 0) without one.
        hidden_B: (H,) float32, biases; (0,) without one.
        box_stds: 4 numbers that box targets were divided by.
        feat_norm_mean: mean L2 norm of the training features; features are scaled by 20 / feat_norm_mean.
        feature_settings: settings of the feature cache that it was trained on.
        training: settings of the training and what it was trained on.

    Source: Fast R-CNN section 2.
    """

    KIND: ClassVar[str] = "RoI head"
    ARRAYS: ClassVar[tuple[str, ...]] = ("hidden_W", "hidden_B", "W", "B", "box_W", "box_B")

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

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """As in `Model`."""
        outputs, hidden = len(self.classes) + 1, self.hidden_W.shape[1]
        last = hidden or self.dim
        of_hidden = {"hidden_W": (self.dim, hidden), "hidden_B": (hidden,)}
        of_boxes = {"box_W": (last, 4 * outputs), "box_B": (4 * outputs,)}
        return {**of_hidden, "W": (last, outputs), "B": (outputs,), **of_boxes}

    @cached_property
    def digest(self) -> str:
        """16 hex digits that change with anything that decides a score or a correction."""
        arrays = array_digest(*(getattr(self, name) for name in self.ARRAYS))
        return fingerprint([self.KIND, list(self.classes), list(self.box_stds), float(self.feat_norm_mean), arrays])

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
        """As in `BoxCorrector`.

        Raises:
            InputError: the features have another length, or a correction is not finite.

        Source: Fast R-CNN section 2.3; `bbox_transform_inv` of its code.
        """
        return correct_rois(
            boxes,
            self._last(features) @ self.box_W + self.box_B,
            cls,
            self.box_stds,
            image_size,
            "the features or the RoI head are damaged (the inspect stage verifies a cache)",
        )

    def _last(self, features: np.ndarray) -> np.ndarray:
        """Return the (N, H) float32 input of the last layers."""
        check_length(features, self.dim, "the RoI head")
        scaled = features * feature_scale(self.feat_norm_mean)
        return np.maximum(scaled @ self.hidden_W + self.hidden_B, 0) if len(self.hidden_B) else scaled

    def settings(self) -> dict[str, Any]:
        """Return all that a file records of the head but its arrays, JSON-able."""
        return {**super().settings(), "box_stds": list(self.box_stds)}

    @classmethod
    def _restored(cls, settings: dict[str, Any], datasets: Mapping[str, h5py.Dataset], **more: Any) -> RoIHead:
        return super()._restored(settings, datasets, box_stds=tuple(settings["box_stds"]), **more)


def correct_rois(
    boxes: np.ndarray,
    regression: np.ndarray,
    cls: np.ndarray,
    box_stds: Sequence[float],
    image_size: tuple[int, int],
    cause: str,
) -> np.ndarray:
    """Return boxes corrected by what a network predicts for them, cut to the image.

    Args:
        boxes: (N, 4) float32, x1 y1 x2 y2, 0-based inclusive pixels.
        regression: (N, 4 (K + 1)) float32, dx dy dw dh of every class divided by `box_stds`, background first.
        cls: (N,) int, the class index that each box is corrected for.
        box_stds: 4 numbers that box targets were divided by.
        image_size: (height, width), pixels.
        cause: as in `move_boxes`.

    Returns:
        (N, 4) float32, the same convention.

    Raises:
        InputError: a correction is not finite.

    Source: Fast R-CNN section 2.3; `bbox_transform_inv` of its code.
    """
    by_class = regression.reshape(len(boxes), regression.shape[1] // 4, 4)  # (N, K + 1, 4)
    deltas = by_class[np.arange(len(boxes)), np.asarray(cls) + 1].astype(np.float64) * box_stds
    return clip_boxes(move_boxes(boxes, deltas, cause), image_size)
