"""What a detector gets wrong: why every false positive is one, and which objects it misses.

Two published lists of reasons, Hoiem's and TIDE's, side by side; both ask which object a box is on, of its own class or
of another. What each reason costs in average precision is in `tide.py`, what remains above a working threshold in
`at_threshold.py`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from rcnn_svm import paper
from rcnn_svm.boxes import iou_matrix
from rcnn_svm.data.database import ImageDatabase
from rcnn_svm.detection.detections import Detections
from rcnn_svm.evaluation.voc import Objects, align, judge_matches, objects_in_database, shared_images

# Classes of VOC that are easily taken for each other: Hoiem et al., 2012, section 2.
SIMILAR = (
    frozenset({"aeroplane", "bicycle", "boat", "bus", "car", "motorbike", "train"}),
    frozenset({"bird", "cat", "cow", "dog", "horse", "person", "sheep"}),
    frozenset({"chair", "diningtable", "sofa"}),
    frozenset({"aeroplane", "bird"}),
)


class HoiemKind(IntEnum):
    """What a detection is, by Hoiem's reasons; from `LOCALISATION` on it is a false positive.

    Source: Hoiem, Chodpathumwan, Dai, "Diagnosing error in object detectors", ECCV 2012, section 2.
    """

    RIGHT = 0
    IGNORED = 1  # it hits a difficult object
    LOCALISATION = 2  # an IoU of 0.1 or more with an object of its class: badly placed, or the second one there
    SIMILAR = 3  # the same with an object of a similar class
    OTHER = 4  # with an object of any other class
    BACKGROUND = 5


class TideKind(IntEnum):
    """What a detection is, by TIDE's reasons; from `CLS` on it is a false positive.

    Source: Bolya, Foley, Hays, Hoffman, "TIDE: a general toolbox for identifying object detection errors", ECCV 2020,
    arXiv 2008.08115, section 2.2. Where several fit, the paper is silent; as in its code, LOC goes before CLS, CLS
    before DUPE.
    """

    RIGHT = 0
    IGNORED = 1  # it hits a difficult object
    CLS = 2  # well placed on an object of another class
    LOC = 3  # badly placed on an object of its class: an IoU of 0.1 or more, not enough for a hit
    BOTH = 4  # badly placed on an object of another class
    DUPE = 5  # well placed on an object of its class that was found before
    BKG = 6  # an IoU below 0.1 with every object


@dataclass(frozen=True)
class Reasons:
    """Why every detection is right or wrong.

    Attributes:
        kind: (N,) int8, a `HoiemKind` or a `TideKind`.
        object: (N,) int64, the object that makes it so, by its place in the ground truth; -1 for background.
        iou: (N,) float64, the IoU with that object; 0 for background.
    """

    kind: np.ndarray
    object: np.ndarray
    iou: np.ndarray


@dataclass(frozen=True)
class DetectionErrors:
    """What a detector gets wrong in an image set.

    Attributes:
        detections: the N detections that were judged, with the images and classes of the ground truth.
        objects: the G objects of all classes, the difficult ones too.
        iou: smallest IoU of a hit.
        hoiem, tide: why every detection is right or wrong.
        own_iou: (N,) float64, IoU with the nearest object of the same class, 0 where the image has none.
        other: (N,) int64, the object of any other class that a detection overlaps best; -1 where the image has none.
        other_iou: (N,) float64, IoU with it.
        found_by: (G,) int64, the detection that hits an object first; -1 where none does.
        nearest: (G,) int64, the detection of its class that overlaps an object best; -1 where the image has none.
        nearest_iou: (G,) float64, IoU with it.
    """

    detections: Detections
    objects: Objects
    iou: float
    hoiem: Reasons
    tide: Reasons
    own_iou: np.ndarray
    other: np.ndarray
    other_iou: np.ndarray
    found_by: np.ndarray
    nearest: np.ndarray
    nearest_iou: np.ndarray

    @property
    def right(self) -> np.ndarray:
        """(N,) bool, which detections are hits."""
        return self.tide.kind == TideKind.RIGHT

    @property
    def wrong(self) -> np.ndarray:
        """(N,) bool, which are false positives; one that hits a difficult object is neither."""
        return self.tide.kind > TideKind.IGNORED

    def missed(self, thresh: np.ndarray | float = -np.inf) -> np.ndarray:
        """Return which objects no detection hits, (G,) bool; a difficult one is never missed.

        Args:
            thresh: only detections with a score above this count; one number or (K,), one per class.
        """
        found = self.found_by >= 0
        thresh = np.broadcast_to(thresh, len(self.detections.classes))[self.objects.cls[found]]
        found[found] = self.detections.score[self.found_by[found]] > thresh
        return ~found & ~self.objects.difficult


def detection_errors(
    detections: Detections,
    database: ImageDatabase,
    *,
    iou: float = paper.HIT_IOU,
    nms_threshold: float | None = paper.NMS_THRESHOLD,
    similar: Sequence[Collection[str]] = SIMILAR,
) -> DetectionErrors:
    """Return why every detection is right or wrong, and which objects are found.

    What is a hit is decided as in `evaluate_detections`. A false positive on a difficult object has the reason that it
    would have on any other object; TIDE's code leaves these objects out, so that it would be background.

    Args:
        detections: the detections; see `align` for how they are matched with the database.
        database: images and ground truth.
        iou: smallest IoU of a hit.
        nms_threshold: IoU above which a box is suppressed by a better one first; None to take the detections as they
            are.
        similar: sets of names of classes that resemble each other; names that the database does not have are ignored.

    Raises:
        InputError: an image is in one of the two and not in the other, the detections lack a class, or `iou` is not in
            (0, 1].
    """
    detections = align(detections, database)
    if nms_threshold is not None:
        detections = detections.after_nms(nms_threshold)
    objects = objects_in_database(database)
    alike = similar_classes(database.classes, similar)
    same = np.eye(len(database.classes), dtype=bool)
    nearest, overlap, of_object, of_object_iou = _nearest(detections, objects, np.stack([same, alike, ~same]))
    right, wrong, found_by = _judge(detections, objects, nearest[0], overlap[0], iou)
    return DetectionErrors(
        detections=detections,
        objects=objects,
        iou=iou,
        hoiem=_hoiem(right, wrong, nearest, overlap),
        tide=_tide(right, wrong, nearest, overlap, iou),
        own_iou=overlap[0],
        other=nearest[2],
        other_iou=overlap[2],
        found_by=found_by,
        nearest=of_object,
        nearest_iou=of_object_iou,
    )


def similar_classes(classes: Sequence[str], similar: Sequence[Collection[str]] = SIMILAR) -> np.ndarray:
    """Return which pairs of classes are in one of the sets together, (K, K) bool; no class is similar to itself."""
    member = np.array([[name in names for names in similar] for name in classes], int).reshape(len(classes), -1)
    return (member @ member.T > 0) & ~np.eye(len(classes), dtype=bool)


def _nearest(
    detections: Detections, objects: Objects, related: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return what overlaps what best.

    Args:
        detections, objects: N and G of them.
        related: (R, K, K) bool, for a class of a detection and one of an object whether the object counts; first the
            relation of a class to itself.

    Returns:
        (R, N) int64 and float64, the object of a related class that a detection overlaps best, -1 where there is none,
        and their IoU; (G,) int64 and float64, the detection of its class that overlaps an object best, and their IoU.
        Of equals the first.
    """
    nearest = np.full((len(related), len(detections)), -1, np.int64)
    overlap = np.zeros(nearest.shape)
    of_object, of_object_iou = np.full(len(objects.cls), -1, np.int64), np.zeros(len(objects.cls))
    for rows, candidates in shared_images(detections.image, objects.image):
        iou = iou_matrix(detections.box[rows], objects.box[candidates])
        counts = related[:, detections.cls[rows]][:, :, objects.cls[candidates]]
        among = np.where(counts, iou, -1)
        best, largest = among.argmax(axis=2), among.max(axis=2)
        nearest[:, rows] = np.where(largest >= 0, candidates[best], -1)
        overlap[:, rows] = np.maximum(largest, 0)
        best, largest = among[0].argmax(axis=0), among[0].max(axis=0)
        of_object[candidates] = np.where(largest >= 0, rows[best], -1)
        of_object_iou[candidates] = np.maximum(largest, 0)
    return nearest, overlap, of_object, of_object_iou


def _judge(
    detections: Detections, objects: Objects, nearest: np.ndarray, overlap: np.ndarray, iou: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return hits, (N,) bool, false positives, (N,) bool, and the detection that hits every object, (G,) int64 or -1.

    Args:
        detections, objects: N and G of them.
        nearest, overlap: (N,), the object of its class that every detection overlaps best, and their IoU.
        iou: smallest IoU of a hit.
    """
    right, wrong = np.zeros(len(detections), bool), np.zeros(len(detections), bool)
    found_by = np.full(len(objects.cls), -1, np.int64)
    for index in range(len(detections.classes)):
        rows = falling(detections, index)
        right[rows], wrong[rows] = judge_matches(nearest[rows], overlap[rows], objects.difficult, iou)
    found_by[nearest[right]] = np.flatnonzero(right)
    return right, wrong, found_by


def falling(detections: Detections, index: int) -> np.ndarray:
    """Return the rows of a class by falling score, (n,) int64; of equals the first comes first."""
    rows = detections.of_class(index)
    return rows.start + np.argsort(-detections.score[rows].astype(np.float64), kind="stable")


def _hoiem(right: np.ndarray, wrong: np.ndarray, nearest: np.ndarray, overlap: np.ndarray) -> Reasons:
    """Return Hoiem's reasons, given the nearest object of the own, of a similar and of any other class, (3, N)."""
    kinds = (HoiemKind.LOCALISATION, HoiemKind.SIMILAR, HoiemKind.OTHER)
    return _reasons(right, wrong, nearest, overlap, kinds, overlap >= paper.BACKGROUND_IOU, HoiemKind.BACKGROUND)


def _tide(right: np.ndarray, wrong: np.ndarray, nearest: np.ndarray, overlap: np.ndarray, iou: float) -> Reasons:
    """Return TIDE's reasons, given the nearest object of the own, of a similar and of any other class, (3, N)."""
    own, other = overlap[0], overlap[2]
    fits = [
        (own >= paper.BACKGROUND_IOU) & (own < iou),
        other >= iou,
        own >= iou,
        other >= paper.BACKGROUND_IOU,
    ]
    kinds = (TideKind.LOC, TideKind.CLS, TideKind.DUPE, TideKind.BOTH)
    which = [0, 2, 0, 2]
    return _reasons(right, wrong, nearest[which], overlap[which], kinds, np.stack(fits), TideKind.BKG)


def _reasons(
    right: np.ndarray,
    wrong: np.ndarray,
    nearest: np.ndarray,
    overlap: np.ndarray,
    kinds: Sequence[int],
    fits: np.ndarray,
    background: int,
) -> Reasons:
    """Return of every false positive the first kind that fits it.

    Args:
        right, wrong: (N,) bool.
        nearest, overlap: (R, N), the object that each kind is about, and the IoU with it; the first is of the class.
        kinds: R of them.
        fits: (R, N) bool.
        background: the kind where none fits.
    """
    first, row = fits.argmax(axis=0), np.arange(len(right))
    on_object = np.where(wrong, fits.any(axis=0), True)
    first[~wrong] = 0
    kind = np.where(on_object, np.array(kinds)[first], background)
    kind[right], kind[~right & ~wrong] = HoiemKind.RIGHT, HoiemKind.IGNORED
    return Reasons(
        kind=kind.astype(np.int8),
        object=np.where(on_object, nearest[first, row], -1),
        iou=np.where(on_object, overlap[first, row], 0),
    )
