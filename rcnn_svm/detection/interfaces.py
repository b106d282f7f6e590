"""The interfaces of models: one scores regions, one corrects boxes.

Any object with these members will do: `Detector`, `BoxRegressor`, and from later rooms `SoftmaxClassifier` of a
fine-tuned network and `RoIHead`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from rcnn_svm.errors import InputError


class FeatureModel(Protocol):
    """A model that is applied to the features of a cache."""

    @property
    def dim(self) -> int:
        """D, the length of a feature vector."""

    @property
    def feature_settings(self) -> dict[str, Any]:
        """The settings of the feature cache that it was trained on."""

    @property
    def training(self) -> dict[str, Any]:
        """The settings of the training and what it was trained on, JSON-able."""

    @property
    def digest(self) -> str:
        """16 hex digits that change with anything that decides its results."""


class RegionScorer(FeatureModel, Protocol):
    """Scores regions for K classes."""

    @property
    def classes(self) -> tuple[str, ...]:
        """K class names."""

    def scores(self, features: np.ndarray) -> np.ndarray:
        """Return the scores of regions, (N, K) float32, of their features as cached, (N, D) float32."""


class BoxCorrector(FeatureModel, Protocol):
    """Corrects the boxes of regions."""

    def columns(self, classes: Sequence[str]) -> np.ndarray:
        """Return the (len(classes),) int64 indices of classes by name.

        Raises:
            InputError: the corrector has no such class.
        """

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
        """


def check_length(features: np.ndarray, dim: int, name: str) -> None:
    """Check that features have as many dimensions as those that a model was trained on.

    Args:
        features: (N, D').
        dim: D, of the model.
        name: what to call the model in the message.

    Raises:
        InputError: they have another number.
    """
    if features.shape[1] != dim:
        raise InputError(
            f"{name} expects {dim}-d features, these have {features.shape[1]} dimensions; "
            "use the backbone and layer it was trained with"
        )
