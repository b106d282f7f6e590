"""An image of two objects, for the detector of colours that `seeing` is."""

from __future__ import annotations

import numpy as np
from PIL import Image

CAT, DOG = [0, 0, 29, 29], [50, 30, 79, 59]


def save_image(path):
    """Save a yellow image with one window of green and one of red."""
    path.parent.mkdir(exist_ok=True)
    pixels = np.tile(np.array([255, 255, 0], np.uint8), (60, 80, 1))
    for (x1, y1, x2, y2), channel in ((CAT, 0), (DOG, 1)):
        pixels[y1 : y2 + 1, x1 : x2 + 1, channel] = 0
    Image.fromarray(pixels).save(path)
    return path
