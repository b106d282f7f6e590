"""A trained detector: one linear SVM per class."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import scipy.special

from rcnn_svm import paper
from rcnn_svm.artefacts.files import create_h5, open_h5, read_settings
from rcnn_svm.cache.feature_norm import feature_scale
from rcnn_svm.detection.detections import ImageDetections
from rcnn_svm.errors import InputError

if TYPE_CHECKING:
    from rcnn_svm.detection.detect import ImageDetector

KIND = "detector"
SCHEMA = 1


@dataclass(frozen=True)
class Detector:
    """Linear detectors of all classes.

    Attributes:
        classes: K class names.
        W: (D, K) float32, weights for scaled features.
        B: (K,) float32, biases.
        feat_norm_mean: mean L2 norm of the training features; features are scaled by 20 / feat_norm_mean.
        feature_settings: settings of the feature cache that the detector was trained on.
        training: settings of the training and what it was trained on.
        calibration: (K, 2) float64, slope and offset of the sigmoid that makes a class's scores probabilities, or
            None.
    """

    classes: tuple[str, ...]
    W: np.ndarray
    B: np.ndarray
    feat_norm_mean: float
    feature_settings: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    calibration: np.ndarray | None = None

    @property
    def dim(self) -> int:
        """D, the length of a feature vector."""
        return self.W.shape[0]

    @property
    def digest(self) -> str:
        """16 hex digits that change with the classes, any weight or the scale of the features."""
        named = repr((self.classes, self.feat_norm_mean)).encode()
        return hashlib.sha256(named + self.W.tobytes() + self.B.tobytes()).hexdigest()[:16]

    def scores(self, features: np.ndarray) -> np.ndarray:
        """Return the score of every region for every class.

        Args:
            features: (N, D) float32, as cached (unscaled).

        Returns:
            (N, K) float32; above 0 means the class, -1 is the margin of the negatives.

        Raises:
            InputError: the features have another length.
        """
        if features.shape[1] != self.dim:
            raise InputError(
                f"the detector expects {self.dim}-d features, these have {features.shape[1]} dimensions; "
                "use the backbone and layer it was trained with"
            )
        return (features * feature_scale(self.feat_norm_mean)) @ self.W + self.B

    def probabilities(self, scores: np.ndarray) -> np.ndarray:
        """Return how likely boxes of these scores overlap an object of the class by half.

        Within a class the order is that of the scores.

        Args:
            scores: (N, K) float32, of the boxes that survive non-maximum suppression.

        Returns:
            (N, K) float64 in (0, 1).

        Raises:
            InputError: the detector is not calibrated.
        """
        slope, offset = self._sigmoids.T
        return scipy.special.expit(slope * scores + offset)

    def scores_at(self, probability: float) -> np.ndarray:
        """Return the score of every class that has this probability, (K,) float64; the inverse of `probabilities`.

        Raises:
            InputError: the detector is not calibrated.
        """
        slope, offset = self._sigmoids.T
        return (scipy.special.logit(probability) - offset) / slope

    def calibrated(self, found: ImageDetections) -> ImageDetections:
        """Return detections with probabilities for scores, the most probable first.

        Raises:
            InputError: the detector is not calibrated.
        """
        slope, offset = self._sigmoids[found.cls].T
        probability = scipy.special.expit(slope * found.scores + offset)
        order = np.argsort(-probability, kind="stable")
        return ImageDetections(found.cls[order], found.boxes[order], probability[order])

    @property
    def _sigmoids(self) -> np.ndarray:
        if self.calibration is None:
            raise InputError("the detector is not calibrated, so it has scores but no probabilities")
        return self.calibration

    def detect(
        self,
        image: np.ndarray,
        *,
        thresh: float | np.ndarray = paper.DETECT_THRESH,
        nms_threshold: float = paper.NMS_THRESHOLD,
    ) -> ImageDetections:
        """Return the objects found in an image, (H, W, 3) uint8 RGB; see `ImageDetector.detect`, which can do more."""
        return self._image_detector.detect(image, thresh=thresh, nms_threshold=nms_threshold)

    @cached_property
    def _image_detector(self) -> ImageDetector:
        # Imported here, for it loads torch, which scoring the features of a cache does not need.
        from rcnn_svm.detection.detect import ImageDetector

        return ImageDetector(self)

    def save(self, path: str | os.PathLike, history: dict[str, np.ndarray] | None = None) -> None:
        """Write the detector to an HDF5 file, with the arrays of its mining history where given."""
        settings = {
            "classes": list(self.classes),
            "feat_norm_mean": self.feat_norm_mean,
            "features": self.feature_settings,
            "training": self.training,
        }
        with create_h5(path, KIND, SCHEMA, settings) as handle:
            handle.create_dataset("W", data=self.W)
            handle.create_dataset("B", data=self.B)
            if self.calibration is not None:
                handle.create_dataset("calibration", data=self.calibration)
            for name, array in (history or {}).items():
                text = array.dtype == object  # as `load_history` returns it
                handle.create_dataset(f"history/{name}", data=array, dtype=h5py.string_dtype() if text else None)

    @classmethod
    def load(cls, path: str | os.PathLike) -> Detector:
        """Read a detector written by `save`.

        Raises:
            InputError: the file is missing, damaged or not a detector.
        """
        with open_h5(path, KIND, SCHEMA) as handle:
            settings = read_settings(handle)
            for name in settings["classes"]:
                name.encode()  # damaged text decodes to what cannot be written again
            return cls(
                classes=tuple(settings["classes"]),
                W=handle["W"][...],
                B=handle["B"][...],
                feat_norm_mean=settings["feat_norm_mean"],
                feature_settings=settings["features"],
                training=settings["training"],
                calibration=handle["calibration"][...] if "calibration" in handle else None,
            )


def load_history(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Return the arrays of the mining history recorded beside a detector.

    Raises:
        InputError: the file is missing, damaged or not a detector.
    """
    with open_h5(path, KIND, SCHEMA) as handle:
        return {
            name: data.asstr()[...] if h5py.check_string_dtype(data.dtype) else data[...]
            for name, data in handle.get("history", {}).items()
        }
