"""A trained detector: one linear SVM per class."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import h5py
import numpy as np

from rcnn_svm import paper
from rcnn_svm.artefacts.model_file import Model
from rcnn_svm.cache.feature_norm import feature_scale
from rcnn_svm.detection.bbox_regression import BoxRegressor
from rcnn_svm.detection.calibrated import Calibrated
from rcnn_svm.detection.image_detections import ImageDetections
from rcnn_svm.detection.interfaces import check_length
from rcnn_svm.detection.recipe import Recipe
from rcnn_svm.features.settings import FeatureSettings
from rcnn_svm.notebook import html_table
from rcnn_svm.proposals.ranker import ProposalRanker

if TYPE_CHECKING:
    from rcnn_svm.data.images import ImageLike
    from rcnn_svm.detection.detect import ImageDetector


@dataclass(frozen=True, repr=False)
class Detector(Calibrated, Model):
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
        bbox_regressor: corrects the boxes that are found in an image, or None.
        ranker: makes the proposals of an image, or None where a search does.
        recipe: what is done with them afterwards.
        thresholds: (K,) float64, the score of every class above which a detection is worth reporting, after all that
            the recipe does; or None.
        thresholds_from: how they were chosen, on which images, and for which classes from the others; JSON-able.

    Examples:
        >>> import numpy as np
        >>> from rcnn_svm import Detector
        >>> weights, biases = np.float32([[1, 0], [0, 2]]), np.float32([-1, 0])
        >>> detector = Detector(classes=("cat", "dog"), W=weights, B=biases, feat_norm_mean=20.0)
        >>> detector.scores(np.float32([[3, 0], [0, 4]]))
        array([[ 2.,  0.],
               [-1.,  8.]], dtype=float32)
    """

    KIND: ClassVar[str] = "detector"
    ARRAYS: ClassVar[tuple[str, ...]] = ("W", "B", "calibration", "thresholds")
    PARTS: ClassVar[Mapping[str, str]] = {
        "bbox_regressor": BoxRegressor.KIND,
        "ranker": ProposalRanker.KIND,
    }

    classes: tuple[str, ...]
    W: np.ndarray
    B: np.ndarray
    feat_norm_mean: float
    feature_settings: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    calibration: np.ndarray | None = None
    bbox_regressor: BoxRegressor | None = None
    ranker: ProposalRanker | None = None
    recipe: Recipe = field(default_factory=Recipe)
    thresholds: np.ndarray | None = None
    thresholds_from: dict[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        made = FeatureSettings.from_json(self.feature_settings).description(f"{self.dim}-d")
        extras = [*(["calibrated"] if self.calibration is not None else []), *(p.KIND for p in self.parts().values())]
        return f"Detector({', '.join([self._classes_in_words(), made, *extras])})"

    def _repr_html_(self) -> str:
        """Return the weights of every class, for a notebook."""
        norms = np.linalg.norm(self.W, axis=0)
        columns = [self.classes, [f"{norm:.4g}" for norm in norms], [f"{bias:.4g}" for bias in self.B]]
        header = ["class", "norm of W", "bias"]
        if self.calibration is not None:
            header.append("score of probability 0.5")
            columns.append([f"{score:.3g}" for score in self.scores_at(0.5)])
        if self.thresholds is not None:
            header.append("threshold")
            columns.append([f"{score:.3g}" for score in self.thresholds])
        return html_table(repr(self), header, list(zip(*columns, strict=True)), "classes")

    @property
    def dim(self) -> int:
        """D, the length of a feature vector."""
        return self.W.shape[0]

    def settings(self) -> dict[str, Any]:
        """As in `Model`."""
        recipe = {} if self.recipe == Recipe() else {"recipe": self.recipe.to_json()}
        chosen = {} if self.thresholds is None else {"thresholds_from": self.thresholds_from}
        return {**super().settings(), **recipe, **chosen}

    @classmethod
    def _restored(cls, settings: dict[str, Any], datasets: Mapping[str, h5py.Dataset], **more: Any) -> Detector:
        recorded = {
            "recipe": Recipe.from_json(settings.get("recipe", {})),
            "thresholds_from": settings.get("thresholds_from", {}),
        }
        return super()._restored(settings, datasets, **recorded, **more)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """As in `Model`."""
        K = len(self.classes)
        return {"W": (len(self.W), K), "B": (K,), "calibration": (K, 2), "thresholds": (K,)}

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
        check_length(features, self.dim, "the detector")
        return (features * feature_scale(self.feat_norm_mean)) @ self.W + self.B

    def detect(
        self,
        image: ImageLike,
        *,
        thresh: float | np.ndarray | None = None,
        nms_threshold: float = paper.NMS_THRESHOLD,
    ) -> ImageDetections:
        """Return the objects found in an image: a path, a PIL image, or (H, W, 3) uint8 RGB.

        Boxes are corrected, voted and scored again as the detector's parts and recipe say. Without `thresh`, scores
        above the detector's own thresholds are reported; where it has none, above -1, the original's. See
        `ImageDetector.detect`; an `ImageDetector` can do more.
        """
        if thresh is None:
            thresh = paper.DETECT_THRESH if self.thresholds is None else self.thresholds
        return self._image_detector.detect(image, thresh=thresh, nms_threshold=nms_threshold)

    @cached_property
    def _image_detector(self) -> ImageDetector:
        # Imported here, for it loads torch, which scoring the features of a cache does not need.
        from rcnn_svm.detection.detect import ImageDetector

        return ImageDetector(self)
