"""The objects that a detector found in a whole image set, and their file."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import h5py
import numpy as np
from numpy.typing import ArrayLike

from rcnn_svm import paper
from rcnn_svm.artefacts.files import array_digest, create_h5, fingerprint, open_h5, read_settings
from rcnn_svm.artefacts.identity import first_difference
from rcnn_svm.boxes import nms
from rcnn_svm.detection.image_detections import ImageDetections, best_of_groups
from rcnn_svm.detection.soft_nms import SIGMA, soft_nms, soft_nms_settings
from rcnn_svm.detection.voting import vote_boxes, voting_settings
from rcnn_svm.errors import InputError
from rcnn_svm.notebook import html_table
from rcnn_svm.words import counted

KIND = "detections"
SCHEMA = 1
_PER_BOX = ("image", "cls", "box", "score", "row")
_ARRAYS = (*_PER_BOX, "thresh", "box_counts")


@dataclass(init=False, repr=False)
class Detections:
    """The objects that a detector found in an image set: flat arrays, class after class.

    Within a class the order is the one given, which decides ties in score like the lines of a VOC results
    file do. Arrays that are not in class order are brought into it, stably.

    Attributes:
        image_ids: I identifiers.
        classes: K class names.
        image: (N,) int32, indices into `image_ids`.
        cls: (N,) int32, indices into `classes`, never decreasing.
        box: (N, 4) float32, x1 y1 x2 y2, 0-based inclusive pixels.
        score: (N,) float32.
        row: (N,) int32, row of the region within its image in the feature cache; -1 unless given.
        thresh: (K,) float32, score below which boxes of a class were dropped; -inf unless given.
        box_counts: (K,) int64, boxes kept during the pass, before that final cut; the numbers of detections
            unless given.
        settings: what made the detections, JSON-able.

    Raises:
        InputError: the arrays do not fit together, an index is out of range, or a score or box is not finite.

    Examples:
        >>> import numpy as np
        >>> from rcnn_svm import Detections
        >>> found = Detections(
        ...     image_ids=("a", "b"),
        ...     classes=("cat", "dog"),
        ...     image=[0, 0, 1],
        ...     cls=[1, 1, 0],
        ...     box=[[0, 0, 9, 9], [0, 0, 9, 8], [5, 5, 20, 20]],
        ...     score=[0.5, 0.75, 0.25],
        ... )
        >>> found.cls  # class after class
        array([0, 1, 1], dtype=int32)
        >>> found.after_nms(0.3).of_image(0)  # the better of two boxes
        ImageDetections(cls=array([1], dtype=int32),
                        boxes=array([[0., 0., 9., 8.]], dtype=float32),
                        scores=array([0.75], dtype=float32))
    """

    image_ids: tuple[str, ...]
    classes: tuple[str, ...]
    image: np.ndarray
    cls: np.ndarray
    box: np.ndarray
    score: np.ndarray
    row: np.ndarray
    thresh: np.ndarray
    box_counts: np.ndarray
    settings: dict[str, Any]

    def __init__(
        self,
        image_ids: tuple[str, ...],
        classes: tuple[str, ...],
        image: ArrayLike,
        cls: ArrayLike,
        box: ArrayLike,
        score: ArrayLike,
        row: ArrayLike | None = None,
        thresh: ArrayLike | None = None,
        box_counts: ArrayLike | None = None,
        settings: dict[str, Any] | None = None,
    ):
        self.image_ids, self.classes = image_ids, classes
        self.settings = {} if settings is None else settings
        self.image = np.asarray(image, np.int32)
        self.cls = np.asarray(cls, np.int32)
        self.box = np.asarray(box, np.float32)
        self.score = np.asarray(score, np.float32)
        self.row = np.asarray(np.full(len(self.score), -1) if row is None else row, np.int32)
        self.thresh = np.asarray(np.full(len(classes), -np.inf) if thresh is None else thresh, np.float32)
        counts = [np.count_nonzero(np.equal(self.cls, index)) for index in range(len(classes))]
        self.box_counts = np.asarray(counts if box_counts is None else box_counts, np.int64)
        self._check()
        if (np.diff(self.cls) < 0).any():
            order = np.argsort(self.cls, kind="stable")
            for name in _PER_BOX:
                setattr(self, name, getattr(self, name)[order])

    def _check(self) -> None:
        count, num_classes = len(self.score), len(self.classes)
        shapes = {
            "image": (count,),
            "cls": (count,),
            "box": (count, 4),
            "row": (count,),
            "thresh": (num_classes,),
            "box_counts": (num_classes,),
        }
        for name, shape in shapes.items():
            if getattr(self, name).shape != shape:
                raise InputError(f"detections: {name} has shape {getattr(self, name).shape}, expected {shape}")
        for name, limit in (("image", len(self.image_ids)), ("cls", num_classes)):
            indices = getattr(self, name)
            wrong = indices[(indices < 0) | (indices >= limit)]
            if len(wrong):
                raise InputError(f"detections: {name} indices must be in [0, {limit}), found {wrong[0]}")
        if not (np.isfinite(self.score).all() and np.isfinite(self.box).all()):
            raise InputError("detections: scores and boxes must be finite numbers")

    def __len__(self) -> int:
        return len(self.score)

    def __repr__(self) -> str:
        boxes, classes = counted(len(self), "box", "boxes"), counted(len(self.classes), "class", "classes")
        images = counted(len(self.image_ids), "image")
        return f"Detections({boxes} of {classes} in {images}, {suppression_in_words(self.settings)})"

    def _repr_html_(self) -> str:
        """Return boxes and scores of every class, for a notebook."""
        rows = []
        for index, name in enumerate(self.classes):
            of_class = self.of_class(index)
            score = self.score[of_class]
            scores = (
                [f"{value:.3f}" for value in (score.max(), np.median(score), score.min())] if len(score) else [""] * 3
            )
            rows.append([name, f"{len(score):,}", f"{len(np.unique(self.image[of_class])):,}", *scores])
        header = ["class", "boxes", "images", "best score", "median", "lowest"]
        return html_table(repr(self), header, rows, "classes")

    def of_class(self, index: int) -> slice:
        """Return the rows of a class."""
        first, last = np.searchsorted(self.cls, [index, index + 1])
        return slice(int(first), int(last))

    def of_image(self, index: int) -> ImageDetections:
        """Return the detections in an image, best first."""
        rows = np.flatnonzero(self.image == index)
        rows = rows[np.argsort(-self.score[rows], kind="stable")]
        return ImageDetections(self.cls[rows], self.box[rows], self.score[rows])

    def subset(self, image_ids: Sequence[str]) -> Detections:
        """Return the detections in some of the images.

        Args:
            image_ids: identifiers of these images, in the order wanted.

        Raises:
            InputError: an image is none of these.
        """
        number = {image_id: index for index, image_id in enumerate(self.image_ids)}
        unknown = [image_id for image_id in image_ids if image_id not in number]
        if unknown:
            raise InputError(f"the detections are not of image {unknown[0]}; name images that they are of")
        place = np.full(len(self.image_ids), -1)
        place[[number[image_id] for image_id in image_ids]] = np.arange(len(image_ids))
        kept = place[self.image] >= 0
        return Detections(
            tuple(image_ids),
            self.classes,
            image=place[self.image[kept]],
            cls=self.cls[kept],
            box=self.box[kept],
            score=self.score[kept],
            row=self.row[kept],
            thresh=self.thresh,
            settings=self.settings,
        )

    @property
    def fingerprint(self) -> str:
        """16 hex digits that change with the settings, the images, the classes or any detection."""
        arrays = array_digest(*(getattr(self, name) for name in _PER_BOX))
        return fingerprint([self.settings, list(self.image_ids), list(self.classes), arrays])

    def merged(self, earlier: Detections, max_per_image: int, max_per_set: int) -> Detections:
        """Return these detections together with earlier ones of the same detector in the same images.

        Args:
            earlier: detections of other boxes; corrected they may be, not voted or suppressed.
            max_per_image: boxes of a class to keep in one image.
            max_per_set: boxes of a class to keep over all images.

        Returns:
            Detections by class, image and descending score. `settings["also"]` is what made the earlier ones; a box's
            `row` is that of its own feature cache.

        Raises:
            InputError: they are of other images, classes or detectors, or were voted or suppressed.
        """
        also = merging_settings(self.settings, self.image_ids, self.classes, earlier)
        if self.is_suppressed:
            raise InputError("these detections were suppressed; merge before non-maximum suppression")
        both: dict[str, Any] = {
            name: np.concatenate([getattr(earlier, name), getattr(self, name)]) for name in _PER_BOX
        }
        everything = replace(self, **both, box_counts=self.box_counts + earlier.box_counts)
        rows, thresh = everything._best(max_per_image, max_per_set)
        return replace(
            everything,
            **{name: getattr(everything, name)[rows] for name in _PER_BOX},
            thresh=np.maximum(thresh, np.maximum(self.thresh, earlier.thresh)),
            settings={**self.settings, "also": also},
        )

    def _best(self, max_per_image: int, max_per_set: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows of the best boxes of each class, by class, image and descending score, and its thresholds."""
        rows = best_of_groups(self._groups(), self.score, max_per_image)
        thresh = np.full(len(self.classes), -np.inf, np.float32)
        for index in range(len(self.classes)):
            scores = self.score[rows[self.cls[rows] == index]]
            if len(scores) > max_per_set:
                thresh[index] = np.partition(scores, -max_per_set)[-max_per_set]
        return rows[self.score[rows] >= thresh[self.cls[rows]]], thresh

    def after_voting(self, vote_iou: float = paper.VOTE_IOU) -> Detections:
        """Return the detections with every box moved to the mean of those of its class and image that overlap it.

        Its voters add to its score, as in `vote_boxes`. `settings["voting"]` records it, and voting the same way again
        changes nothing.

        Args:
            vote_iou: boxes with at least this IoU vote, as in `vote_boxes`.

        Raises:
            InputError: the boxes were suppressed, so that the neighbours that would vote are gone, or they were voted
                with another IoU.
        """
        settings, recorded = voting_settings(vote_iou), self.settings.get("voting")
        if recorded == settings:
            return self
        if recorded is not None:
            raise InputError(f"the boxes were voted with {recorded}, not {settings}; take detections before box voting")
        if self.is_suppressed:
            raise InputError(
                f"the boxes were {suppression_in_words(self.settings)}, so those that would vote are gone or count "
                "less; take detections before non-maximum suppression"
            )
        box, score = vote_boxes(self.box, self.score, self._groups(), vote_iou)
        return replace(self, box=box, score=score, settings={**self.settings, "voting": settings})

    @property
    def is_suppressed(self) -> bool:
        """Whether they are after non-maximum suppression, or after soft-NMS."""
        return "nms" in self.settings or "soft_nms" in self.settings

    @property
    def soft_nms_sigma(self) -> float | None:
        """Sigma of the soft-NMS that they are after; None where there was none."""
        return self.settings.get("soft_nms", {}).get("sigma")

    def after_soft_nms(self, sigma: float = SIGMA) -> Detections:
        """Return the detections with lower scores for those that overlap better ones, as `soft_nms` gives them.

        `settings["soft_nms"]` records it, and doing the same again changes nothing.

        Args:
            sigma: as in `soft_nms`.

        Raises:
            InputError: the boxes were suppressed, or their scores lowered with another sigma.
        """
        settings = soft_nms_settings(sigma)
        if self.settings.get("soft_nms") == settings:
            return self
        if self.is_suppressed:
            raise InputError(f"the boxes were {suppression_in_words(self.settings)} already; take detections before it")
        score = soft_nms(self.box, self.score, self._groups(), sigma)
        return replace(self, score=score, settings={**self.settings, "soft_nms": settings})

    def after_nms(self, threshold: float = paper.NMS_THRESHOLD) -> Detections:
        """Return the detections that survive non-maximum suppression within each class and image.

        Soft-NMS is a suppression of its own: what had it is returned as it is.

        Args:
            threshold: a box is suppressed when its IoU with a better one is strictly greater.

        Returns:
            Detections by class, image and descending score. `settings["nms"]` is the smallest IoU that they were
            suppressed at, this time or before.

        Source: `imdb_eval_voc.m`, which does this when it writes the VOC results files.
        """
        if not 0 <= threshold <= 1:
            raise InputError(f"the IoU of non-maximum suppression must be in [0, 1], not {threshold}")
        if "soft_nms" in self.settings:
            return self
        rows, recorded = self._survivors(threshold), self.settings.get("nms", threshold)
        # Boxes may have moved since, so a recorded suppression is believed when it would suppress nothing now.
        if recorded < threshold and len(self._survivors(recorded)) == len(self):
            threshold = recorded
        if self.settings.get("nms") == threshold and len(rows) == len(self):
            return self
        survivors = {name: getattr(self, name)[rows] for name in _PER_BOX}
        return replace(self, **survivors, settings={**self.settings, "nms": threshold})

    def _survivors(self, threshold: float) -> np.ndarray:
        """Return the rows that survive non-maximum suppression, by class, image and descending score."""
        group = self._groups()
        order = np.argsort(group, kind="stable")
        groups = np.split(order, np.flatnonzero(np.diff(group[order])) + 1) if len(order) else []
        kept = [rows[nms(self.box[rows], self.score[rows], threshold)] for rows in groups]
        return np.concatenate(kept) if kept else order

    def _groups(self) -> np.ndarray:
        """Return a number for the class and image of every detection, (N,) int64, ascending by class and image."""
        return self.cls.astype(np.int64) * len(self.image_ids) + self.image

    def save(self, path: str | os.PathLike) -> None:
        """Write the detections to an HDF5 file.

        Raises:
            InputError: the file cannot be written; what was there is intact.
        """
        with create_h5(path, KIND, SCHEMA, self.settings) as handle:
            for name in ("image_ids", "classes"):
                handle.create_dataset(name, data=list(getattr(self, name)), dtype=h5py.string_dtype())
            for name in _ARRAYS:
                handle.create_dataset(name, data=getattr(self, name))

    @classmethod
    def load(cls, path: str | os.PathLike) -> Detections:
        """Read detections written by `save`.

        Raises:
            InputError: the file is missing, damaged or does not hold detections.
        """
        with open_h5(path, KIND, SCHEMA) as handle:
            return cls(
                image_ids=tuple(handle["image_ids"].asstr()[:].tolist()),
                classes=tuple(handle["classes"].asstr()[:].tolist()),
                settings=read_settings(handle),
                **{name: handle[name][:] for name in _ARRAYS},
            )


def suppression_in_words(settings: Mapping[str, Any]) -> str:
    """Return how detections were suppressed, of their settings: `suppressed above IoU 0.3`, say."""
    if "soft_nms" in settings:
        return f"suppressed softly (sigma {settings['soft_nms']['sigma']:g})"
    return f"suppressed above IoU {settings['nms']:g}" if "nms" in settings else "not suppressed"


def merging_settings(
    settings: dict[str, Any],
    image_ids: Sequence[str],
    classes: Sequence[str],
    earlier: Detections,
    name: str = "the earlier detections",
) -> dict[str, Any]:
    """Return what detections record of earlier ones that they are merged with, as `settings["also"]`.

    Args:
        settings: those of the new detections.
        image_ids, classes: of the new detections.
        earlier: the earlier ones.
        name: what to call them in a message.

    Raises:
        InputError: the earlier detections are of other images, classes or detectors, or were voted or suppressed.
    """
    digests = [those.get("detector", {}).get("digest") for those in (settings, earlier.settings)]
    for what, ours, theirs in (
        ("images", list(image_ids), list(earlier.image_ids)),
        ("classes", list(classes), list(earlier.classes)),
        ("detectors", *digests),
    ):
        if ours != theirs:
            raise InputError(
                f"{name} cannot be merged with these: the {what} differ ({first_difference(theirs, ours, what)}); take "
                "what the same model found in the same images"
            )
    if earlier.is_suppressed:
        raise InputError(f"{name} were suppressed, so boxes that would vote are gone; take them before suppression")
    if "voting" in earlier.settings:
        raise InputError(f"{name} were voted, and all would vote together now; take them before box voting")
    # The same detector found both.
    return {key: value for key, value in earlier.settings.items() if key != "detector"}
