"""From the proposals of an image to its objects: scored, corrected, voted, scored again, suppressed.

What makes the scores is an argument: the parts of a detector, or an exported one. Arrays in, arrays out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from rcnn_svm import paper
from rcnn_svm.boxes import clip_boxes, nms
from rcnn_svm.detection.image_detections import ImageDetections, best_of_groups
from rcnn_svm.detection.recipe import PER_CLASS, PER_IMAGE, Recipe
from rcnn_svm.detection.soft_nms import soft_nms
from rcnn_svm.detection.voting import vote_boxes

# Corrects boxes: rows (n,) and class indices (n,) in, boxes (n, 4) float32 out.
Correct = Callable[[np.ndarray, np.ndarray], np.ndarray]
# Scores boxes, (N, 4) float32 in, (N, K) float32 out; with what corrects some of these boxes for a class each, or None.
Score = Callable[[np.ndarray], tuple[np.ndarray, Correct | None]]


def find_objects(
    boxes: np.ndarray,
    score: Score,
    image_size: tuple[int, int],
    recipe: Recipe,
    thresh: float | np.ndarray,
    nms_threshold: float,
) -> ImageDetections:
    """Return the objects among the proposals of an image, best first.

    Args:
        boxes: (N, 4) float32, the proposals, x1 y1 x2 y2, 0-based inclusive pixels.
        score: scores boxes of the image.
        image_size: (height, width), pixels.
        recipe: what is done with the boxes that score well.
        thresh: only scores strictly above it are kept; one number or (K,), one per class.
        nms_threshold: per class, a box is suppressed when its IoU with a better one is strictly greater; soft-NMS does
            not use it.
    """
    scores, correct = score(boxes)
    if not recipe.again:
        return best_detections(boxes, scores, thresh, nms_threshold, correct, vote=recipe.vote, soft=recipe.soft_nms)
    first = _best_of_classes(boxes, scores, correct)
    best = first.voted() if recipe.vote else first
    again = boxes_to_score_again(best.cls, best.boxes, best.scores, image_size, per_image=recipe.again)
    both = first.with_others(_best_of_classes(again, *score(again)))
    thresh = np.broadcast_to(thresh, scores.shape[1])
    return (both.voted() if recipe.vote else both).survivors(thresh, nms_threshold, soft=recipe.soft_nms)


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
    rows = np.argsort(-scores, axis=0, kind="stable")[: paper.MAX_PER_IMAGE]
    cls = np.repeat(np.arange(scores.shape[1]), len(rows))
    return _candidates(boxes, scores, rows.T.ravel(), cls, correct)


def _candidates(
    boxes: np.ndarray, scores: np.ndarray, row: np.ndarray, cls: np.ndarray, correct: Correct | None
) -> _Candidates:
    """Return the boxes of some rows, for a class each, corrected."""
    return _Candidates(cls, boxes[row] if correct is None else correct(row, cls), scores[row, cls])


def boxes_to_score_again(
    cls: np.ndarray,
    boxes: np.ndarray,
    scores: np.ndarray,
    image_size: tuple[int, int],
    *,
    per_image: int = PER_IMAGE,
    per_class: int = PER_CLASS,
) -> np.ndarray:
    """Return the best boxes that were found in an image, as proposals.

    Each class is suppressed and gives its best; what is the same in whole pixels counts once.

    Args:
        cls: (N,) int, class indices.
        boxes: (N, 4) float, x1 y1 x2 y2, 0-based inclusive pixels.
        scores: (N,) float.
        image_size: (height, width), pixels.
        per_image: boxes to return, at most.
        per_class: boxes of a class, at most.

    Returns:
        (n, 4) float32 whole pixels within the image, best first; the whole image where nothing was found.

    Raises:
        InputError: a score is NaN.

    Source: Gidaris & Komodakis, multi-region CNN, section 5 (iterative localisation), where boxes of each class are
    scored for that class alone.
    """
    best = [np.empty(0, np.int64)]
    for index in np.unique(cls):
        rows = np.flatnonzero(cls == index)
        best.append(rows[nms(boxes[rows], scores[rows], paper.NMS_THRESHOLD)[:per_class]])
    kept = np.concatenate(best)
    kept = kept[np.argsort(-scores[kept], kind="stable")]
    pixels = clip_boxes(np.rint(np.asarray(boxes[kept], np.float32)), image_size)
    _, first = np.unique(pixels, axis=0, return_index=True)
    if not len(first):
        height, width = image_size
        return np.array([[0, 0, width - 1, height - 1]], np.float32)
    return pixels[np.sort(first)[:per_image]]
