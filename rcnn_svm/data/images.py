"""Image files of any usual kind, decoded to one: 8-bit RGB arrays, upright."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator

import numpy as np
from PIL import ExifTags, Image, ImageOps

from rcnn_svm.errors import InputError

# The formats that are meant; Pillow would also start Ghostscript for an EPS file, whatever its name is.
_FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP", "GIF", "PPM", "JPEG2000")
_ALPHA_MODES = ("RGBA", "LA", "PA", "RGBa", "La")
# Formats whose decoder hands out 16-bit samples as 32-bit integers in 0..65535, depending on Pillow's version.
_SIXTEEN_BIT_FORMATS = ("PNG", "PPM")
# EXIF orientations that turn the image on its side.
_TURNED = (5, 6, 7, 8)


def load_image(path: str | os.PathLike) -> np.ndarray:
    """Decode an image file.

    The EXIF orientation is applied. Transparent pixels are laid over white, as a page would show them. 16-bit
    samples keep their high byte, so they are scaled and not clipped. Of an animation, the first frame is read.

    Args:
        path: a JPEG, PNG, BMP, TIFF, WebP, GIF, PPM or JPEG 2000 file, whatever its suffix.

    Returns:
        (H, W, 3) uint8, RGB, writable.

    Raises:
        InputError: the file is missing, unreadable, no regular file, no image, truncated, damaged, of more
            pixels than `PIL.Image.MAX_IMAGE_PIXELS` (some 89 million), or of a pixel type without a defined range
            (32-bit integer or float).
    """
    with _opened(path) as image:
        ImageOps.exif_transpose(image, in_place=True)  # without a copy, which large images have no memory for
        return np.array(_to_rgb(image, image.format), np.uint8)


def image_size(path: str | os.PathLike) -> tuple[int, int]:
    """Read the size of an image from its header, as `load_image` will decode it.

    Args:
        path: as in `load_image`.

    Returns:
        (height, width), pixels, with the EXIF orientation applied.

    Raises:
        InputError: the file is missing, unreadable, no regular file, no image or has too many pixels.
    """
    with _opened(path) as image:
        width, height = image.size
        return (width, height) if image.getexif().get(ExifTags.Base.Orientation) in _TURNED else (height, width)


def is_turned(path: str | os.PathLike) -> bool:
    """Return whether an image's EXIF orientation exchanges its width and height.

    Raises:
        InputError: the file is missing, unreadable or no image.
    """
    with _opened(path) as image:
        return image.getexif().get(ExifTags.Base.Orientation) in _TURNED


@contextlib.contextmanager
def _opened(path: str | os.PathLike) -> Iterator[Image.Image]:
    """Yield an image file opened by Pillow; what opening or decoding it raises becomes one sentence."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # opening a pipe would wait for ever
            raise InputError("it is a directory, pipe or device, expected a regular file; correct the path")
        with Image.open(path, formats=_FORMATS) as image:
            _check_pixels(image)
            yield image
    except FileNotFoundError as error:
        raise InputError(f"image file {path} does not exist; correct the path or restore the file") from error
    except Image.UnidentifiedImageError as error:
        raise InputError(
            f"{path} is not an image in a format that can be read (JPEG, PNG, BMP, TIFF, WebP, GIF, PPM, JPEG 2000); "
            "replace it or remove it from the image list"
        ) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InputError(f"{path} is refused because of its size ({error}); scale it down before using it") from error
    except InputError as error:
        raise InputError(f"{path} cannot be used: {error}") from error
    # Pillow's decoders raise nearly anything on damaged bytes: OSError, SyntaxError, struct.error, ...
    except Exception as error:
        raise InputError(
            f"image file {path} cannot be read to its end ({error or type(error).__name__}); "
            "it is truncated or damaged, so restore it or remove it from the image list"
        ) from error


def _check_pixels(image: Image.Image) -> None:
    """Check a header's size before memory is taken for it; Pillow itself refuses only twice as many pixels."""
    width, height = image.size
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and width * height > limit:
        raise InputError(
            f"it has {width} x {height} pixels, of {limit:,} in all that fit the memory for one image; scale it down"
        )


def _to_rgb(image: Image.Image, file_format: str | None) -> Image.Image:
    """Return an image of any mode as mode RGB."""
    mode = image.mode
    if mode.startswith("I;16") or (mode == "I" and file_format in _SIXTEEN_BIT_FORMATS):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    elif mode in ("I", "F"):
        kind = "integer" if mode == "I" else "floating-point"
        raise InputError(f"its 32-bit {kind} pixels have no defined range; convert it to 8 or 16 bits")
    elif mode in _ALPHA_MODES or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")
