"""Decoded images, the ones used last, within a bound on memory."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable

import numpy as np


class ImageCache:
    """Keeps decoded images; those not asked for longest leave first. Safe for threads.

    Args:
        load: image index -> (H, W, 3) uint8 RGB.
        max_bytes: most bytes of images to keep; an image that is larger is handed out and not kept.

    Attributes:
        nbytes: bytes of the images kept.
    """

    def __init__(self, load: Callable[[int], np.ndarray], max_bytes: int):
        self.nbytes = 0
        self._load = load
        self._max_bytes = max_bytes
        self._images: OrderedDict[int, np.ndarray] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, index: int) -> np.ndarray:
        """Return image `index`, (H, W, 3) uint8 RGB; not to be written to.

        Raises:
            InputError: the image cannot be read.
        """
        with self._lock:
            if index in self._images:
                self._images.move_to_end(index)
                return self._images[index]
        image = self._load(index)
        with self._lock:
            # Another thread may have been as fast.
            if index not in self._images:
                self._images[index] = image
                self.nbytes += image.nbytes
            while self.nbytes > self._max_bytes:
                self.nbytes -= self._images.popitem(last=False)[1].nbytes
        return image
