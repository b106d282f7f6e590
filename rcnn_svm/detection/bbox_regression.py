"""Bounding-box regression: from the features of a box that shows an object to a box that fits it better."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from rcnn_svm.artefacts.files import array_digest, fingerprint
from rcnn_svm.artefacts.model_file import Model
from rcnn_svm.boxes import apply_box_deltas, clip_boxes
from rcnn_svm.cache.feature_norm import feature_scale
from rcnn_svm.detection.interfaces import check_length
from rcnn_svm.errors import InputError

PER_CLASS = ("mu", "T", "T_inv", "Beta")


@dataclass(init=False, repr=False)
class BoxRegressor(Model):
    """Corrections of boxes, one linear function of the features per class.

    Attributes:
        classes: K class names.
        mu: (K, 4) float32, mean of the targets dx dy dw dh.
        T: (K, 4, 4) float32, whitening of the targets, symmetric.
        T_inv: (K, 4, 4) float32, its inverse.
        Beta: (K, D + 1, 4) float32, from scaled features to whitened targets; the last row is the bias.
        feat_norm_mean: mean L2 norm of the training features; features are scaled by 20 / feat_norm_mean.
        feature_settings: settings of the feature cache that it was trained on.
        training: settings of the training, what it was trained on, and how well it fits.
        used: (K,) bool, the classes whose boxes are corrected; all where None is given. A training leaves out those
            in which corrections bring boxes of images that it did not see no nearer to their objects.

    Examples:
        >>> import numpy as np
        >>> from rcnn_svm import BoxRegressor
        >>> regressor = BoxRegressor.identity(["dog"], dim=2, feat_norm_mean=20.0)
        >>> regressor.mu[0] = [0.5, 0, 0, 0]  # half a width to the right
        >>> regressor.correct(np.ones((1, 2), np.float32), np.float32([[0, 0, 9, 9]]), np.zeros(1, int), (12, 12))
        array([[ 4.5,  0. , 11. ,  9. ]], dtype=float32)
    """

    KIND: ClassVar[str] = "box regressor"
    ARRAYS: ClassVar[tuple[str, ...]] = (*PER_CLASS, "used")

    classes: tuple[str, ...]
    mu: np.ndarray
    T: np.ndarray
    T_inv: np.ndarray
    Beta: np.ndarray
    feat_norm_mean: float
    feature_settings: dict[str, Any]
    training: dict[str, Any]
    used: np.ndarray

    def __init__(
        self,
        classes: tuple[str, ...],
        mu: ArrayLike,
        T: ArrayLike,
        T_inv: ArrayLike,
        Beta: ArrayLike,
        feat_norm_mean: float,
        feature_settings: dict[str, Any] | None = None,
        training: dict[str, Any] | None = None,
        used: ArrayLike | None = None,
    ):
        K = len(classes)
        self.classes, self.feat_norm_mean = classes, feat_norm_mean
        self.feature_settings = {} if feature_settings is None else feature_settings
        self.training = {} if training is None else training
        self.used = np.ones(K, bool) if used is None else np.asarray(used, bool)
        if self.used.shape != (K,):
            raise InputError(f"box regressor: used has shape {self.used.shape}, expected {(K,)}")
        self.mu, self.T, self.T_inv, self.Beta = (np.asarray(given, np.float32) for given in (mu, T, T_inv, Beta))
        shapes = {"mu": (K, 4), "T": (K, 4, 4), "T_inv": (K, 4, 4), "Beta": (K, self.dim + 1, 4)}
        for name, shape in shapes.items():
            if getattr(self, name).shape != shape:
                raise InputError(f"box regressor: {name} has shape {getattr(self, name).shape}, expected {shape}")

    @classmethod
    def identity(cls, classes: Sequence[str], dim: int, feat_norm_mean: float, **options: Any) -> BoxRegressor:
        """Return a regressor that leaves every box as it is; `options` are further attributes."""
        K = len(classes)
        eye = np.tile(np.eye(4, dtype=np.float32), (K, 1, 1))
        zeros = np.zeros((K, dim + 1, 4), np.float32)
        return cls(tuple(classes), np.zeros((K, 4)), eye, eye.copy(), zeros, feat_norm_mean, **options)

    @property
    def dim(self) -> int:
        """D, the length of a feature vector."""
        return self.Beta.shape[1] - 1

    @cached_property
    def digest(self) -> str:
        """16 hex digits that change with anything that decides a correction."""
        arrays = array_digest(*(getattr(self, name) for name in PER_CLASS))
        unused = [] if self.used.all() else [self.used.tolist()]
        return fingerprint([list(self.classes), float(self.feat_norm_mean), arrays, *unused])

    def arrays(self) -> dict[str, np.ndarray]:
        """As in `Model`; `used` is there where a class is not."""
        arrays = {name: getattr(self, name) for name in PER_CLASS}
        return arrays if self.used.all() else {**arrays, "used": self.used.astype(np.uint8)}

    def predict(self, features: np.ndarray, boxes: np.ndarray, cls: np.ndarray) -> np.ndarray:
        """Return corrected boxes.

        Args:
            features: (N, D) float32, as cached (unscaled).
            boxes: (N, 4) float32, x1 y1 x2 y2, 0-based inclusive pixels.
            cls: (N,) int, the class index that each box is corrected for.

        Returns:
            (N, 4) float32, x1 y1 x2 y2, not clipped to the image.

        Raises:
            InputError: the features have another length, or are not finite.

        Source: `rcnn_predict_bbox_regressor.m`.
        """
        check_length(features, self.dim, "the box regressor")
        deltas = np.where(self.used[cls, None], self.deltas(features * feature_scale(self.feat_norm_mean), cls), 0)
        return move_boxes(
            boxes, deltas, "the features or the box regressor are damaged (the inspect stage verifies a cache)"
        )

    def deltas(self, scaled: np.ndarray, cls: np.ndarray) -> np.ndarray:
        """Return how boxes are off, as learnt, whether the class is used or not: (N, 4) float64, dx dy dw dh.

        Args:
            scaled: (N, D) float32, features of mean norm 20.
            cls: (N,) int, class indices.
        """
        deltas = np.empty((len(scaled), 4))
        for index in np.unique(cls):
            of_class = cls == index
            whitened = scaled[of_class] @ self.Beta[index, :-1] + self.Beta[index, -1]
            deltas[of_class] = whitened @ self.T_inv[index] + self.mu[index]
        return deltas

    def correct(
        self, features: np.ndarray, boxes: np.ndarray, cls: np.ndarray, image_size: tuple[int, int]
    ) -> np.ndarray:
        """Return corrected boxes cut to the image of size (height, width); otherwise like `predict`.

        Source: `rcnn_test_bbox_regressor.m`.
        """
        return clip_boxes(self.predict(features, boxes, cls), image_size)


def move_boxes(boxes: np.ndarray, deltas: np.ndarray, cause: str) -> np.ndarray:
    """Return boxes moved by what a model predicts for them.

    Args:
        boxes: (N, 4) float32, x1 y1 x2 y2, 0-based inclusive pixels.
        deltas: (N, 4) float64, dx dy dw dh.
        cause: what is wrong if a prediction is not a finite number, and the remedy; ends the message.

    Returns:
        (N, 4) float32, x1 y1 x2 y2, not cut to the image.

    Raises:
        InputError: a prediction is not finite.
    """
    if not np.isfinite(deltas).all():
        raise InputError(f"corrections of boxes are not finite numbers; {cause}")
    return apply_box_deltas(boxes, deltas)
