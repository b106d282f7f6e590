"""Average precision and recall as COCO defines them, computed by pycocotools.

pycocotools is COCO's own code; it needs nothing but numpy, and its wheels serve every Python from 3.12 on.
"""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass

import numpy as np

from rcnn_svm import paper
from rcnn_svm.data.database import Annotation, ImageDatabase
from rcnn_svm.detection.detections import Detections
from rcnn_svm.errors import InputError
from rcnn_svm.evaluation.voc import align
from rcnn_svm.progress import progress_bar

# In the order of pycocotools' summary.
METRICS = (
    *("AP", "AP50", "AP75", "AP small", "AP medium", "AP large"),
    *("AR1", "AR10", "AR100", "AR small", "AR medium", "AR large"),
)


@dataclass(frozen=True)
class CocoResult:
    """The evaluation of an image set in COCO's protocol.

    Attributes:
        image_set: name of the image set.
        num_images: number of its images.
        nms_threshold: IoU of the non-maximum suppression before the evaluation; None where none is known of.
        classes: K class names.
        num_objects: (K,) int64, objects to be found, the difficult ones not counted.
        num_difficult: (K,) int64, objects that count neither way.
        num_detections: (K,) int64.
        values: (K, 12) float64, one column for each of METRICS; NaN where a class has no object of that size.
        soft_nms_sigma: sigma of the soft-NMS before the evaluation; None where there was none.
    """

    image_set: str
    num_images: int
    nms_threshold: float | None
    classes: tuple[str, ...]
    num_objects: np.ndarray
    num_difficult: np.ndarray
    num_detections: np.ndarray
    values: np.ndarray
    soft_nms_sigma: float | None = None

    @property
    def means(self) -> np.ndarray:
        """(12,) float64, means over the classes that have a value; NaN where none has."""
        known = ~np.isnan(self.values)
        totals = np.where(known, self.values, 0).sum(axis=0)
        return np.divide(totals, known.sum(axis=0), out=np.full(len(METRICS), np.nan), where=known.any(axis=0))


def evaluate_coco(
    detections: Detections, database: ImageDatabase, *, nms_threshold: float | None = paper.NMS_THRESHOLD
) -> CocoResult:
    """Evaluate the detections of an image set in COCO's protocol.

    One class is evaluated after the other, which gives the same values as all at once and bounds the memory.
    A difficult object becomes a crowd: a detection of its class inside it (by the share of the detection's
    area) counts neither way. The area that makes an object small (below 32 x 32 pixels), medium or large (above
    96 x 96) is that of its box; COCO takes that of its outline.

    Args:
        detections: the detections; see `align` for how they are matched with the database.
        database: images and ground truth, from any source.
        nms_threshold: IoU above which a box is suppressed by a better one first; None to take the detections
            as they are.

    Raises:
        InputError: pycocotools is not installed, an image is in one of the two and not in the other, or the
            detections lack a class.

    Source: `COCOeval` of pycocotools, with its default parameters.
    """
    _require_pycocotools()
    detections = align(detections, database)
    if nms_threshold is not None:
        detections = detections.after_nms(nms_threshold)
    annotations = [database.annotation(index) for index in range(len(database))]
    of_classes, objects, difficult = [], [], []
    with progress_bar(len(database.classes), "evaluate", "class") as progress:
        for index in range(len(database.classes)):
            truth = _ground_truth(annotations, index)
            of_classes.append(_evaluate_class(len(database), truth, detections, index))
            difficult.append(sum(entry["iscrowd"] for entry in truth))
            objects.append(len(truth) - difficult[-1])
            progress.update()
    values = np.array(of_classes, np.float64)
    return CocoResult(
        image_set=database.name,
        num_images=len(database),
        nms_threshold=detections.settings.get("nms"),
        classes=database.classes,
        num_objects=np.array(objects),
        num_difficult=np.array(difficult),
        num_detections=np.bincount(detections.cls, minlength=len(database.classes)),
        values=np.where(values < 0, np.nan, values),  # pycocotools says -1 where there is nothing to find
        soft_nms_sigma=detections.soft_nms_sigma,
    )


def _require_pycocotools() -> None:
    try:
        import pycocotools.cocoeval  # noqa: F401
    except ImportError as error:
        raise InputError(
            "the COCO protocol needs pycocotools, which is not installed; install it with: pip install 'rcnn-svm[coco]'"
        ) from error


def _ground_truth(annotations: list[Annotation], index: int) -> list[dict]:
    """Return the objects of a class in COCO's format."""
    entries: list[dict] = []
    for image, annotation in enumerate(annotations):
        of_class = annotation.classes == index
        crowd = annotation.difficult[of_class].astype(int).tolist()
        for entry, flag in zip(_entries(annotation.boxes[of_class], image, len(entries)), crowd, strict=True):
            entries.append({**entry, "iscrowd": flag})
    return entries


def _entries(boxes: np.ndarray, images: np.ndarray | int, first: int = 0) -> list[dict]:
    """Return inclusive boxes of one class as COCO's annotations, numbered after `first`."""
    boxes = boxes.astype(np.float64)
    areas = np.hstack([boxes[:, :2], boxes[:, 2:] - boxes[:, :2] + 1])
    columns = (np.broadcast_to(images, len(boxes)).tolist(), areas.tolist(), areas[:, 2:].prod(axis=1).tolist())
    # Ids begin at 1, since pycocotools takes 0 for no match.
    return [
        {"id": first + number, "image_id": image, "category_id": 1, "bbox": bbox, "area": area}
        for number, (image, bbox, area) in enumerate(zip(*columns, strict=True), 1)
    ]


def _evaluate_class(num_images: int, truth: list[dict], detections: Detections, index: int) -> np.ndarray:
    """Return the METRICS of a class, -1 where there is nothing to find."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    rows = detections.of_class(index)
    scores = detections.score[rows].astype(np.float64).tolist()
    boxes = _entries(detections.box[rows], detections.image[rows])
    found = [{**entry, "score": score, "iscrowd": 0} for entry, score in zip(boxes, scores, strict=True)]
    with contextlib.redirect_stdout(io.StringIO()):  # it prints every step
        sides = []
        for entries in (truth, found):
            sides.append(COCO())
            images = [{"id": image} for image in range(num_images)]
            sides[-1].dataset = {"images": images, "annotations": entries, "categories": [{"id": 1}]}
            sides[-1].createIndex()
        evaluation = COCOeval(*sides, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats
