"""The regions of one image, in the row order that half of every key depends on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rcnn_svm.boxes import class_overlaps
from rcnn_svm.data.database import Annotation
from rcnn_svm.errors import InputError
from rcnn_svm.parameters import plain
from rcnn_svm.words import counted


@dataclass(repr=False)
class RegionSet:
    """All regions of one image: ground-truth rows first, in annotation order, then the proposals.

    Attributes:
        image_id: identifier of the image.
        image_size: (height, width), pixels.
        boxes: (N, 4) float32, x1 y1 x2 y2, 0-based inclusive pixels.
        gt: (N,) bool, the row is a ground-truth object, `difficult` ones included.
        label: (N,) int32, class index + 1 of a ground-truth row, 0 for every proposal, even for one
            identical to an object.
        difficult: (N,) bool, the row is a ground-truth object marked difficult.
        overlap: (N, K) float32, largest IoU with any ground-truth box of each class.
        features: (N, D) float32, or None before they are computed.
    """

    image_id: str
    image_size: tuple[int, int]
    boxes: np.ndarray
    gt: np.ndarray
    label: np.ndarray
    difficult: np.ndarray
    overlap: np.ndarray
    features: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.boxes)

    @property
    def computed_features(self) -> np.ndarray:
        """The features, (N, D) float32.

        Raises:
            InputError: they are not computed yet.
        """
        if self.features is None:
            raise InputError(f"the regions of image {self.image_id} have no features yet; extract them first")
        return self.features

    def __repr__(self) -> str:
        height, width = self.image_size
        objects = int(np.sum(self.gt))
        counts = f"{counted(objects, 'object')}, {counted(len(self) - objects, 'proposal')}"
        features = "no features" if self.features is None else f"{self.features.shape[1]}-d features"
        return f"RegionSet({plain(self.image_id)!r}, {width} x {height} pixels, {counts}, {features})"


def keys_of(regions: np.ndarray, image_start: np.ndarray) -> np.ndarray:
    """Return the keys of regions that are counted over all images.

    Args:
        regions: (n,) int, numbers of regions, in any order.
        image_start: (I + 1,) int; regions `image_start[i]:image_start[i + 1]` belong to image i.

    Returns:
        (n, 2) int64, image and row within the image.
    """
    image = np.searchsorted(image_start, regions, side="right") - 1
    return np.stack([image, regions - image_start[image]], axis=1)


def build_regions(image_id: str, annotation: Annotation, proposals: np.ndarray, num_classes: int) -> RegionSet:
    """Return the regions of an image, without features.

    Args:
        image_id: identifier of the image.
        annotation: ground truth of the image.
        proposals: (P, 4) float32, x1 y1 x2 y2, 0-based inclusive pixels.
        num_classes: K.

    Source: `roidb_from_voc.m` (`attach_proposals`).
    """
    num_gt, num_proposals = len(annotation.boxes), len(proposals)
    boxes = np.concatenate([annotation.boxes, np.asarray(proposals, np.float32).reshape(-1, 4)])
    none = np.zeros(num_proposals, bool)
    return RegionSet(
        image_id=image_id,
        image_size=annotation.image_size,
        boxes=boxes.astype(np.float32, copy=False),
        gt=np.concatenate([np.ones(num_gt, bool), none]),
        label=np.concatenate([annotation.classes + 1, np.zeros(num_proposals)]).astype(np.int32),
        difficult=np.concatenate([annotation.difficult, none]),
        overlap=class_overlaps(boxes, annotation.boxes, annotation.classes, num_classes),
    )
