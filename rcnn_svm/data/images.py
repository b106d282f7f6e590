"""Image files of any usual kind, decoded to one: 8-bit RGB arrays, upright."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import ExifTags, Image, ImageOps

from rcnn_svm.artefacts.files import require_regular
from rcnn_svm.data.pixels import check_image
from rcnn_svm.errors import InputError

# The formats that are meant; Pillow would also start Ghostscript for an EPS file, whatever its name is.
_FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP", "GIF", "PPM", "JPEG2000")
_ALPHA_MODES = ("RGBA", "LA", "PA", "RGBa", "La")
# Formats whose decoder hands out 16-bit samples as 32-bit integers in 0..65535, depending on Pillow's version.
_SIXTEEN_BIT_FORMATS = ("PNG", "PPM")
# Decoders that hold an image several times over get half as many pixels, so that no image takes a gigabyte.
_HALF = ("WEBP", "JPEG2000")
# Pixels that are converted at once: what an image takes beside its file is then what is decoded and the result.
_STRIP = 1 << 22
# What undoes an EXIF orientation; 5 to 8 turn the image on its side.
_UNDO = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
_TURNED = (5, 6, 7, 8)
_TIFF_WIDTH, _TIFF_HEIGHT = 256, 257

# What `as_image` takes.
ImageLike = np.ndarray | str | os.PathLike | Image.Image


def as_image(image: ImageLike) -> np.ndarray:
    """Return the pixels of an image that is given as a file, as a PIL image or as they are.

    Args:
        image: a path, decoded by `load_image`; a PIL image of any mode that `load_image` takes, turned upright as
            there; or (H, W, 3) uint8, RGB. OpenCV's `imread` gives BGR, which nothing can tell: `image[..., ::-1]`.

    Returns:
        (H, W, 3) uint8, RGB, in C order; the array itself where it is that.

    Raises:
        InputError: it is another kind of array, whose conversion the message has, or something else; or as
            `load_image`.
    """
    if isinstance(image, (str, os.PathLike)):
        return load_image(image)
    if isinstance(image, Image.Image):
        with _in_words(str(getattr(image, "filename", "") or "the PIL image")):
            return _rgb_pixels(ImageOps.exif_transpose(image), image.format)
    return check_image(image)


def load_image(path: str | os.PathLike, *, ignore_exif: bool = False) -> np.ndarray:
    """Decode an image file.

    The EXIF orientation is applied. Transparent pixels are laid over white, as a page would show them. 16-bit
    samples keep their high byte, so they are scaled and not clipped. Of an animation, the first frame is read.

    Args:
        path: a JPEG, PNG, BMP, TIFF, WebP, GIF, PPM or JPEG 2000 file, whatever its suffix.
        ignore_exif: leave the pixels as they are stored, whatever their orientation.

    Returns:
        (H, W, 3) uint8, RGB, writable.

    Raises:
        InputError: the file is missing, unreadable, no regular file, no image, truncated, damaged, of more
            pixels than `PIL.Image.MAX_IMAGE_PIXELS` (some 89 million; half of it for WebP and JPEG 2000), or of a
            pixel type without a defined range (32-bit integer or float).
    """
    with _opened(path) as image:
        file_format = image.format
        if ignore_exif:
            image = _as_stored(image)
        else:
            ImageOps.exif_transpose(image, in_place=True)  # without a copy, which large images have no memory for
        return _rgb_pixels(image, file_format)


@dataclass(frozen=True)
class ImageHeader:
    """What is known of an image before it is decoded.

    Attributes:
        stored: (height, width) of the pixels as they are stored.
        orientation: EXIF's: 1 upright, 2 to 4 mirrored or upside down, 5 to 8 on its side.
    """

    stored: tuple[int, int]
    orientation: int

    def size(self, *, ignore_exif: bool) -> tuple[int, int]:
        """Return (height, width) of the image as `load_image` decodes it."""
        return self.stored[::-1] if self.orientation in _TURNED and not ignore_exif else self.stored


def read_header(path: str | os.PathLike) -> ImageHeader:
    """Read the header of an image file.

    Raises:
        InputError: the file is missing, unreadable, no regular file, no image or has too many pixels.
    """
    with _opened(path) as image:
        # Pillow has turned the size of a TIFF file already.
        tags = getattr(image, "tag_v2", {})
        width, height = (tags[_TIFF_WIDTH], tags[_TIFF_HEIGHT]) if tags else image.size
        return ImageHeader((height, width), _orientation(image))


def image_size(path: str | os.PathLike, *, ignore_exif: bool = False) -> tuple[int, int]:
    """Read the size of an image from its header, as `load_image` will decode it.

    Args:
        path, ignore_exif: as in `load_image`.

    Returns:
        (height, width), pixels.

    Raises:
        InputError: as `read_header`.
    """
    return read_header(path).size(ignore_exif=ignore_exif)


def _orientation(image: Image.Image) -> int:
    found = image.getexif().get(ExifTags.Base.Orientation)
    return found if found in _UNDO else 1


def _as_stored(image: Image.Image) -> Image.Image:
    """Return an image that was just opened with the pixels as they are stored."""
    stated = _orientation(image)
    image.load()
    # Pillow turns a TIFF file as it decodes it, and then takes the orientation away.
    turned = stated != _orientation(image)
    return image.transpose(_UNDO[stated]) if turned else image


class _Unusable(Exception):
    """What is wrong with an image, without its name."""


@contextlib.contextmanager
def _opened(path: str | os.PathLike) -> Iterator[Image.Image]:
    """Yield an image file opened by Pillow; what opening or decoding it raises becomes one sentence."""
    with _in_words(str(path)):
        require_regular(path)
        with Image.open(path, formats=_FORMATS) as image:
            _check_pixels(image)
            yield image


@contextlib.contextmanager
def _in_words(name: str) -> Iterator[None]:
    """Make one sentence of whatever is wrong with an image."""
    try:
        yield
    except FileNotFoundError as error:
        raise InputError(f"image file {name} does not exist; correct the path or restore the file") from error
    except Image.UnidentifiedImageError as error:
        raise InputError(
            f"{name} is not an image in a format that can be read (JPEG, PNG, BMP, TIFF, WebP, GIF, PPM, JPEG 2000); "
            "replace it or remove it from the image list"
        ) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InputError(f"{name} is refused because of its size ({error}); scale it down before using it") from error
    except _Unusable as error:
        raise InputError(f"{name} cannot be used: {error}") from error
    except InputError:
        raise
    # Pillow's decoders raise nearly anything on damaged bytes: OSError, SyntaxError, struct.error, ...
    except Exception as error:
        raise InputError(
            f"image file {name} cannot be read to its end ({error or type(error).__name__}); "
            "it is truncated or damaged, so restore it or remove it from the image list"
        ) from error


def _check_pixels(image: Image.Image) -> None:
    """Check a header's size before memory is taken for it; Pillow itself refuses only twice as many pixels."""
    width, height = image.size
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and image.format in _HALF:
        limit //= 2
    if limit is not None and width * height > limit:
        raise _Unusable(
            f"it has {width} x {height} pixels, of {limit:,} in all that fit the memory for one image; scale it down"
        )


def _rgb_pixels(image: Image.Image, file_format: str | None) -> np.ndarray:
    """Return the pixels of an image of any mode, (H, W, 3) uint8 RGB."""
    width, height = image.size
    rows = max(_STRIP // max(width, 1), 1)
    if rows >= height:
        return np.array(_to_rgb(image, file_format), np.uint8)
    image.load()
    pixels = np.empty((height, width, 3), np.uint8)
    for first in range(0, height, rows):
        last = min(first + rows, height)
        pixels[first:last] = np.asarray(_to_rgb(image.crop((0, first, width, last)), file_format))
    return pixels


def _to_rgb(image: Image.Image, file_format: str | None) -> Image.Image:
    """Return an image of any mode as mode RGB."""
    mode = image.mode
    if mode.startswith("I;16") or (mode == "I" and file_format in _SIXTEEN_BIT_FORMATS):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    elif mode in ("I", "F"):
        kind = "integer" if mode == "I" else "floating-point"
        raise _Unusable(f"its 32-bit {kind} pixels have no defined range; convert it to 8 or 16 bits")
    elif mode in _ALPHA_MODES or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")
