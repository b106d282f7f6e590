"""Testing a whole image set: every cached region scored, the best boxes of every class kept.

Two limits keep the result small, both the original's: at most `max_per_image` boxes per class and image, and
at most `max_per_set` per class over all images, by a score threshold that rises as images stream by.
"""

from __future__ import annotations

import functools
import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from rcnn_svm import paper
from rcnn_svm.artefacts.identity import only_data_differs, without_data
from rcnn_svm.cache.feature_cache import FeatureCache
from rcnn_svm.detection.detections import Detections
from rcnn_svm.detection.interfaces import FeatureModel, RegionScorer
from rcnn_svm.errors import InputError
from rcnn_svm.features.settings import FeatureSettings
from rcnn_svm.progress import progress_bar


class BestBoxes:
    """Chooses the boxes worth keeping, image by image, with a threshold per class that rises.

    Args:
        num_classes: K.
        max_per_set: boxes of a class to keep over all images; once more have passed, the score of the
            `max_per_set`-th best so far is the threshold for the next images.
        max_per_image: boxes of a class to keep in one image.

    Attributes:
        thresh: (K,) float32, -inf until `max_per_set` binds. What was selected earlier and scores below the
            final threshold is to be dropped at the end.
        box_counts: (K,) int64, boxes selected so far.

    Source: `rcnn_test.m`.
    """

    def __init__(self, num_classes: int, max_per_set: int, max_per_image: int = paper.MAX_PER_IMAGE):
        self.thresh = np.full(num_classes, -np.inf, np.float32)
        self.box_counts = np.zeros(num_classes, np.int64)
        self._max_per_set = max_per_set
        self._max_per_image = max_per_image
        self._top: list[list[float]] = [[] for _ in range(num_classes)]

    def select(self, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Choose the boxes of the next image.

        Args:
            scores: (n, K) float32, scores of its regions.

        Returns:
            Class indices (m,) int32 and region rows (m,) int64, by class and descending score.
        """
        classes, rows = [], []
        for index in range(scores.shape[1]):
            chosen = self.select_class(index, scores[:, index])
            classes.append(np.full(len(chosen), index, np.int32))
            rows.append(chosen)
        return np.concatenate(classes), np.concatenate(rows)

    def select_class(self, index: int, scores: np.ndarray) -> np.ndarray:
        """Choose the boxes of one class in the next image by scores (n,) float32; return their rows, the best first."""
        rows = np.flatnonzero(scores > self.thresh[index])
        rows = rows[np.argsort(-scores[rows], kind="stable")[: self._max_per_image]]
        self.box_counts[index] += len(rows)
        top = self._top[index]
        for score in scores[rows].tolist():
            if len(top) < self._max_per_set:
                heapq.heappush(top, score)
            else:
                heapq.heappushpop(top, score)
        if self.box_counts[index] > self._max_per_set:
            self.thresh[index] = top[0]
        return rows


def check_features(
    model: FeatureModel, cache: FeatureCache, name: str = "the detector", where: str | None = None
) -> None:
    """Check that a model may be applied to a cache: same kind of features.

    The proposals may differ, and so may the classes that the cache has ground truth of.

    Args:
        model: scores regions or corrects boxes.
        cache: the features.
        name: what to call the model in the message.
        where: what to call the cache in the message; its name where None.

    Raises:
        InputError: they do not belong together; the message says how they differ.
    """
    check_feature_settings(model, cache.dim, cache.settings, name, where or f"the cache of {cache.name}")


def is_of_same_set(model: FeatureModel, cache: FeatureCache) -> bool:
    """Return whether a model was trained on features like those of a cache, of the same image set by its name.

    The set may have had other images and labels then.
    """
    return model.feature_settings == cache.settings and model.training.get("image_set") == cache.name


def check_feature_settings(model: FeatureModel, dim: int, settings: dict[str, Any], name: str, where: str) -> None:
    """Check that a model may be applied to features of `dim` dimensions made with `settings`.

    Args:
        model: scores regions or corrects boxes.
        dim: length of a feature vector.
        settings: settings of the cache that holds the features.
        name: what to call the model in the message.
        where: what to call the cache in the message.

    Raises:
        InputError: they do not belong together; the message says how they differ.
    """
    trained, found = FeatureSettings.from_json(model.feature_settings), FeatureSettings.from_json(settings)
    if model.dim != dim:
        raise InputError(
            f"{name} expects {trained.description(f'{model.dim}-d')} features, "
            f"{where} holds {found.description(f'{dim}-d')}; "
            "extract the features with the model's backbone and layer"
        )
    difference = found.difference(trained)
    if difference:
        raise InputError(
            f"{name} was trained on features made with other settings than {where} "
            f"({difference}); extract the features with the model's settings"
        )


def run_settings(
    cache: FeatureCache,
    detector: RegionScorer,
    *,
    max_per_image: int = paper.MAX_PER_IMAGE,
    max_per_set: int | None = None,
) -> dict[str, Any]:
    """Return everything that decides the result of `detect_in_cache`, JSON-able; recorded with it."""
    return {
        "image_set": cache.name,
        "features": cache.fingerprint,
        "detector": {"digest": detector.digest, "training": detector.training},
        **limits(cache.num_images, max_per_image, max_per_set),
    }


def differs_in_data(found: dict[str, Any], wanted: dict[str, Any]) -> bool:
    """Return whether detections, by their settings, differ in images and labels alone, those of the training too."""
    try:
        return only_data_differs(_of_models(found), _of_models(wanted), _OF_LABELS)
    except (KeyError, TypeError):  # no such record: networks of train-head, models made from arrays
        return False


def without_images_and_labels(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of detections without what follows from images and labels; all, where models record less."""
    try:
        return without_data(_of_models(settings), *_OF_LABELS)
    except (KeyError, TypeError):
        return settings


# What follows from labels in the settings of a training.
_OF_LABELS = ("classes", "k_folds")


def _of_models(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of detections with what the models were asked for; the rest they read off a training set."""
    models: dict[str, Any] = {
        name: settings[name]["training"]["identity"] for name in ("detector", "bbox") if name in settings
    }
    earlier = {"also": _of_models(settings["also"])} if "also" in settings else {}
    return {**settings, **models, **earlier}


def limits(num_images: int, max_per_image: int = paper.MAX_PER_IMAGE, max_per_set: int | None = None) -> dict[str, int]:
    """Return how many boxes of a class to keep, in an image and over all of them, as recorded in settings."""
    total = paper.MAX_PER_SET_AND_IMAGE * num_images if max_per_set is None else max_per_set
    return {"max_per_image": max_per_image, "max_per_set": total}


def detect_in_cache(
    cache: FeatureCache,
    detector: RegionScorer,
    *,
    max_per_image: int = paper.MAX_PER_IMAGE,
    max_per_set: int | None = None,
) -> Detections:
    """Score every proposal of an image set and keep the best.

    Ground-truth rows are never detections. Memory holds one image's features and the boxes kept.

    Args:
        cache: regions and features of the image set.
        detector: scores the proposals.
        max_per_image: boxes of a class to keep in one image.
        max_per_set: boxes of a class to keep over all images; 40 times the number of images by default.

    Returns:
        The detections, before non-maximum suppression.

    Raises:
        InputError: detector and cache do not belong together, or a score is not finite.

    Source: `rcnn_test.m`. The original drops a score that is NaN without a word; here it is an error.
    """
    check_features(detector, cache)
    settings = run_settings(cache, detector, max_per_image=max_per_image, max_per_set=max_per_set)
    return keep_best(scored_images(cache, detector), cache.image_ids, detector.classes, settings)


def scored_images(
    cache: FeatureCache, detector: RegionScorer, images: Sequence[int] | None = None
) -> Iterator[ScoredImage]:
    """Yield the proposals of images with their scores; memory holds one image's features.

    Args:
        cache: regions and features of the image set.
        detector: scores the proposals.
        images: which of them, by their numbers; all where None.
    """
    images = range(cache.num_images) if images is None else images
    # Used again and again: new memory costs as much as reading.
    buffer = np.empty((0, cache.dim), np.float32)
    with progress_bar(len(images), f"test {cache.name}", "image") as bar:
        for number in images:
            image_id = cache.image_ids[number]
            block = cache.block(number)
            if len(buffer) < len(block):
                buffer = np.empty((len(block), cache.dim), np.float32)
            num_gt = int(block.gt.sum())  # ground truth comes first
            boxes = block.boxes[num_gt:]
            z = detector.scores(block.features(slice(num_gt, None), buffer))
            yield ScoredImage(image_id, z, functools.partial(_as_they_are, boxes), num_gt)
            bar.update()


def _as_they_are(boxes: np.ndarray, rows: np.ndarray, cls: np.ndarray) -> np.ndarray:
    """Return some of the boxes for whatever class, where nothing corrects them."""
    return boxes[rows]


@dataclass(frozen=True)
class ScoredImage:
    """The proposals of an image with their scores.

    Attributes:
        image_id: identifier of the image.
        scores: (n, K) float32.
        boxes_of: returns the boxes of some proposals for a class each: (m,) rows and (m,) class indices in,
            (m, 4) float32 out.
        first_row: row of the first proposal within its image: the number of ground-truth rows before it.
    """

    image_id: str
    scores: np.ndarray
    boxes_of: Callable[[np.ndarray, np.ndarray], np.ndarray]
    first_row: int


def keep_best(
    scored: Iterable[ScoredImage], image_ids: Sequence[str], classes: Sequence[str], settings: dict[str, Any]
) -> Detections:
    """Keep the best proposals of an image set; memory holds one image's scores and the boxes kept.

    Args:
        scored: every image, in order.
        image_ids: I identifiers.
        classes: K class names.
        settings: recorded with the result; `max_per_image` and `max_per_set` decide how many are kept.

    Raises:
        InputError: a score is not finite.
    """
    return _above_final_threshold(candidates(scored, image_ids, classes, settings))


def candidates(
    scored: Iterable[ScoredImage], image_ids: Sequence[str], classes: Sequence[str], settings: dict[str, Any]
) -> Detections:
    """Return what `keep_best` selects as images stream by, with what is below the final threshold still there.

    Arguments and errors as in `keep_best`.
    """
    best = BestBoxes(len(classes), settings["max_per_set"], settings["max_per_image"])
    images, found, rows, boxes, scores = [], [], [], [], []
    for number, image in enumerate(scored):
        z = image.scores
        if not np.isfinite(z).all():
            raise InputError(
                f"image {image.image_id} has scores that are not finite numbers; its features or the "
                "detector are damaged (the inspect stage verifies a cache)"
            )
        chosen_classes, chosen = best.select(z)
        images.append(np.full(len(chosen), number, np.int32))
        found.append(chosen_classes)
        rows.append(image.first_row + chosen)
        boxes.append(image.boxes_of(chosen, chosen_classes))
        scores.append(z[chosen, chosen_classes])
    return Detections(
        image_ids=tuple(image_ids),
        classes=tuple(classes),
        image=np.concatenate(images),
        cls=np.concatenate(found),
        box=np.concatenate(boxes),
        score=np.concatenate(scores),
        row=np.concatenate(rows),
        thresh=best.thresh,
        box_counts=best.box_counts,
        settings=settings,
    )


def join_candidates(parts: Sequence[Detections], image_ids: Sequence[str], settings: dict[str, Any]) -> Detections:
    """Return what `keep_best` keeps of all images, from the `candidates` of consecutive ones.

    A part has seen fewer boxes than all images up to the same one, so its threshold was not above theirs; what it
    selected is all that the selection has to be repeated on.

    Args:
        parts: one or more, in the order of their images.
        image_ids: I identifiers of all images.
        settings: recorded with the result; `max_per_image` and `max_per_set` as for the parts.
    """
    classes = parts[0].classes
    best = BestBoxes(len(classes), settings["max_per_set"], settings["max_per_image"])
    columns: dict[str, list[np.ndarray]] = {name: [] for name in ("image", "cls", "box", "score", "row")}
    for index in range(len(classes)):
        first = 0
        for part in parts:
            of_class = slice(*np.searchsorted(part.cls, [index, index + 1]).tolist())
            ends = of_class.start + np.searchsorted(part.image[of_class], np.arange(len(part.image_ids) + 1))
            chosen = [begin + best.select_class(index, part.score[begin:end]) for begin, end in pairwise(ends.tolist())]
            rows = np.concatenate(chosen)
            for name, of_all in columns.items():
                of_all.append(getattr(part, name)[rows] + (first if name == "image" else 0))
            first += len(part.image_ids)
    arrays = {name: np.concatenate(of_all) for name, of_all in columns.items()}
    found = Detections(
        tuple(image_ids), classes, **arrays, thresh=best.thresh, box_counts=best.box_counts, settings=settings
    )
    return _above_final_threshold(found)


def _above_final_threshold(found: Detections) -> Detections:
    """Return candidates without those that score below the threshold of their class at the end."""
    keep = found.score >= found.thresh[found.cls]
    return replace(found, **{name: getattr(found, name)[keep] for name in ("image", "cls", "box", "score", "row")})
