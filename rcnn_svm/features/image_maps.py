"""The maps of a network that sees the whole image at once: one pass an image, whatever the number of its boxes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from rcnn_svm.data.pixels import check_image
from rcnn_svm.errors import InputError
from rcnn_svm.opencv import cv2

LONG_SIDE = 448
# Both sides of what the network sees are multiples of it: no stride meets a side that it does not divide.
COARSEST_STRIDE = 32

# Runs the network: (1, 3, h, w) float32 in, its maps out, (1, C, h / stride, w / stride) float32 each.
RunMaps = Callable[[np.ndarray], list[np.ndarray]]


class ImageMaps:
    """Whole image in, maps out; several threads may call it at once.

    Args:
        run: runs the network.
        settings: JSON-able, everything that decides the maps of an image; see `load_image_maps`.
    """

    def __init__(self, run: RunMaps, settings: Mapping[str, Any]):
        self.settings = dict(settings)
        self._run = run
        self._long_side = settings["long_side"]
        self._mean, self._std = (np.float32(settings[name]).reshape(3, 1, 1) for name in ("mean", "std"))

    def __call__(self, image: np.ndarray) -> list[np.ndarray]:
        """Return the maps of an image, fine ones first, (C, h, w) float32; each covers it from border to border.

        Args:
            image: (H, W, 3) uint8 RGB.

        Raises:
            InputError: `image` is no such array, or a map is not finite.
        """
        maps = self._run(self._seen(check_image(image)))
        if not all(np.isfinite(values).all() for values in maps):
            raise InputError(
                f"network {self.settings['name']} makes maps of an image that are not finite; look for damaged weights"
            )
        return [values[0] for values in maps]

    def _seen(self, image: np.ndarray) -> np.ndarray:
        """Return what the network sees, (1, 3, h, w) float32."""
        height, width = seen_size(image.shape[:2], self._long_side)
        shrinks = height < image.shape[0] or width < image.shape[1]
        resized = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
        seen = np.ascontiguousarray(resized.transpose(2, 0, 1)[None], np.float32)
        seen -= self._mean
        seen /= self._std
        return seen


def seen_size(image_size: tuple[int, int], long_side: int = LONG_SIDE) -> tuple[int, int]:
    """Return (height, width) of what the network sees of an image: multiples of 32, its aspect kept as they allow."""
    scale = long_side / max(image_size)
    height, width = (max(1, round(side * scale / COARSEST_STRIDE)) * COARSEST_STRIDE for side in image_size)
    return height, width
