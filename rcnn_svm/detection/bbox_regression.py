"""Bounding-box regression: from the features of a box that shows an object to a box that fits it better."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.linalg.blas import dsyrk

from rcnn_svm import paper
from rcnn_svm.artefacts.files import array_digest, fingerprint
from rcnn_svm.artefacts.model_file import Model
from rcnn_svm.boxes import apply_box_deltas, box_deltas, clip_boxes, iou_matrix
from rcnn_svm.cache.feature_norm import feature_scale
from rcnn_svm.detection.interfaces import check_length
from rcnn_svm.errors import InputError

# A product of fewer rows spends its time on the matrix it is added to.
ROWS_PER_PRODUCT = 512
PER_CLASS = ("mu", "T", "T_inv", "Beta")


@dataclass
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

    Examples:
        >>> import numpy as np
        >>> from rcnn_svm import BoxRegressor
        >>> regressor = BoxRegressor.identity(["dog"], dim=2, feat_norm_mean=20.0)
        >>> regressor.mu[0] = [0.5, 0, 0, 0]  # half a width to the right
        >>> regressor.correct(np.ones((1, 2), np.float32), np.float32([[0, 0, 9, 9]]), np.zeros(1, int), (12, 12))
        array([[ 4.5,  0. , 11. ,  9. ]], dtype=float32)
    """

    KIND: ClassVar[str] = "box regressor"
    ARRAYS: ClassVar[tuple[str, ...]] = PER_CLASS

    classes: tuple[str, ...]
    mu: np.ndarray
    T: np.ndarray
    T_inv: np.ndarray
    Beta: np.ndarray
    feat_norm_mean: float
    feature_settings: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        K = len(self.classes)
        shapes = {"mu": (K, 4), "T": (K, 4, 4), "T_inv": (K, 4, 4), "Beta": (K, self.dim + 1, 4)}
        for name, shape in shapes.items():
            setattr(self, name, np.asarray(getattr(self, name), np.float32))
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
        return fingerprint([list(self.classes), float(self.feat_norm_mean), arrays])

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
        deltas = np.empty((len(boxes), 4))
        for index in np.unique(cls):
            of_class = cls == index
            scaled = features[of_class] * feature_scale(self.feat_norm_mean)
            whitened = scaled @ self.Beta[index, :-1] + self.Beta[index, -1]
            deltas[of_class] = whitened @ self.T_inv[index] + self.mu[index]
        return move_boxes(
            boxes, deltas, "the features or the box regressor are damaged (the inspect stage verifies a cache)"
        )

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


@dataclass(frozen=True)
class BoxExamples:
    """The regions of an image that box regression learns from.

    Attributes:
        rows: (n,) int64, rows within the image; ground-truth rows are among them.
        objects: (n,) int64, the row of the object that each overlaps best.
        overlap: (n,) float32, IoU with that object, by areas of inclusive pixels.
        cls: (n,) int64, class index of that object.
        targets: (n, 4) float64, dx dy dw dh from region to object.
    """

    rows: np.ndarray
    objects: np.ndarray
    overlap: np.ndarray
    cls: np.ndarray
    targets: np.ndarray


def box_examples(boxes: np.ndarray, gt: np.ndarray, label: np.ndarray, min_overlap: float) -> BoxExamples:
    """Return the regions of an image that overlap an object enough, each with the object it overlaps best.

    Args:
        boxes: (N, 4) float32, x1 y1 x2 y2, 0-based inclusive pixels.
        gt: (N,) bool, the row is a ground-truth object.
        label: (N,) int, class index + 1 of a ground-truth row.
        min_overlap: examples have an IoU strictly above it, in single precision.

    Source: `rcnn_train_bbox_regressor.m`. The best object may be of any class; the first one on ties.
    """
    objects = np.flatnonzero(gt)
    if not len(objects):
        none = np.empty(0, np.int64)
        return BoxExamples(none, none, np.empty(0, np.float32), none, np.empty((0, 4)))
    iou = iou_matrix(boxes, boxes[objects])
    overlap = iou.max(axis=1).astype(np.float32)
    rows = np.flatnonzero(overlap > np.float32(min_overlap))
    best = objects[iou[rows].argmax(axis=1)]
    return BoxExamples(
        rows=rows,
        objects=best,
        overlap=overlap[rows],
        cls=label[best].astype(np.int64) - 1,
        targets=box_deltas(boxes[rows], boxes[best]),
    )


class NormalEquations:
    """Sums over the examples of a class from which its ridge regression is solved, in double precision.

    Args:
        dim: D.

    Source: `rcnn_train_bbox_regressor.m` solves the same equations from a matrix of all examples, in single
    precision.
    """

    def __init__(self, dim: int):
        # Z'Z, Z'Y and Y'Y of the features followed by a 1 (Z) and the targets (Y); of Z'Z only the lower triangle.
        # BLAS adds to it in place where it is stored column by column.
        self._zz = np.zeros((dim + 1, dim + 1), order="F")
        self._zy = np.zeros((dim + 1, 4))
        self._yy = np.zeros((4, 4))
        self._pending: list[tuple[np.ndarray, np.ndarray]] = []
        self._num_pending = 0

    def add(self, features: np.ndarray, targets: np.ndarray) -> None:
        """Add examples.

        Args:
            features: (n, D) float32, scaled.
            targets: (n, 4) float64.
        """
        self._pending.append((features, targets))
        self._num_pending += len(features)
        if self._num_pending >= ROWS_PER_PRODUCT:
            self._flush()

    def _flush(self) -> None:
        if not self._pending:
            return
        z = np.ones((self._num_pending, len(self._zz)))
        np.concatenate([features for features, _ in self._pending], out=z[:, :-1])
        y = np.concatenate([targets for _, targets in self._pending])
        self._zz = dsyrk(1.0, z.T, beta=1.0, c=self._zz, lower=1, overwrite_c=1)
        self._zy += z.T @ y
        self._yy += y.T @ y
        self._pending, self._num_pending = [], 0

    def solve(self, ridge_lambda: float) -> dict[str, np.ndarray]:
        """Return mu (4,), T (4, 4), T_inv (4, 4) and Beta (D + 1, 4) of the examples so far; empty without any.

        Args:
            ridge_lambda: weight of the squared weights, bias included.
        """
        self._flush()
        count = self._zz[-1, -1]
        if not count:
            return {}
        mu = self._zy[-1] / count
        values, vectors = np.linalg.eigh(self._yy / count - np.outer(mu, mu))
        T, T_inv = ((vectors * (values + paper.BBOX_WHITENING_EPS) ** power) @ vectors.T for power in (-0.5, 0.5))
        # Sums of whitened targets follow from those of the targets: (Y - mu) T is linear in Y.
        right = (self._zy - np.outer(self._zz[-1], mu)) @ T
        left = self._zz.copy(order="F")
        left[np.diag_indices_from(left)] += ridge_lambda
        factor = cho_factor(left, lower=True, overwrite_a=True, check_finite=False)
        return {"mu": mu, "T": T, "T_inv": T_inv, "Beta": cho_solve(factor, right, check_finite=False)}
