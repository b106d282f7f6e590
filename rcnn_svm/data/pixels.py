"""Images in memory: what is one, and how another array becomes one."""

from __future__ import annotations

from typing import Any

import numpy as np

from rcnn_svm.errors import InputError


def check_image(image: np.ndarray) -> np.ndarray:
    """Return an array, (H, W, 3) uint8, in C order: itself where it is that.

    Raises:
        InputError: it is something else; the message says what it is and how to convert it.
    """
    if not (hasattr(image, "shape") and hasattr(image, "dtype")):
        raise InputError(
            f"the image is of type {type(image).__name__}, expected an array, (H, W, 3) uint8 RGB; "
            "load_image makes one from any file"
        )
    shape = tuple(image.shape)
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or shape[2] != 3 or 0 in shape:
        what = "an array" if isinstance(image, np.ndarray) else f"a {type(image).__name__}"
        raise InputError(
            f"the image is {what} of shape {shape} and type {image.dtype}, expected an array, "
            f"(H, W, 3) uint8 RGB; {_conversion(image)}"
        )
    return np.ascontiguousarray(image)


def _conversion(image: Any) -> str:
    """Return how an array or tensor that is no image becomes one, as advice."""
    shape, kind = tuple(image.shape), str(image.dtype).removeprefix("torch.")
    numbers = kind.startswith(("float", "int", "uint", "bool"))
    if 0 in shape or not numbers or len(shape) not in (2, 3, 4) or (len(shape) == 4 and shape[0] > 1):
        return "give one image at a time, as load_image makes it from any file"
    lowest, highest = float(image.min()), float(image.max())
    if not 0 <= lowest <= highest < 65536:
        return f"its values are from {lowest:g} to {highest:g}, so give the pixels before they were normalised"
    pixels = "image" if isinstance(image, np.ndarray) else "image.cpu().numpy()"
    if len(shape) == 4:
        pixels, shape = f"{pixels}[0]", shape[1:]
    if len(shape) == 3 and shape[0] in (1, 3, 4) and shape[2] not in (1, 3, 4):
        pixels, shape = f"{pixels}.transpose(1, 2, 0)", (*shape[1:], shape[0])
    if len(shape) == 2:
        pixels = f"np.dstack([{pixels}] * 3)"
    elif shape[2] != 3:
        pixels = f"{pixels}[..., :3]" if shape[2] == 4 else f"np.dstack([{pixels}[..., 0]] * 3)"
    if kind == "bool" or (kind.startswith("float") and highest <= 1):
        pixels = f"np.uint8(255 * {pixels})"
    elif highest > 255:
        pixels = f"np.uint8({pixels} // 256)"
    elif kind != "uint8":
        pixels = f"np.uint8({pixels})"
    return f"convert it with {pixels}"
