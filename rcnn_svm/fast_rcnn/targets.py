"""The targets that every RoI of an image is trained towards: its object's class, and the way to its object's box."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from rcnn_svm import paper
from rcnn_svm.boxes import box_deltas, iou_matrix
from rcnn_svm.cache.regions import RegionSet


@dataclass(frozen=True)
class RoITargets:
    """The RoIs of an image, each with the object that it overlaps best.

    Attributes:
        boxes: (R, 4) float32, x1 y1 x2 y2, 0-based inclusive pixels.
        max_overlaps: (R,) float32, the largest IoU with an object.
        max_classes: (R,) int64, the class of that object, from 1; 0 in an image without objects.
        regression_targets: (R, 4) float32, dx dy dw dh from the RoI to that object, divided by `paper.BOX_STDS`.
    """

    boxes: Tensor
    max_overlaps: Tensor
    max_classes: Tensor
    regression_targets: Tensor

    def to(self, device: torch.device) -> RoITargets:
        """Return the same on a device."""
        return RoITargets(*(getattr(self, name).to(device) for name in self.__dataclass_fields__))


def roi_targets(boxes: np.ndarray, objects: np.ndarray, classes: np.ndarray) -> RoITargets:
    """Return the targets of an image's RoIs, on the CPU.

    Args:
        boxes: (R, 4) float32, x1 y1 x2 y2, 0-based inclusive pixels; the objects' own are RoIs too.
        objects: (M, 4) float32, the same convention.
        classes: (M,) int, their classes, from 1.

    Source: Fast R-CNN section 2.3; `roidb.py` of its code, which leaves out objects marked difficult. Here they are
    objects as for the SVMs, so that all methods learn from the same.
    """
    count = len(boxes)
    overlaps, best_classes = np.zeros(count, np.float32), np.zeros(count, np.int64)
    targets = np.zeros((count, 4), np.float32)
    if len(objects):
        iou = iou_matrix(boxes, objects)
        best = iou.argmax(axis=1)
        overlaps = iou.max(axis=1).astype(np.float32)
        best_classes = np.asarray(classes, np.int64)[best]
        targets = (box_deltas(boxes, objects[best]) / paper.BOX_STDS).astype(np.float32)
    arrays = (np.array(boxes, np.float32), overlaps, best_classes, targets)
    return RoITargets(*(torch.from_numpy(array) for array in arrays))


def region_targets(regions: RegionSet) -> RoITargets:
    """Return the targets of all regions of an image."""
    return roi_targets(regions.boxes, regions.boxes[regions.gt], regions.label[regions.gt])
