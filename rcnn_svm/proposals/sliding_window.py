"""Sliding windows: a regular grid of boxes in several sizes and shapes, whatever the image shows."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from rcnn_svm.data.pixels import check_image
from rcnn_svm.parameters import check_values, checks, list_of, real
from rcnn_svm.proposals.ranking import check_limits, limit_boxes, limit_settings, rank_boxes

# In images more elongated than 20 to 1, which would have windows by the 100,000, they are as far apart as at 20 to 1.
_ELONGATED = 20
_NUMBERS = list_of(real(above=0), "a list of numbers above 0")
_GRID = checks(scales=_NUMBERS, aspect_ratios=_NUMBERS, stride=real(above=0))


class SlidingWindow:
    """Proposer: windows of every scale and aspect ratio at evenly spaced positions, flush with all borders.

    Args:
        scales: square root of a window's area, as a fraction of the image's shorter side.
        aspect_ratios: width / height. A side longer than the image's is cut to it.
        stride: distance between neighbouring windows, at most this fraction of the window's side.
        max_boxes, merge_iou: which boxes of an image to keep, as in `limit_boxes`, in the order of `rank_boxes`.

    Raises:
        InputError: a number that is not above 0, or a limit without meaning.
    """

    def __init__(
        self,
        scales: Sequence[float] = (0.15, 0.25, 0.4, 0.6, 0.9),
        aspect_ratios: Sequence[float] = (0.5, 1.0, 2.0),
        stride: float = 0.25,
        max_boxes: int | None = None,
        merge_iou: float | None = None,
    ):
        check_values({"scales": scales, "aspect_ratios": aspect_ratios, "stride": stride}, _GRID)
        self.scales = tuple(map(float, scales))
        self.aspect_ratios = tuple(map(float, aspect_ratios))
        self.stride = float(stride)
        self.max_boxes = max_boxes
        self.merge_iou = merge_iou
        check_limits(max_boxes, merge_iou)

    @property
    def settings(self) -> dict[str, Any]:
        """What decides the boxes, JSON-able."""
        return {
            "method": "sliding",
            "scales": list(self.scales),
            "aspect_ratios": list(self.aspect_ratios),
            "stride": self.stride,
            **limit_settings(self.max_boxes, self.merge_iou),
        }

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Return the windows of an image.

        Args:
            image: (H, W, 3) uint8, RGB; only its size matters.

        Returns:
            (N, 4) float32, x1 y1 x2 y2, whole 0-based inclusive pixels, distinct, N >= 1.

        Raises:
            InputError: `image` is no such array.
        """
        windows = self.windows(check_image(image).shape[:2])
        return limit_boxes(rank_boxes(windows, self.max_boxes), merge_iou=self.merge_iou)

    def windows(self, image_size: tuple[int, int]) -> np.ndarray:
        """Return all windows of an image, distinct, in no order that means anything, (N, 4) float32.

        Args:
            image_size: (height, width), pixels.
        """
        height, width = image_size
        windows = []
        # 1 but for strips a few pixels wide.
        spread = [max(1.0, side / (_ELONGATED * min(height, width))) for side in (width, height)]
        for scale, aspect in itertools.product(self.scales, self.aspect_ratios):
            side = scale * min(height, width)
            w = _whole(side * aspect**0.5, width)
            h = _whole(side / aspect**0.5, height)
            columns = _positions(width, w, self.stride * spread[0])
            x1, y1 = np.meshgrid(columns, _positions(height, h, self.stride * spread[1]))
            windows.append(np.stack([x1, y1, x1 + w - 1, y1 + h - 1], axis=-1).reshape(-1, 4))
        return np.unique(np.concatenate(windows).astype(np.float32), axis=0)


def _whole(length, limit):
    return int(np.clip(np.floor(length + 0.5), 1, limit))


def _positions(length, window, stride):
    """Return the first pixels of windows spread evenly from border to border."""
    steps = int(np.ceil((length - window) / max(1, stride * window)))
    return np.floor(np.linspace(0, length - window, steps + 1) + 0.5)
