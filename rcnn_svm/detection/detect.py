"""Detection in one image: proposals, their features, scores, corrected boxes, suppression."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import numpy as np

from rcnn_svm import paper
from rcnn_svm.data.images import ImageLike, as_image
from rcnn_svm.detection.bbox_correction import check_regressor
from rcnn_svm.detection.image_detections import ImageDetections
from rcnn_svm.detection.interfaces import BoxCorrector, RegionScorer
from rcnn_svm.detection.one_image import Correct, find_objects
from rcnn_svm.detection.recipe import Recipe
from rcnn_svm.errors import InputError
from rcnn_svm.features.extract import make_extractor
from rcnn_svm.features.fc_from_pool5 import load_head
from rcnn_svm.features.ranked_proposer import RankedProposer
from rcnn_svm.features.settings import FeatureSettings
from rcnn_svm.proposals.methods import RANKED, make_proposer


class Extractor(Protocol):
    """Makes features of boxes, as `FeatureExtractor` does."""

    def extract(self, image: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        """Return the features, (N, D) float32, of (N, 4) boxes of an image, (H, W, 3) uint8 RGB."""

    def extract_many(self, items: Iterable[tuple[np.ndarray, np.ndarray]]) -> Generator[np.ndarray, None, None]:
        """Yield the same of every (image, boxes), in order."""


class ScoredRegions(NamedTuple):
    """The proposals of an image.

    Attributes:
        boxes: (N, 4) float32, x1 y1 x2 y2, 0-based inclusive pixels.
        features: (N, D) float32, those of the detector.
        scores: (N, K) float32.
    """

    boxes: np.ndarray
    features: np.ndarray
    scores: np.ndarray


class ImageDetector:
    """Finds objects in images.

    Proposals and features are made as they were for the training of the detector. Networks are loaded with the first
    image.

    Args:
        detector: scores regions.
        proposer: makes the proposals, image -> (N, 4) boxes; where None, what the detector's settings record.
        extractor: makes features of boxes; where None, what the settings record. They are the detector's features; or
            pool5, where the box regressor was trained on pool5 and the detector on fc6 or fc7, which follow from it.
        weights: state dict file of the network, where the features were made with one.
        bbox_regressor: corrects the boxes that are found, from the same features; where None, the detector's own, if
            it has one.
        vote: boxes become the mean of those of their class that overlap them, before the suppression; where None, as
            the detector's recipe says.
        again: so many of the best boxes of an image get features of their own, are scored, and are voted with the
            others; 0 for none, None for as the recipe says.
        soft_nms: lower the scores of boxes that overlap better ones of their class, as `soft_nms` does, in the place of
            dropping them; where None, as the recipe says.

    Raises:
        InputError: `again` is no number of boxes; the box regressor was trained on other features, or without one of
            the classes.

    Source: `rcnn_detect.m`; boxes are corrected where `rcnn_test_bbox_regressor.m` does it, before the suppression.
    """

    def __init__(
        self,
        detector: RegionScorer,
        *,
        proposer: Callable[[np.ndarray], np.ndarray] | None = None,
        extractor: Extractor | None = None,
        weights: str | os.PathLike | None = None,
        bbox_regressor: BoxCorrector | None = None,
        vote: bool | None = None,
        again: int | None = None,
        soft_nms: bool | None = None,
    ):
        recipe = getattr(detector, "recipe", Recipe())
        if bbox_regressor is None:
            bbox_regressor = getattr(detector, "bbox_regressor", None)
        self._detector = detector
        self._given_proposer = proposer
        self._given_extractor = extractor
        self._weights = weights
        self._regressor = bbox_regressor
        self._recipe = recipe.changed(vote=vote, again=again, soft_nms=soft_nms)
        self._columns = None if bbox_regressor is None else check_regressor(bbox_regressor, detector)

    def detect(
        self,
        image: ImageLike,
        *,
        thresh: float | np.ndarray = paper.DETECT_THRESH,
        nms_threshold: float = paper.NMS_THRESHOLD,
    ) -> ImageDetections:
        """Return the objects found in an image.

        Args:
            image: (H, W, 3) uint8 RGB, or a path or a PIL image, as in `as_image`.
            thresh: only scores strictly above it are kept; one number or (K,), one per class.
            nms_threshold: per class, a box is suppressed when its IoU with a better one is strictly greater; soft-NMS
                does not use it.

        Returns:
            The detections, best first, with the names of the classes and the image.

        Raises:
            InputError: the image is no such array or cannot be read; the detector does not record how its proposals or
                features were made, or they cannot be made here.
        """
        image = as_image(image)

        def score(boxes: np.ndarray) -> tuple[np.ndarray, Correct | None]:
            return self._score(image, boxes)

        found = find_objects(self._proposer(image), score, image.shape[:2], self._recipe, thresh, nms_threshold)
        return replace(found, classes=tuple(self._detector.classes), image=image)

    def regions(self, images: Iterable[np.ndarray]) -> Iterator[ScoredRegions]:
        """Yield the proposals of images with their features and scores, one image after the other.

        Proposals are made in another thread, and the network works on full batches across images. Nothing is
        corrected, voted or suppressed.

        Args:
            images: (H, W, 3) uint8 RGB each; a few are read ahead.

        Raises:
            InputError: as `detect`.
        """
        begun: deque[np.ndarray] = deque()

        def items() -> Iterator[tuple[np.ndarray, np.ndarray]]:
            for image in images:
                begun.append(self._proposer(image))
                yield image, begun[-1]

        with closing(self._extractor.extract_many(items())) as extracted:
            for of_image in extracted:
                features = of_image if self._head is None else self._head(of_image)
                yield ScoredRegions(begun.popleft(), features, self._detector.scores(features))

    def _score(self, image: np.ndarray, boxes: np.ndarray) -> tuple[np.ndarray, Correct | None]:
        """Return the scores of boxes, (N, K), and what corrects those of some rows for a class each, where any does."""
        extracted = self._extractor.extract(image, boxes)
        features = extracted if self._head is None else self._head(extracted)
        scores = self._detector.scores(features)
        regressor, columns = self._regressor, self._columns
        if regressor is None or columns is None:
            return scores, None

        def correct(rows: np.ndarray, cls: np.ndarray) -> np.ndarray:
            return regressor.correct(extracted[rows], boxes[rows], columns[cls], image.shape[:2])

        return scores, correct

    @cached_property
    def _proposer(self) -> Callable[[np.ndarray], np.ndarray]:
        if self._given_proposer:
            return self._given_proposer
        recorded = self._recorded("proposals")
        ranker = getattr(self._detector, "ranker", None)
        if ranker is None or recorded.get("method") != RANKED:
            return make_proposer(recorded)
        limits = {name: recorded.get(name) for name in ("max_boxes", "merge_iou")}
        return RankedProposer(ranker, weights=self._weights, **limits)

    @cached_property
    def _extractor(self) -> Extractor:
        if self._given_extractor is not None:
            return self._given_extractor
        self._recorded("backbone")
        corrector = self._pool5_corrector
        model = self._detector if corrector is None else corrector
        return make_extractor(model.feature_settings, weights=self._weights)

    @cached_property
    def _head(self) -> Callable[[np.ndarray], np.ndarray] | None:
        """The layers between the extractor's features and the detector's; None where these are the same."""
        corrector, layer = self._pool5_corrector, self._trained_on.layer
        if corrector is None or layer is None:
            return None
        head, _ = load_head(corrector.feature_settings, layer, self._weights)
        return head

    @property
    def _pool5_corrector(self) -> BoxCorrector | None:
        """The box regressor where it was trained on pool5, and the detector on a layer that follows."""
        corrector = self._regressor
        if corrector is None:
            return None
        recorded = FeatureSettings.from_json(corrector.feature_settings)
        return corrector if recorded.can_compute(self._trained_on.layer) else None

    @property
    def _trained_on(self) -> FeatureSettings:
        return FeatureSettings.from_json(self._detector.feature_settings)

    def _recorded(self, part: str) -> Mapping[str, Any]:
        """Return what the detector records of its training features: `proposals` or `backbone`."""
        recorded = getattr(self._trained_on, part)
        if not recorded:
            raise InputError(
                f"the detector does not record the {part} of its training features (they came from arrays), "
                "so it can score a feature cache but not an image"
            )
        return recorded
