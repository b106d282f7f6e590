"""Suspects: hard negatives that look like objects which nobody labelled.

An object without a label is a negative like any other, and a hard one: it looks like the objects that have labels, so
that it stays far above the margin to the end of mining. Two things more tell it from other hard negatives:

    how many boxes around it the detector likes: those of a false alarm agree less (the scores of `vote_boxes`);
    how far it is a part of an object of its class, or on an object of another class, which explains it otherwise.

What detectors say that have not seen the image was tried in place of the detector's own scores, and found less.
`benchmarks/suspects.py` removes labels and measures how many come back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from rcnn_svm import paper
from rcnn_svm.boxes import iou_matrix, shares_inside
from rcnn_svm.cache.feature_cache import FeatureCache
from rcnn_svm.detection.detections import Detections
from rcnn_svm.detection.detector import Detector
from rcnn_svm.detection.image_detections import best_of_groups
from rcnn_svm.detection.image_set import detect_in_cache
from rcnn_svm.errors import InputError
from rcnn_svm.evaluation.voc import objects_in_cache, shared_images
from rcnn_svm.mining.examples import class_columns
from rcnn_svm.mining.kinds_of_negatives import NegativeKinds, negative_kinds

# Suspects of a class.
PER_CLASS = 50


@dataclass(frozen=True)
class Suspects:
    """Hard negatives that look like objects without a label, the most suspicious first.

    Attributes:
        classes: K class names, those of the detector.
        image_ids: I identifiers.
        keys: (S, 3) int32, class, image and row of the negative.
        box: (S, 4) float32, x1 y1 x2 y2, 0-based inclusive pixels: the mean of the boxes that agree, which fits an
            object better than the negative itself.
        suspicion: (S,) float32, what they are ranked by, in units of the margin.
        score: (S,) float32, of the negative at the end of mining.
        kinds: what the negatives overlap.
    """

    classes: tuple[str, ...]
    image_ids: tuple[str, ...]
    keys: np.ndarray
    box: np.ndarray
    suspicion: np.ndarray
    score: np.ndarray
    kinds: NegativeKinds

    def __len__(self) -> int:
        return len(self.keys)


def find_suspects(
    detector: Detector,
    record: Mapping[str, np.ndarray],
    cache: FeatureCache,
    *,
    per_class: int = PER_CLASS,
    name: str = "the model",
) -> Suspects:
    """Rank the hard negatives of a training by how much they look like objects without a label.

    A suspect was on or inside the margin at the end. Of those of a class that overlap in an image by more than 0.3, the
    best stands for all. Its suspicion is its score after voting, less the share of its box that is inside an object of
    its class and the IoU with an object of another class, the largest each.

    Args:
        detector: a trained detector.
        record: the record of its training, as `Detector.load_history` returns it.
        cache: the features that it was trained on.
        per_class: so many suspects of a class at most.
        name: what to call the model in a message.

    Raises:
        InputError: the model has no record of its training or was trained on another cache.
    """
    if "support" not in record:
        raise InputError(f"{name} has no record of its training, only the detector; give the model of a train stage")
    if detector.training["identity"]["cache"] != cache.fingerprint:
        raise InputError(f"{name} was not trained on the cache of {cache.name}; give the one it was trained on")
    found = detect_in_cache(cache, detector).after_voting().after_nms()
    suspicion, own = _suspicion(found, cache)
    keys = np.stack([found.cls, found.image, found.row], axis=1)
    # Which of them were on or inside the margin at the end, and where in the record they are.
    numbers = _numbers(keys, cache), _numbers(record["support"], cache)
    _, rows, recorded = np.intersect1d(*numbers, assume_unique=True, return_indices=True)
    apart = own[rows] < paper.NEG_OVERLAP
    rows, recorded = rows[apart], recorded[apart]
    best = best_of_groups(found.cls[rows], suspicion[rows], per_class)
    best = best[np.argsort(-suspicion[rows[best]], kind="stable")]
    rows, recorded = rows[best], recorded[best]
    return Suspects(
        classes=detector.classes,
        image_ids=cache.image_ids,
        keys=keys[rows],
        box=found.box[rows],
        suspicion=suspicion[rows],
        score=record["support_scores"][recorded],
        kinds=negative_kinds(cache, detector.classes, keys[rows]),
    )


def _suspicion(found: Detections, cache: FeatureCache) -> tuple[np.ndarray, np.ndarray]:
    """Return the suspicion of boxes that were voted, and their IoU with objects of their class, (N,) float32 each."""
    objects = objects_in_cache(cache, cache.classes)
    column = np.array(class_columns(cache, found.classes))[found.cls]
    inside, own, other = np.zeros((3, len(found)), np.float32)
    for rows, candidates in shared_images(found.image, objects.image):
        same = column[rows, None] == objects.cls[candidates]
        iou = iou_matrix(found.box[rows], objects.box[candidates])
        part = shares_inside(found.box[rows], objects.box[candidates])
        inside[rows] = np.where(same, part, 0).max(axis=1)
        own[rows], other[rows] = np.where(same, iou, 0).max(axis=1), np.where(same, 0, iou).max(axis=1)
    return found.score - inside - other, own


def _numbers(keys: np.ndarray, cache: FeatureCache) -> np.ndarray:
    """Return a number for every key (n, 3) of class, image and row, (n,) int64, different for different keys."""
    return keys[:, 0].astype(np.int64) * cache.num_rows + cache.image_start[keys[:, 1]] + keys[:, 2]
