"""Pictures of detections: boxes with class and score, ground truth dashed, and contact sheets."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from rcnn_svm.artefacts.files import atomic_stream
from rcnn_svm.data.database import Annotation, ImageDatabase
from rcnn_svm.data.pixels import check_image
from rcnn_svm.detection.detections import Detections
from rcnn_svm.detection.image_detections import ImageDetections
from rcnn_svm.errors import InputError
from rcnn_svm.evaluation.voc import align
from rcnn_svm.reports.colours import Colour, class_colour, ink_on
from rcnn_svm.reports.picture_names import picture_names

# Smaller images are enlarged to this longer side, so that labels stay readable beside the objects.
MIN_SIDE = 480
FONT_SIZE = 13
CONTACT_SHEET = "contact_sheet"


def draw_detections(
    image: np.ndarray,
    found: ImageDetections,
    classes: Sequence[str],
    ground_truth: Annotation | None = None,
) -> Image.Image:
    """Draw detections over an image: solid boxes, labelled with class and score, the best on top.

    Args:
        image: (H, W, 3) uint8 RGB.
        found: what was found in it.
        classes: class names.
        ground_truth: the objects of the image, drawn dashed in the colours of their classes and labelled at
            the bottom; the difficult ones in brackets. Its class indices are those of `classes`.

    Returns:
        RGB picture, enlarged where the image is small.

    Raises:
        InputError: `image` is no such array.
    """
    picture, scale = _enlarged(image)
    canvas = ImageDraw.Draw(picture)
    marked = [] if ground_truth is None else _objects(ground_truth, classes, scale)
    for outline, colour, _ in marked:
        _dashed(canvas, outline, colour)
    worst_first = [
        (
            _outline(found.boxes[row], scale),
            class_colour(found.cls[row]),
            f"{classes[found.cls[row]]} {found.scores[row]:.2f}",
        )
        for row in range(len(found) - 1, -1, -1)
    ]
    for outline, colour, _ in worst_first:
        canvas.rectangle(_grown(outline, 1), outline=(0, 0, 0))
        canvas.rectangle(outline, outline=colour, width=3)
    # Labels last, so that no box runs through one.
    for outline, colour, text in marked:
        _label(canvas, picture.size, (outline[0], outline[3]), text, ink=_lighter(colour), plate=(24, 24, 24))
    for outline, colour, text in worst_first:
        _label(canvas, picture.size, outline[:2], text, ink=ink_on(colour), plate=colour)
    return picture


def draw_objects(image: np.ndarray, objects: Annotation, classes: Sequence[str]) -> Image.Image:
    """Draw the labelled objects of an image, each with its class, the difficult ones in brackets.

    Args:
        image: (H, W, 3) uint8 RGB.
        objects: boxes and classes.
        classes: class names.

    Returns:
        RGB picture whose longer side is `MIN_SIDE`.

    Raises:
        InputError: `image` is no such array.
    """
    picture = Image.fromarray(check_image(image))
    scale = MIN_SIDE / max(picture.size)
    # A large image is reduced by whole steps first, which takes a fraction of the time.
    size = [max(1, round(side * scale)) for side in picture.size]
    picture = picture.resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0)
    canvas = ImageDraw.Draw(picture)
    marked = _objects(objects, classes, scale)
    for outline, colour, _ in marked:
        x1, y1, x2, y2 = outline
        outline = x1, y1, max(x1, x2), max(y1, y2)  # a thin box of a large image is thinner than a pixel
        canvas.rectangle(_grown(outline, 1), outline=(0, 0, 0))
        canvas.rectangle(outline, outline=colour, width=2)
    for outline, colour, text in marked:
        _label(canvas, picture.size, outline[:2], text, ink=ink_on(colour), plate=colour)
    return picture


def draw_proposals(image: np.ndarray, boxes: np.ndarray, objects: np.ndarray, found: np.ndarray) -> Image.Image:
    """Draw proposals over an image, the first on top, and the objects dashed.

    Args:
        image: (H, W, 3) uint8 RGB.
        boxes: (N, 4) float, x1 y1 x2 y2, 0-based inclusive pixels; the best first.
        objects: (M, 4) float, the same convention.
        found: (M,) bool: green is an object that a proposal finds, red another.

    Raises:
        InputError: `image` is no such array.
    """
    picture, scale = _enlarged(image)
    canvas = ImageDraw.Draw(picture)
    for rank in range(len(boxes) - 1, -1, -1):
        # From yellow to blue, as a colour map that also the colour-blind can order.
        share = rank / max(len(boxes) - 1, 1)
        colour = (round(253 - 220 * share), round(231 - 120 * share), round(37 + 140 * share))
        canvas.rectangle(_outline(boxes[rank], scale), outline=colour, width=2)
    for box, hit in zip(objects, found, strict=True):
        _dashed(canvas, _outline(box, scale), (0, 160, 60) if hit else (220, 30, 30), width=3)
    return picture


def image_of_boxes(images: ImageDatabase, known: Mapping[str, int], image_id: str, boxes: np.ndarray) -> np.ndarray:
    """Return the image that boxes (n, 4) are of, (H, W, 3) uint8 RGB.

    Args:
        images: image files, perhaps without this one.
        known: the place of every identifier among them.
        image_id: the image.
        boxes: x1 y1 x2 y2, 0-based inclusive pixels.

    Raises:
        InputError: the image is not there, cannot be read, or is smaller than the boxes in it.
    """
    if image_id not in known:
        raise InputError(f"image {image_id} is not in {images.name}")
    pixels = images.load_image(known[image_id])
    if (boxes[:, 2:] >= pixels.shape[1::-1]).any():
        raise InputError(f"image {image_id} of {images.name} is smaller than the boxes in it")
    return pixels


def crop_with_context(image: np.ndarray, box: np.ndarray, *, context: float = 0.3, side: int = 160) -> Image.Image:
    """Return a box of an image with what surrounds it, the box outlined.

    Args:
        image: (H, W, 3) uint8 RGB.
        box: (4,) float, x1 y1 x2 y2, 0-based inclusive pixels.
        context: share of the box's longer side that is added on each side, as far as the image reaches.
        side: longer side of the picture, pixels.

    Raises:
        InputError: `image` is no such array.
    """
    pixels = check_image(image)
    x1, y1, x2, y2 = (float(value) for value in box)
    margin = context * max(x2 - x1 + 1, y2 - y1 + 1)
    left, top = max(int(x1 - margin), 0), max(int(y1 - margin), 0)
    right, bottom = min(int(x2 + margin) + 2, pixels.shape[1]), min(int(y2 + margin) + 2, pixels.shape[0])
    picture = Image.fromarray(pixels[top:bottom, left:right])
    scale = side / max(picture.size)
    picture = picture.resize([max(1, round(edge * scale)) for edge in picture.size], Image.Resampling.BICUBIC)
    x1, y1, x2, y2 = _outline(np.array([x1 - left, y1 - top, x2 - left, y2 - top]), scale)
    outline = x1, y1, max(x1, x2), max(y1, y2)  # a thin box of a large image is thinner than a pixel
    canvas = ImageDraw.Draw(picture)
    canvas.rectangle(_grown(outline, 1), outline=(0, 0, 0))
    canvas.rectangle(outline, outline=(255, 210, 0), width=2)
    return picture


def _enlarged(image: np.ndarray) -> tuple[Image.Image, float]:
    """Return an image as a picture that is large enough for labels, and how much it was enlarged."""
    picture = Image.fromarray(check_image(image))
    scale = max(1.0, MIN_SIDE / max(picture.size))
    if scale > 1:
        picture = picture.resize([round(side * scale) for side in picture.size], Image.Resampling.BICUBIC)
    return picture, scale


def _objects(ground_truth: Annotation, classes: Sequence[str], scale: float) -> list[tuple]:
    """Return outline, colour and label of every object; difficult ones in brackets."""
    objects = zip(ground_truth.boxes, ground_truth.classes, ground_truth.difficult, strict=True)
    return [
        (
            _outline(box, scale),
            class_colour(index),
            f"({classes[index]})" if difficult else classes[index],
        )
        for box, index, difficult in objects
    ]


def _outline(box: np.ndarray, scale: float) -> tuple[float, float, float, float]:
    """Return the corners of an inclusive box in a picture enlarged by `scale`."""
    x1, y1, x2, y2 = (float(value) for value in box)
    return x1 * scale, y1 * scale, (x2 + 1) * scale - 1, (y2 + 1) * scale - 1


def _grown(outline: Sequence[float], by: float) -> tuple[float, float, float, float]:
    return outline[0] - by, outline[1] - by, outline[2] + by, outline[3] + by


def _dashed(
    canvas: ImageDraw.ImageDraw, outline: Sequence[float], colour: Colour, dash: float = 8, width: int = 2
) -> None:
    x1, y1, x2, y2 = outline
    for ax, ay, bx, by in ((x1, y1, x2, y1), (x2, y1, x2, y2), (x2, y2, x1, y2), (x1, y2, x1, y1)):
        length = math.hypot(bx - ax, by - ay)
        canvas.line([ax, ay, bx, by], fill=(255, 255, 255), width=width)
        for start in np.arange(0, length, 2 * dash):
            a, b = start / length, min(start + dash, length) / length
            ends = [ax + a * (bx - ax), ay + a * (by - ay), ax + b * (bx - ax), ay + b * (by - ay)]
            canvas.line(ends, fill=colour, width=width)


def _label(
    canvas: ImageDraw.ImageDraw,
    size: Sequence[int],
    anchor: Sequence[float],
    text: str,
    *,
    ink: Colour,
    plate: Colour,
) -> None:
    """Write `text` on a small plate that stands on `anchor` (left end), kept inside the picture."""
    text, font = _written(text)
    _, _, text_width, text_height = canvas.textbbox((0, 0), text, font=font)
    width, height = text_width + 6, text_height + 5
    left = min(max(anchor[0] - 1, 0), max(size[0] - width, 0))
    top = min(max(anchor[1] - height + 1, 0), max(size[1] - height, 0))
    canvas.rectangle([left, top, left + width - 1, top + height - 1], fill=plate)
    canvas.text((left + 3, top + 1), text, fill=ink, font=font)


def _written(text: str) -> tuple[str, ImageFont.FreeTypeFont | ImageFont.ImageFont]:
    """Return a text as it can be drawn, and its font."""
    if text.isascii():
        return text, ImageFont.load_default(size=FONT_SIZE)
    # Imported here, for it loads matplotlib.
    from rcnn_svm.reports.lettering import lettering

    drawn = lettering(text)
    return drawn.shown, ImageFont.truetype(drawn.font, FONT_SIZE)


def _lighter(colour: Colour) -> Colour:
    red, green, blue = (round(0.5 * channel + 127) for channel in colour)
    return red, green, blue


def contact_sheet(
    pictures: Sequence[Image.Image], captions: Sequence[str], note: str, *, columns: int = 4
) -> Image.Image:
    """Return all pictures on one sheet, each fitted into a cell over its caption, and a note below.

    Args:
        pictures: one picture or more.
        captions: one per picture.
        note: says what the sheet shows.
        columns: pictures in a row.
    """
    columns = min(columns, len(pictures))
    rows = math.ceil(len(pictures) / columns)
    gap, (cell_width, cell_height), line = 8, (360, 300), 20
    pitch = cell_height + line + gap
    sheet = Image.new("RGB", (columns * (cell_width + gap) + gap, rows * pitch + gap + line), (255, 255, 255))
    canvas = ImageDraw.Draw(sheet)
    for number, (picture, caption) in enumerate(zip(pictures, captions, strict=True)):
        row, column = divmod(number, columns)
        left, bottom = gap + column * (cell_width + gap), gap + row * pitch + cell_height
        thumbnail = ImageOps.contain(picture, (cell_width, cell_height), Image.Resampling.LANCZOS)
        sheet.paste(thumbnail, (left + (cell_width - thumbnail.width) // 2, bottom - thumbnail.height))
        text, font = _written(caption)
        canvas.text((left + cell_width / 2, bottom + 15), text, (40, 40, 40), font, anchor="ms")
    text, font = _written(note)
    canvas.text((gap, rows * pitch + 15), text, (40, 40, 40), font, anchor="ls")
    return sheet


def save_picture(picture: Image.Image, path: str | os.PathLike) -> None:
    """Write a picture atomically, as PNG where the name ends so and as JPEG otherwise."""
    kind = "PNG" if Path(path).suffix.lower() == ".png" else "JPEG"
    with atomic_stream(path) as stream:
        picture.save(stream, format=kind, quality=92)


def evenly_spaced(count: int, total: int) -> list[int]:
    """Return `count` indices spread evenly over `range(total)`, or all of them where there are fewer."""
    count = min(count, total)
    return [(2 * number + 1) * total // (2 * count) for number in range(count)]


def save_detection_pictures(
    database: ImageDatabase,
    detections: Detections,
    out_dir: str | os.PathLike,
    *,
    score_thresh: float | np.ndarray = 0.0,
    count: int = 12,
    note: str = "",
) -> list[Path]:
    """Save pictures of detections over some images of an image set, with the ground truth dashed.

    The images are spread evenly over the set: a fair sample, not the best.

    Args:
        database: the images and their ground truth.
        detections: what was found, after non-maximum suppression; images are matched by id.
        out_dir: folder of `<image id>.jpg` (by `picture_names`) and `contact_sheet.jpg`; made if needed.
        score_thresh: only detections with a score strictly above it are drawn; one number, or one for each
            class of the database.
        count: number of images.
        note: text below the contact sheet.

    Returns:
        Paths of the pictures, the contact sheet last.
    """
    detections = align(detections, database)
    shown = evenly_spaced(count, len(database))
    captions = [database.image_ids[index] for index in shown]
    paths = [Path(out_dir) / name for name in picture_names(captions, taken=[CONTACT_SHEET])]
    pictures = []
    for index, path in zip(shown, paths, strict=True):
        found = detections.of_image(index).above(score_thresh)
        pictures.append(
            draw_detections(
                database.load_image(index), found, database.classes, ground_truth=database.annotation(index)
            )
        )
        save_picture(pictures[-1], path)
    paths.append(Path(out_dir) / f"{CONTACT_SHEET}.jpg")
    save_picture(contact_sheet(pictures, captions, note), paths[-1])
    return paths
