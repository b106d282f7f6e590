"""The targets that every RoI of an image is trained towards: its object's class, and the way to its object's box."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from rcnn_svm import paper
from rcnn_svm.boxes import box_deltas, iou_matrix
from rcnn_svm.cache.blocks import Block
from rcnn_svm.cache.regions import RegionSet

# How box targets are normalised: divided by `paper.BOX_STDS`, or by mean and standard deviation of every class.
FIXED, _ = BOX_TARGETS = ("fixed", "per-class")
# A smaller spread is rounding: all RoIs of the class are off by as much.
SMALLEST_STD = 1e-6


@dataclass(frozen=True)
class RoITargets:
    """The RoIs of an image, each with the object that it overlaps best.

    Attributes:
        boxes: (R, 4) float32, x1 y1 x2 y2, 0-based inclusive pixels.
        max_overlaps: (R,) float32, the largest IoU with an object.
        max_classes: (R,) int64, the class of that object, from 1; 0 in an image without objects.
        regression_targets: (R, 4) float32, dx dy dw dh from the RoI to that object, divided by `paper.BOX_STDS`, or
            normalised by class.
    """

    boxes: Tensor
    max_overlaps: Tensor
    max_classes: Tensor
    regression_targets: Tensor

    def to(self, device: torch.device) -> RoITargets:
        """Return the same on a device."""
        return RoITargets(*(getattr(self, name).to(device) for name in self.__dataclass_fields__))


@dataclass(frozen=True)
class BoxScale:
    """Mean and standard deviation of the box targets of every class; targets are learnt as (target - mean) / std.

    Attributes:
        means, stds: (K + 1, 4) float64, of dx dy dw dh, by label: background, which has no targets, first.
    """

    means: np.ndarray
    stds: np.ndarray

    @classmethod
    def of_images(cls, images: Iterable[RoITargets], num_classes: int) -> BoxScale:
        """Measure the targets of all foreground RoIs of some images.

        Args:
            images: their targets, made with the scale `plain`.
            num_classes: K.

        Source: Fast R-CNN section 2.3, "We normalize the ground-truth regression targets v_i to have zero mean and
        unit variance"; `add_bbox_regression_targets` of its code, class by class over RoIs of IoU 0.5 or more, objects
        included. It divides by 0 where no two RoIs of a class differ in a coordinate, and that of a class without RoIs;
        here these keep `paper.BOX_STDS`.
        """
        counts = np.zeros((num_classes + 1, 1))
        sums, squares = np.zeros((num_classes + 1, 4)), np.zeros((num_classes + 1, 4))
        for image in images:
            rows = image.max_overlaps >= paper.FG_THRESH
            label, target = image.max_classes[rows].numpy(), image.regression_targets[rows].numpy().astype(np.float64)
            np.add.at(counts, label, 1)
            np.add.at(sums, label, target)
            np.add.at(squares, label, target**2)
        means = sums / np.maximum(counts, 1)
        stds = np.sqrt(np.maximum(squares / np.maximum(counts, 1) - means**2, 0))
        return cls(means, np.where(stds > SMALLEST_STD, stds, paper.BOX_STDS))

    @classmethod
    def plain(cls, num_classes: int) -> BoxScale:
        """Return the scale that leaves targets of K classes as they are."""
        return cls(np.zeros((num_classes + 1, 4)), np.ones((num_classes + 1, 4)))

    def fold_into(self, layer: torch.nn.Linear) -> None:
        """Make a layer that predicts normalised dx dy dw dh of every class, background first, predict plain ones.

        Source: `snapshot` of Fast R-CNN's `train.py`, which unnormalises the weights before it writes them.
        """
        means, stds = (torch.from_numpy(array.reshape(-1)).to(layer.weight) for array in (self.means, self.stds))
        with torch.no_grad():
            layer.weight.mul_(stds[:, None])
            layer.bias.mul_(stds).add_(means)


def roi_targets(
    boxes: np.ndarray, objects: np.ndarray, classes: np.ndarray, scale: BoxScale | None = None
) -> RoITargets:
    """Return the targets of an image's RoIs, on the CPU.

    Args:
        boxes: (R, 4) float32, x1 y1 x2 y2, 0-based inclusive pixels; the objects' own are RoIs too.
        objects: (M, 4) float32, the same convention.
        classes: (M,) int, their classes, from 1.
        scale: normalises the box targets by class; divided by `paper.BOX_STDS` where None, as py-faster-rcnn does.

    Source: Fast R-CNN section 2.3; `roidb.py` of its code, where objects marked difficult are objects too.
    py-faster-rcnn leaves them out.
    """
    count = len(boxes)
    overlaps, best_classes = np.zeros(count, np.float32), np.zeros(count, np.int64)
    targets = np.zeros((count, 4), np.float32)
    if len(objects):
        iou = iou_matrix(boxes, objects)
        best = iou.argmax(axis=1)
        overlaps = iou.max(axis=1).astype(np.float32)
        best_classes = np.asarray(classes, np.int64)[best]
        deltas = box_deltas(boxes, objects[best])
        if scale is None:
            targets = (deltas / paper.BOX_STDS).astype(np.float32)
        else:
            targets = ((deltas - scale.means[best_classes]) / scale.stds[best_classes]).astype(np.float32)
    arrays = (np.array(boxes, np.float32), overlaps, best_classes, targets)
    return RoITargets(*(torch.from_numpy(array) for array in arrays))


def region_targets(regions: RegionSet | Block, scale: BoxScale | None = None) -> RoITargets:
    """Return the targets of all regions of an image, a set or a block of one image; `scale` as in `roi_targets`."""
    return roi_targets(regions.boxes, regions.boxes[regions.gt], regions.label[regions.gt], scale)
