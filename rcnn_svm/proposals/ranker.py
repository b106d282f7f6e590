"""Proposals in an order that is learnt from boxes: windows all over an image, moved and ranked in a few stages.

Every stage sees a box as `box_features` describes it and tells how well it fits the nearest object, of whatever class,
and where that object's borders are. The best boxes move there, and the next stage judges what became of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from rcnn_svm.artefacts.files import array_digest, fingerprint
from rcnn_svm.artefacts.model_file import Model
from rcnn_svm.boxes import apply_box_deltas, clip_boxes, nms
from rcnn_svm.errors import InputError
from rcnn_svm.proposals.box_features import RING, box_features
from rcnn_svm.proposals.ranking import spread_order
from rcnn_svm.proposals.sliding_window import SlidingWindow

if TYPE_CHECKING:
    import h5py

WINDOWS = SlidingWindow(scales=(0.12, 0.2, 0.33, 0.55, 0.9, 1.3), aspect_ratios=(0.4, 1.0, 2.5), stride=0.3)
STAGES = 3
# After the first stage and the second: how many boxes stay, chosen by non-maximum suppression at 0.6.
KEPT = (600, 400)
MOVED_NMS = 0.6
# Boxes that suppression looks at: the best of a stage.
LOOKED_AT = 2000
# In the last order, boxes that overlap a better one by more than this go behind the others.
ORDER_NMS = 0.7
# What a stage tells of a box: the IoU that is expected, and dx dy dw dh.
OUTPUTS = 5


@dataclass(frozen=True, repr=False)
class ProposalRanker(Model):
    """Makes the proposals of an image from a network's maps of it: S stages of one hidden layer each.

    Attributes:
        hidden_W: (S, D, H) float32, weights of the hidden layers, on the features of boxes; a ReLU follows.
        hidden_B: (S, H) float32, biases.
        W: (S, H, 5) float32, weights of what a stage tells: expected IoU, dx dy dw dh.
        B: (S, 5) float32, biases.
        maps: settings of the `ImageMaps` that it was trained on.
        training: settings of the training and what it was trained on.
        classes: the one class that it knows.
    """

    KIND: ClassVar[str] = "proposal ranker"
    ARRAYS: ClassVar[tuple[str, ...]] = ("hidden_W", "hidden_B", "W", "B")

    hidden_W: np.ndarray
    hidden_B: np.ndarray
    W: np.ndarray
    B: np.ndarray
    maps: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    classes: tuple[str, ...] = ("object",)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """As in `Model`."""
        stages, hidden = len(self.hidden_W), self.hidden_W.shape[-1]
        return {
            "hidden_W": (stages, self.hidden_W.shape[1], hidden),
            "hidden_B": (stages, hidden),
            "W": (stages, hidden, OUTPUTS),
            "B": (stages, OUTPUTS),
        }

    def settings(self) -> dict[str, Any]:
        """As in `Model`."""
        return {"classes": list(self.classes), "maps": self.maps, "training": self.training}

    @classmethod
    def _restored(cls, settings: dict[str, Any], datasets: Mapping[str, h5py.Dataset], **more: Any) -> ProposalRanker:
        arrays = {name: datasets[name][...] for name in cls.ARRAYS}
        if arrays["hidden_W"].ndim != 3 or not isinstance(settings["maps"], dict):
            raise ValueError("no stages of weights, or no maps that they are for")
        return cls(**arrays, maps=settings["maps"], training=settings["training"], **more)

    @cached_property
    def digest(self) -> str:
        """16 hex digits that change with anything that decides a proposal."""
        constants = [WINDOWS.settings, KEPT, MOVED_NMS, LOOKED_AT, ORDER_NMS, RING]
        arrays = array_digest(*(getattr(self, name) for name in self.ARRAYS))
        return fingerprint([self.KIND, self.maps, constants, arrays])

    def judge(
        self, stage: int, maps: Sequence[np.ndarray], boxes: np.ndarray, image_size: tuple[int, int]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return what a stage tells of boxes.

        Args:
            stage: number of the stage.
            maps: of the whole image, (C, H, W) float32 each, as `ImageMaps` makes them.
            boxes: (N, 4) float, x1 y1 x2 y2, 0-based inclusive pixels.
            image_size: (height, width), pixels.

        Returns:
            (N,) float32, the IoU with the nearest object that is expected; (N, 4) float32, dx dy dw dh to that object.

        Raises:
            InputError: the maps have other channels than those of the training.
        """
        features = box_features(maps, boxes, image_size)
        if features.shape[1] != self.hidden_W.shape[1]:
            raise InputError(
                f"the ranker expects {self.hidden_W.shape[1]} numbers of a box, these maps give {features.shape[1]}; "
                "make them with the network that it was trained with"
            )
        hidden = np.maximum(features @ self.hidden_W[stage] + self.hidden_B[stage], 0)
        told = hidden @ self.W[stage] + self.B[stage]
        return told[:, 0], told[:, 1:]

    def moved(
        self, stage: int, maps: Sequence[np.ndarray], boxes: np.ndarray, image_size: tuple[int, int]
    ) -> np.ndarray:
        """Return the best boxes of a stage, moved to where it sees their objects, (M, 4) float32, M <= `KEPT[stage]`.

        Args:
            stage, maps, boxes, image_size: as in `judge`.
        """
        fits, deltas = self.judge(stage, maps, boxes, image_size)
        best = np.argsort(-fits, kind="stable")[:LOOKED_AT]
        best = best[nms(boxes[best], fits[best], MOVED_NMS)[: KEPT[stage]]]
        return move_inside(boxes[best], deltas[best], image_size)

    def propose(self, maps: Sequence[np.ndarray], image_size: tuple[int, int]) -> np.ndarray:
        """Return the proposals of an image, best first, (N, 4) float32, x1 y1 x2 y2, 0-based inclusive pixels.

        Args:
            maps, image_size: as in `judge`.
        """
        boxes = WINDOWS.windows(image_size)
        last = len(self.hidden_W) - 1
        for stage in range(last):
            boxes = self.moved(stage, maps, boxes, image_size)
        return boxes[spread_order(boxes, self.judge(last, maps, boxes, image_size)[0], ORDER_NMS)]


def move_inside(boxes: np.ndarray, deltas: np.ndarray, image_size: tuple[int, int]) -> np.ndarray:
    """Return boxes moved by dx dy dw dh and cut to the image; one that would vanish stays as it is.

    Args:
        boxes: (N, 4) float32, x1 y1 x2 y2, 0-based inclusive pixels.
        deltas: (N, 4) float, as in `apply_box_deltas`.
        image_size: (height, width), pixels.
    """
    moved = clip_boxes(apply_box_deltas(boxes, deltas), image_size)
    stands = np.isfinite(moved).all(axis=1) & (moved[:, 2:] >= moved[:, :2]).all(axis=1)
    return np.where(stands[:, None], moved, boxes).astype(np.float32)
