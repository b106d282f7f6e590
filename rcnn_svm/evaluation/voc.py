"""Average precision as the PASCAL VOC development kit computes it, in both of its protocols.

Detections are evaluated as they are in memory. The original first writes them to text, which rounds scores to
six decimals; only detections whose scores then tie can change places.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from rcnn_svm import paper
from rcnn_svm.boxes import iou_matrix
from rcnn_svm.cache.feature_cache import FeatureCache
from rcnn_svm.data.database import ImageDatabase
from rcnn_svm.detection.detections import Detections
from rcnn_svm.detection.image_set import detect_in_cache
from rcnn_svm.detection.interfaces import RegionScorer
from rcnn_svm.errors import InputError
from rcnn_svm.parameters import plain
from rcnn_svm.words import counted

# MATLAB's 0:0.1:1, as the development kit has them. MATLAB counts the lower half from the beginning and the upper from
# the end: the level called 0.3 is one rounding error above 0.3, and 0.6 and 0.7 are exact, which numpy's are not.
_STEPS = np.arange(paper.RECALL_LEVELS) * 0.1
RECALL_LEVELS = np.where(_STEPS <= 0.5, _STEPS, 1 - _STEPS[::-1])


@dataclass(frozen=True)
class PrecisionRecall:
    """How a detector of one class does when its detections are accepted one by one, best first.

    Attributes:
        name: name of the class.
        num_objects: objects to be found, the difficult ones not counted.
        num_difficult: objects that count neither way.
        scores: (D,) float64, descending.
        recall: (D,) float64; NaN where there is no object to be found.
        precision: (D,) float64; NaN while only difficult objects have been hit.
        ap11: mean of the best precision at recall 0, 0.1, ..., 1 (VOC2007); NaN without objects.
        ap_area: area under the interpolated curve (VOC2010 and later); NaN without objects.
    """

    name: str
    num_objects: int
    num_difficult: int
    scores: np.ndarray
    recall: np.ndarray
    precision: np.ndarray
    ap11: float
    ap_area: float

    @property
    def max_recall(self) -> float:
        """The recall when every detection is accepted; NaN without objects."""
        if not self.num_objects:
            return float("nan")
        return float(self.recall[-1]) if len(self.recall) else 0.0

    @property
    def best_f1_thresh(self) -> float:
        """The threshold above which detections have the best F1 (the highest such); 0 where nothing is hit."""
        precision = np.nan_to_num(self.precision)
        f1 = 2 * precision * self.recall / np.maximum(precision + self.recall, 1e-12)
        if not self.num_objects or not (f1 > 0).any():
            return 0.0
        return float(np.nextafter(np.float32(self.scores[f1.argmax()]), np.float32(-np.inf)))


@dataclass(frozen=True, repr=False)
class VocResult:
    """The evaluation of an image set.

    Attributes:
        image_set: name of the image set.
        num_images: number of its images.
        iou: smallest IoU of a hit.
        nms_threshold: IoU of the non-maximum suppression before the evaluation; None where none is known of.
        classes: one result per class.
        soft_nms_sigma: sigma of the soft-NMS before the evaluation; None where there was none.
    """

    image_set: str
    num_images: int
    iou: float
    nms_threshold: float | None
    classes: tuple[PrecisionRecall, ...]
    soft_nms_sigma: float | None = None

    def __repr__(self) -> str:
        counts = f"{counted(self.num_images, 'image')}, {counted(len(self.classes), 'class', 'classes')}"
        judged = any(result.num_objects for result in self.classes)
        means = f"mAP {100 * self.map11:.1f} 11-point, {100 * self.map_area:.1f} area" if judged else "no AP"
        return f"VocResult({plain(self.image_set)!r}, {counts}, {means})"

    @property
    def without_objects(self) -> tuple[str, ...]:
        """Classes that have no AP because the image set has no object of them; the means leave them out."""
        return tuple(result.name for result in self.classes if not result.num_objects)

    @property
    def best_f1_thresh(self) -> np.ndarray:
        """(K,) float64, the working threshold of every class: see `PrecisionRecall.best_f1_thresh`."""
        return np.array([result.best_f1_thresh for result in self.classes])

    @property
    def map11(self) -> float:
        """Mean AP, 11-point protocol of VOC2007."""
        return self._mean("ap11")

    @property
    def map_area(self) -> float:
        """Mean AP, area under the interpolated curve (VOC2010 and later)."""
        return self._mean("ap_area")

    def _mean(self, name: str) -> float:
        values = [getattr(result, name) for result in self.classes if result.num_objects]
        return float(np.mean(values)) if values else float("nan")


def best_objects(
    det_image: np.ndarray, det_box: np.ndarray, gt_image: np.ndarray, gt_box: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return, for every detection, the object of its image that it overlaps best.

    Args:
        det_image: (D,) int, image index of each detection.
        det_box: (D, 4) float, x1 y1 x2 y2, inclusive pixels.
        gt_image: (G,) int, image index of each object.
        gt_box: (G, 4) float, the same convention.

    Returns:
        Object index (D,) int64, the first of equals, -1 in an image without objects; and their IoU (D,)
        float64.
    """
    objects = np.full(len(det_image), -1, np.int64)
    overlaps = np.zeros(len(det_image))
    for rows, candidates in shared_images(det_image, gt_image):
        iou = iou_matrix(det_box[rows], gt_box[candidates])
        objects[rows] = candidates[iou.argmax(axis=1)]
        overlaps[rows] = iou.max(axis=1)
    return objects, overlaps


def shared_images(det_image: np.ndarray, gt_image: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield (n,) detections and (m,) objects, by their rows, of every image that has both.

    Args:
        det_image: (D,) int, image index of each detection.
        gt_image: (G,) int, image index of each object.
    """
    by_image = np.argsort(det_image, kind="stable")
    images = np.unique(gt_image)
    first = np.searchsorted(det_image[by_image], images, "left")
    last = np.searchsorted(det_image[by_image], images, "right")
    for image, start, stop in zip(images, first, last, strict=True):
        if start < stop:
            yield by_image[start:stop], np.flatnonzero(gt_image == image)


def average_precision_11(recall: np.ndarray, precision: np.ndarray) -> float:
    """Return the mean, over recall levels 0, 0.1, ..., 1, of the best precision at that recall or higher.

    Args:
        recall: (D,) float, never decreasing.
        precision: (D,) float; NaN counts as no detection yet.

    Returns:
        AP in [0, 1]. Where the precision is NaN throughout, this is 0 and the development kit's is NaN.

    Source: `VOCevaldet.m` of VOC2007.
    """
    return float(precision_at_levels(recall, precision).mean())


def precision_at_levels(recall: np.ndarray, precision: np.ndarray) -> np.ndarray:
    """Return the best precision at each recall level of `RECALL_LEVELS` or higher, (11,) float64; 0 beyond the last.

    Args:
        recall, precision: as in `average_precision_11`, which is their mean.
    """
    return _best_from_here(precision)[np.searchsorted(recall, RECALL_LEVELS, "left")]


def average_precision_area(recall: np.ndarray, precision: np.ndarray) -> float:
    """Return the area under the curve of the best precision at each recall or higher.

    Args:
        recall: (D,) float, never decreasing.
        precision: (D,) float; NaN counts as no detection yet.

    Returns:
        AP in [0, 1].

    Source: `VOCap.m` of VOC2010, the original's `xVOCap`.
    """
    steps = np.diff(recall, prepend=0.0)
    return float((steps * _best_from_here(precision)[:-1]).sum())


def _best_from_here(precision: np.ndarray) -> np.ndarray:
    """Return the largest precision at each detection or later, and 0 after the last: (D + 1,)."""
    padded = np.append(np.nan_to_num(precision), 0.0)
    return np.maximum.accumulate(padded[::-1])[::-1]


def judge_detections(
    det_image: np.ndarray,
    det_box: np.ndarray,
    det_score: np.ndarray,
    gt_image: np.ndarray,
    gt_box: np.ndarray,
    gt_difficult: np.ndarray,
    iou: float = paper.HIT_IOU,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return which detections of a class are right and which are wrong.

    Args:
        det_image, det_box, det_score, gt_image, gt_box, gt_difficult, iou: as in `evaluate_class`.

    Returns:
        (D,) int, the detections by falling score; (D,) bool, in that order: hits; (D,) bool: false alarms. One that
        hits a difficult object is neither.
    """
    order = np.argsort(-np.asarray(det_score, np.float64), kind="stable")
    objects, overlaps = best_objects(det_image[order], det_box[order], gt_image, gt_box)
    return order, *judge_matches(objects, overlaps, gt_difficult, iou)


def judge_matches(
    objects: np.ndarray, overlaps: np.ndarray, gt_difficult: np.ndarray, iou: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return which detections of a class are right and which are wrong, by the objects that they overlap best.

    Args:
        objects: (D,) int, by falling score: the object of the class that each overlaps best; -1 for none.
        overlaps: (D,) float, its IoU with it.
        gt_difficult: (G,) bool.
        iou: smallest IoU of a hit, in (0, 1].

    Returns:
        (D,) bool, hits; (D,) bool, false alarms. One that hits a difficult object is neither.
    """
    if not 0 < iou <= 1:
        raise InputError(f"the smallest IoU of a hit must be in (0, 1], not {iou}")
    hit = overlaps >= iou
    ignored = np.zeros(len(objects), bool)
    ignored[hit] = gt_difficult[objects[hit]]
    _, first = np.unique(np.where(hit, objects, -1), return_index=True)
    first_hit = np.zeros(len(objects), bool)
    first_hit[first] = True
    true_positive = hit & first_hit & ~ignored
    return true_positive, ~true_positive & ~ignored


def evaluate_class(
    det_image: np.ndarray,
    det_box: np.ndarray,
    det_score: np.ndarray,
    gt_image: np.ndarray,
    gt_box: np.ndarray,
    gt_difficult: np.ndarray,
    *,
    iou: float = paper.HIT_IOU,
    name: str = "",
) -> PrecisionRecall:
    """Evaluate the detections of one class.

    A detection counts for the object of its image that it overlaps best, found already or not: a hit the
    first time, a false alarm after that, and neither where the object is difficult.

    Args:
        det_image: (D,) int, image index of each detection.
        det_box: (D, 4) float, x1 y1 x2 y2, inclusive pixels.
        det_score: (D,) numbers; among equal scores the first row comes first.
        gt_image: (G,) int, image index of each object.
        gt_box: (G, 4) float, the same convention as `det_box`.
        gt_difficult: (G,) bool.
        iou: smallest IoU of a hit, in (0, 1].
        name: name of the class.

    Source: `VOCevaldet.m`, where an IoU of exactly 0.5 is a hit. py-faster-rcnn, detectron2 and
    mean_average_precision ask for more than 0.5, so where boxes overlap by exactly half, theirs is another AP.
    """
    det_score = np.asarray(det_score, np.float64)  # unsigned numbers have no negative
    order, true_positive, false_positive = judge_detections(
        det_image, det_box, det_score, gt_image, gt_box, gt_difficult, iou
    )
    num_objects = int((~gt_difficult).sum())
    tp, fp = np.cumsum(true_positive), np.cumsum(false_positive)
    with np.errstate(invalid="ignore"):
        recall = tp / num_objects if num_objects else np.full(len(tp), np.nan)
        precision = tp / (tp + fp)
    return PrecisionRecall(
        name=name,
        num_objects=num_objects,
        num_difficult=int(gt_difficult.sum()),
        scores=det_score[order],
        recall=recall,
        precision=precision,
        ap11=average_precision_11(recall, precision) if num_objects else float("nan"),
        ap_area=average_precision_area(recall, precision) if num_objects else float("nan"),
    )


def evaluate_detections(
    detections: Detections,
    database: ImageDatabase,
    *,
    iou: float = paper.HIT_IOU,
    nms_threshold: float | None = paper.NMS_THRESHOLD,
) -> VocResult:
    """Evaluate the detections of an image set, for every class of its database.

    Args:
        detections: the detections; see `align` for how they are matched with the database.
        database: images and ground truth.
        iou: smallest IoU of a hit.
        nms_threshold: IoU above which a box is suppressed by a better one first; None to take the detections
            as they are.

    Raises:
        InputError: an image is in one of the two and not in the other, or the detections lack a class.

    Source: `imdb_eval_voc.m`.
    """
    detections = align(detections, database)
    if nms_threshold is not None:
        detections = detections.after_nms(nms_threshold)
    return evaluate_found(detections, objects_in_database(database), database.name, iou)


@dataclass(frozen=True)
class Objects:
    """The ground truth of an image set.

    Attributes:
        image: (G,) int, indices of images.
        box: (G, 4) float32, x1 y1 x2 y2, 0-based inclusive pixels.
        cls: (G,) int, indices of classes.
        difficult: (G,) bool.
    """

    image: np.ndarray
    box: np.ndarray
    cls: np.ndarray
    difficult: np.ndarray


def objects_in_database(database: ImageDatabase) -> Objects:
    """Return the ground truth of the images of a database."""
    annotations = [database.annotation(index) for index in range(len(database))]
    return Objects(
        image=np.repeat(np.arange(len(database)), [len(annotation.boxes) for annotation in annotations]),
        box=np.concatenate([annotation.boxes for annotation in annotations]),
        cls=np.concatenate([annotation.classes for annotation in annotations]),
        difficult=np.concatenate([annotation.difficult for annotation in annotations]),
    )


def objects_in_cache(cache: FeatureCache, classes: Sequence[str]) -> Objects:
    """Return the ground truth of a cache.

    Args:
        cache: regions of an image set.
        classes: names of some of its classes; `cls` counts these, and objects of others are left out.
    """
    class_of_label = np.full(len(cache.classes) + 1, -1)
    class_of_label[[cache.classes.index(name) + 1 for name in classes]] = np.arange(len(classes))
    parts = []
    for block in cache.blocks():
        rows = np.flatnonzero(class_of_label[block.label] >= 0)
        image = cache.keys(block.first_region + rows)[:, 0]
        parts.append((image, block.boxes[rows], class_of_label[block.label[rows]], block.difficult[rows]))
    return Objects(*map(np.concatenate, zip(*parts, strict=True)))


def evaluate_in_cache(
    cache: FeatureCache,
    detector: RegionScorer,
    *,
    iou: float = paper.HIT_IOU,
    nms_threshold: float = paper.NMS_THRESHOLD,
) -> VocResult:
    """Test a detector on a cache and evaluate it against the cache's own ground truth, for every class of it.

    Args:
        cache: regions, features and ground truth of an image set; it has all classes of the detector.
        detector: scores the proposals.
        iou: smallest IoU of a hit.
        nms_threshold: IoU above which a box is suppressed by a better one first.

    Raises:
        InputError: detector and cache do not belong together, or a score is not finite.

    Source: `rcnn_test.m`, which tests an image set and evaluates it.
    """
    detections = detect_in_cache(cache, detector).after_nms(nms_threshold)
    return evaluate_found(detections, objects_in_cache(cache, detector.classes), cache.name, iou)


def evaluate_found(detections: Detections, objects: Objects, name: str, iou: float) -> VocResult:
    """Evaluate detections against objects that have the same indices of images and classes."""
    results = []
    for index, class_name in enumerate(detections.classes):
        found, wanted = detections.of_class(index), objects.cls == index
        results.append(
            evaluate_class(
                detections.image[found],
                detections.box[found],
                detections.score[found],
                objects.image[wanted],
                objects.box[wanted],
                objects.difficult[wanted],
                iou=iou,
                name=class_name,
            )
        )
    return VocResult(
        name,
        len(detections.image_ids),
        iou,
        detections.settings.get("nms"),
        tuple(results),
        detections.soft_nms_sigma,
    )


def align(detections: Detections, database: ImageDatabase) -> Detections:
    """Return the detections with the image and class indices of a database.

    Images and classes are matched by name. Detections of classes that the database does not have are left
    out; images must be the same.

    Raises:
        InputError: an image is in one of the two only, or the detections lack a class of the database.
    """
    detected, known = set(detections.image_ids), {name: i for i, name in enumerate(database.image_ids)}
    untested = next((name for name in database.image_ids if name not in detected), None)
    if untested is not None:
        raise InputError(
            f"image {untested} of {database.name} was not tested: it is not in the detections "
            f"({len(detected)} images); test all images, or name those tested with --ids"
        )
    unknown = next((name for name in detections.image_ids if name not in known), None)
    if unknown is not None:
        raise InputError(
            f"the detections have image {unknown}, which is not in {database.name} ({len(known)} images); "
            "give the --split and --ids that were tested"
        )
    missing = [name for name in database.classes if name not in detections.classes]
    if missing:
        raise InputError(
            f"the detections do not cover class {plain(missing[0])!r} of {database.name} ({len(missing)} of its "
            f"{len(database.classes)} classes are missing); name the classes to evaluate with --classes"
        )
    wanted = [detections.classes.index(name) for name in database.classes]
    new_class = np.full(len(detections.classes), -1)
    new_class[wanted] = np.arange(len(wanted))
    new_image = np.array([known[name] for name in detections.image_ids])
    keep = new_class[detections.cls] >= 0
    return Detections(
        image_ids=database.image_ids,
        classes=database.classes,
        image=new_image[detections.image[keep]],
        cls=new_class[detections.cls[keep]],
        box=detections.box[keep],
        score=detections.score[keep],
        row=detections.row[keep],
        thresh=detections.thresh[wanted],
        box_counts=detections.box_counts[wanted],
        settings=detections.settings,
    )
