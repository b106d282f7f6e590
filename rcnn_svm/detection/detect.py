"""Detection in one image: proposals, their features, scores, corrected boxes, suppression."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from rcnn_svm import paper
from rcnn_svm.boxes import nms
from rcnn_svm.data.images import ImageLike, as_image
from rcnn_svm.detection.again import boxes_to_score_again
from rcnn_svm.detection.bbox_correction import check_regressor
from rcnn_svm.detection.detections import ImageDetections, best_of_groups
from rcnn_svm.detection.image_set import BestBoxes
from rcnn_svm.detection.interfaces import BoxCorrector, RegionScorer
from rcnn_svm.detection.recipe import Recipe
from rcnn_svm.detection.soft_nms import soft_nms
from rcnn_svm.detection.voting import vote_boxes
from rcnn_svm.errors import InputError
from rcnn_svm.features.extract import make_extractor
from rcnn_svm.features.fc_from_pool5 import load_head
from rcnn_svm.features.ranked_proposer import RankedProposer
from rcnn_svm.features.settings import FeatureSettings
from rcnn_svm.proposals.methods import RANKED, make_proposer

# Corrects boxes: rows (n,) and class indices (n,) in, boxes (n, 4) float32 out.
Correct = Callable[[np.ndarray, np.ndarray], np.ndarray]


class Extractor(Protocol):
    """Makes features of boxes, as `FeatureExtractor` does."""

    def extract(self, image: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        """Return the features, (N, D) float32, of (N, 4) boxes of an image, (H, W, 3) uint8 RGB."""


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
        given = {"vote": vote, "again": again, "soft_nms": soft_nms}
        self._recipe = replace(recipe, **{name: value for name, value in given.items() if value is not None})
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
            The detections, best first.

        Raises:
            InputError: the image is no such array or cannot be read; the detector does not record how its proposals or
                features were made, or they cannot be made here.
        """
        image = as_image(image)
        boxes = self._proposer(image)
        scores, correct = self._score(image, boxes)
        vote, again, soft = self._recipe.vote, self._recipe.again, self._recipe.soft_nms
        if not again:
            return best_detections(boxes, scores, thresh, nms_threshold, correct, vote=vote, soft=soft)
        first = _best_of_classes(boxes, scores, correct)
        best = first.voted() if vote else first
        boxes = boxes_to_score_again(best.cls, best.boxes, best.scores, image.shape[:2], per_image=again)
        both = first.with_others(_best_of_classes(boxes, *self._score(image, boxes)))
        thresh = np.broadcast_to(thresh, scores.shape[1])
        return (both.voted() if vote else both).survivors(thresh, nms_threshold, soft=soft)

    def _score(self, image: np.ndarray, boxes: np.ndarray) -> tuple[np.ndarray, Correct | None]:
        """Return the scores of boxes, (N, K), and what corrects those of some rows for a class each, where any does."""
        extracted = self._extractor.extract(image, boxes)
        features = extracted if self._head is None else self._head(extracted)

        def correct(rows: np.ndarray, cls: np.ndarray) -> np.ndarray:
            return self._regressor.correct(extracted[rows], boxes[rows], self._columns[cls], image.shape[:2])

        return self._detector.scores(features), None if self._regressor is None else correct

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
        model = self._regressor if self._corrects_from_pool5 else self._detector
        return make_extractor(model.feature_settings, weights=self._weights)

    @cached_property
    def _head(self) -> Callable[[np.ndarray], np.ndarray] | None:
        """The layers between the extractor's features and the detector's; None where these are the same."""
        if not self._corrects_from_pool5:
            return None
        head, _ = load_head(self._regressor.feature_settings, self._trained_on.layer, self._weights)
        return head

    @property
    def _corrects_from_pool5(self) -> bool:
        if self._regressor is None:
            return False
        return FeatureSettings.from_json(self._regressor.feature_settings).can_compute(self._trained_on.layer)

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


def best_detections(
    boxes: np.ndarray,
    scores: np.ndarray,
    thresh: float | np.ndarray,
    nms_threshold: float,
    correct: Correct | None = None,
    *,
    vote: bool = False,
    soft: bool = False,
) -> ImageDetections:
    """Return the boxes of an image that score well and survive non-maximum suppression within their class.

    Args:
        boxes: (N, 4) float32, x1 y1 x2 y2, 0-based inclusive pixels.
        scores: (N, K) float32.
        thresh: only scores strictly above it are kept; one number or (K,), one per class.
        nms_threshold: per class, a box is suppressed when its IoU with a better one is strictly greater.
        correct: corrects the boxes that score well before the suppression; rows and class indices (n,) in,
            boxes (n, 4) float32 out.
        vote: then move boxes by voting, as `vote_boxes` does, among the best 100 of each class, which are what the
            test stage keeps. Those below `thresh` vote too.
        soft: lower the scores of boxes that overlap better ones, as `soft_nms` does, in the place of the suppression.

    Source: `rcnn_detect.m`.
    """
    thresh = np.broadcast_to(thresh, scores.shape[1])
    if vote:
        # What is below the threshold votes, and may rise above it.
        return _best_of_classes(boxes, scores, correct).voted().survivors(thresh, nms_threshold, soft=soft)
    cls, row = np.nonzero((scores > thresh).T)
    return _candidates(boxes, scores, row, cls, correct).survivors(thresh, nms_threshold, soft=soft)


@dataclass(frozen=True)
class _Candidates:
    """Boxes of an image, each for a class, class after class.

    Attributes:
        cls: (n,) int, class indices, never decreasing.
        boxes: (n, 4) float32, x1 y1 x2 y2, 0-based inclusive pixels.
        scores: (n,) float32.
    """

    cls: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray

    def voted(self) -> _Candidates:
        """Return them after box voting."""
        boxes, scores = vote_boxes(self.boxes, self.scores, self.cls)
        return replace(self, boxes=boxes, scores=scores)

    def with_others(self, others: _Candidates) -> _Candidates:
        """Return both together, the best of each class, as `Detections.merged` does."""
        cls = np.concatenate([self.cls, others.cls])
        scores = np.concatenate([self.scores, others.scores])
        rows = best_of_groups(cls, scores, paper.MAX_PER_IMAGE)
        return _Candidates(cls[rows], np.concatenate([self.boxes, others.boxes])[rows], scores[rows])

    def survivors(self, thresh: np.ndarray, nms_threshold: float, *, soft: bool = False) -> ImageDetections:
        """Return those above the (K,) thresholds that survive non-maximum suppression within their class.

        With `soft` none is suppressed, and the thresholds are for the scores after soft-NMS.
        """
        scores = soft_nms(self.boxes, self.scores, self.cls) if soft else self.scores
        found = scores > thresh[self.cls]
        cls, boxes, scores = self.cls[found], self.boxes[found], scores[found]
        kept = np.arange(len(cls))
        if not soft:
            rows_by_class = np.split(kept, np.searchsorted(cls, np.arange(1, len(thresh))))
            kept = np.concatenate([rows[nms(boxes[rows], scores[rows], nms_threshold)] for rows in rows_by_class])
        kept = kept[np.argsort(-scores[kept], kind="stable")]
        return ImageDetections(cls=cls[kept].astype(np.int32), boxes=boxes[kept], scores=scores[kept])


def _best_of_classes(boxes: np.ndarray, scores: np.ndarray, correct: Correct | None) -> _Candidates:
    """Return the best boxes of each class, corrected, as many as the test stage keeps.

    Args:
        boxes, scores, correct: as in `best_detections`.
    """
    cls, row = BestBoxes(scores.shape[1], max_per_set=scores.size).select(scores)
    return _candidates(boxes, scores, row, cls, correct)


def _candidates(
    boxes: np.ndarray, scores: np.ndarray, row: np.ndarray, cls: np.ndarray, correct: Correct | None
) -> _Candidates:
    """Return the boxes of some rows, for a class each, corrected."""
    return _Candidates(cls, boxes[row] if correct is None else correct(row, cls), scores[row, cls])
