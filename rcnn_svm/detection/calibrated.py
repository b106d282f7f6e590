"""Scores as probabilities: a sigmoid for every class."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from rcnn_svm.detection.image_detections import ImageDetections
from rcnn_svm.errors import InputError


class Calibrated:
    """A detector whose scores may be made probabilities.

    Attributes:
        calibration: (K, 2) float64, slope and offset of the sigmoid that makes a class's scores probabilities, or
            None.
    """

    calibration: np.ndarray | None

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
        return _expit(slope * scores + offset)

    def scores_at(self, probability: float) -> np.ndarray:
        """Return the score of every class that has this probability, (K,) float64; the inverse of `probabilities`.

        Raises:
            InputError: the detector is not calibrated.
        """
        slope, offset = self._sigmoids.T
        with np.errstate(divide="ignore"):  # 0 and 1 are infinitely far away
            log_odds = np.log(np.float64(probability)) - np.log1p(-np.float64(probability))
        return (log_odds - offset) / slope

    def calibrated(self, found: ImageDetections) -> ImageDetections:
        """Return detections with probabilities for scores, the most probable first.

        Raises:
            InputError: the detector is not calibrated.
        """
        slope, offset = self._sigmoids[found.cls].T
        probability = _expit(slope * found.scores + offset)
        order = np.argsort(-probability, kind="stable")
        return replace(found, cls=found.cls[order], boxes=found.boxes[order], scores=probability[order])

    @property
    def _sigmoids(self) -> np.ndarray:
        if self.calibration is None:
            raise InputError("the detector is not calibrated, so it has scores but no probabilities")
        return self.calibration


def _expit(values: np.ndarray) -> np.ndarray:
    return np.exp(-np.logaddexp(0, -np.asarray(values, np.float64)))
