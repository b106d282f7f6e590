"""Image files read, and pictures of detections drawn, by OpenCV alone."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rcnn_svm.artefacts.files import atomic_stream, require_regular
from rcnn_svm.detection.image_detections import ImageDetections
from rcnn_svm.errors import InputError
from rcnn_svm.opencv import cv2
from rcnn_svm.reports.colours import class_colour, ink_on

_JPEG = b"\xff\xd8"
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, b"\xff\xd9"
_FONT, _FONT_SCALE = cv2.FONT_HERSHEY_SIMPLEX, 0.45
_QUALITY = 92
_STRIP = 1 << 20  # pixels that are laid over white at once, in 16 bits


def read_image(path: str | os.PathLike) -> np.ndarray:
    """Decode an image file as `load_image` does, but by OpenCV.

    The EXIF orientation is applied, transparent pixels are laid over white, 16-bit samples keep their high byte.

    Args:
        path: a file of a format that this OpenCV reads.

    Returns:
        (H, W, 3) uint8, RGB.

    Raises:
        InputError: the file is missing, unreadable, no regular file, no image, truncated, damaged, or of more than
            some 89 million pixels.
    """
    try:
        require_regular(path)
        content = Path(path).read_bytes()
    except FileNotFoundError as error:
        raise InputError(f"image file {path} does not exist; correct the path or restore the file") from error
    except OSError as error:
        raise InputError(f"image file {path} cannot be read ({error.strerror}); restore it or leave it out") from error
    image = _decoded(content)
    if image is None:
        raise InputError(
            f"{path} is not an image that OpenCV can read to its end; it is truncated, damaged, of another format or "
            "too large, so restore it or leave it out"
        )
    return image


def _decoded(content: bytes) -> np.ndarray | None:
    """Return (H, W, 3) uint8 RGB, or None for what is no whole image."""
    if not content or (content.startswith(_JPEG) and not _is_whole_jpeg(content)):
        return None
    data = np.frombuffer(content, np.uint8)
    try:
        if not content.startswith(_JPEG):
            stored = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
            if stored is not None and stored.ndim == 3 and stored.shape[2] == 4:
                return _over_white(stored)
        image = cv2.imdecode(data, cv2.IMREAD_COLOR)
    except cv2.error:
        return None
    return None if image is None else cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def _is_whole_jpeg(content: bytes) -> bool:
    """Return whether a JPEG image has an end: OpenCV fills up what is missing."""
    at = len(_JPEG)
    while at + 4 <= len(content) and content[at] == 0xFF:
        if content[at + 1] == _START_OF_SCAN:
            return content.find(_END_OF_IMAGE, at) >= 0
        # 0xFF may be repeated before a marker; the length of a segment counts its own two bytes.
        at += 1 if content[at + 1] == 0xFF else 2 + int.from_bytes(content[at + 2 : at + 4], "big")
    return False


def _over_white(stored: np.ndarray) -> np.ndarray:
    """Return BGRA pixels, (H, W, 4) of 8 or 16 bits, over white: (H, W, 3) uint8 RGB."""
    image = np.empty((*stored.shape[:2], 3), np.uint8)
    rows = max(_STRIP // max(stored.shape[1], 1), 1)
    for first in range(0, len(stored), rows):
        strip = stored[first : first + rows]
        pixels = (strip >> 8 if strip.dtype == np.uint16 else strip).astype(np.uint16)
        colour, alpha = pixels[..., 2::-1], pixels[..., 3:]
        image[first : first + rows] = (colour * alpha + 255 * (255 - alpha) + 127) // 255
    return image


def draw_detections(image: np.ndarray, found: ImageDetections, classes: Sequence[str]) -> np.ndarray:
    """Draw detections over an image: boxes labelled with class and score, the best on top.

    Args:
        image: (H, W, 3) uint8 RGB.
        found: what was found in it.
        classes: class names; letters that OpenCV's font lacks are drawn as question marks.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    picture = image.copy()
    worst_first = range(len(found) - 1, -1, -1)
    outlines = np.rint(found.boxes).astype(int)
    for row in worst_first:
        x1, y1, x2, y2 = outlines[row].tolist()
        cv2.rectangle(picture, (x1 - 1, y1 - 1), (x2 + 1, y2 + 1), (0, 0, 0), 1)
        cv2.rectangle(picture, (x1, y1), (x2, y2), class_colour(int(found.cls[row])), 2)
    # Labels last, so that no box runs through one.
    for row in worst_first:
        name = classes[found.cls[row]].encode("ascii", "replace").decode()
        text, colour = f"{name} {found.scores[row]:.2f}", class_colour(int(found.cls[row]))
        (width, height), below = cv2.getTextSize(text, _FONT, _FONT_SCALE, 1)
        left = min(max(int(outlines[row, 0]) - 1, 0), max(picture.shape[1] - width - 6, 0))
        top = max(int(outlines[row, 1]) - height - below - 4, 0)
        cv2.rectangle(picture, (left, top), (left + width + 5, top + height + below + 3), colour, -1)
        place = (left + 3, top + height + 2)
        cv2.putText(picture, text, place, _FONT, _FONT_SCALE, ink_on(colour), 1, cv2.LINE_AA)
    return picture


def save_picture(picture: np.ndarray, path: str | os.PathLike) -> None:
    """Write a picture, (H, W, 3) uint8 RGB, atomically: as PNG where the name ends so, as JPEG otherwise."""
    kind = ".png" if Path(path).suffix.lower() == ".png" else ".jpg"
    _, content = cv2.imencode(kind, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    with atomic_stream(path) as stream:
        stream.write(content.tobytes())
