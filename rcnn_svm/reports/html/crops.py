"""Pictures of regions for a page: small JPEGs with a little of what is around the box."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from rcnn_svm.data.database import ImageDatabase
from rcnn_svm.errors import InputError
from rcnn_svm.progress import progress_bar
from rcnn_svm.reports.pictures import crop_with_context, image_of_boxes

# Longer side of a crop in pixels, and the part of the box's longer side that is shown around it.
SIDE, CONTEXT = 112, 0.2
QUALITY = 75


def jpeg_text(picture: Image.Image, quality: int = QUALITY) -> str:
    """Return a picture as JPEG in base64."""
    stream = io.BytesIO()
    picture.save(stream, format="JPEG", quality=quality, optimize=True)
    return base64.b64encode(stream.getvalue()).decode()


def crop_texts(
    image: np.ndarray, boxes: np.ndarray, image_ids: Sequence[str], images: ImageDatabase, limit: int
) -> tuple[list[str | None], list[str]]:
    """Return a crop for every box as JPEG in base64, and why some images gave none.

    One image is in memory at a time.

    Args:
        image: (n,) int, the image of every box; the first boxes are the most wanted.
        boxes: (n, 4) float32, x1 y1 x2 y2, 0-based inclusive pixels.
        image_ids: identifiers of the images that `image` counts.
        images: the image files, by the same identifiers; some may be missing, and others among them.
        limit: characters of all crops together; the least wanted go first.

    Returns:
        A text or None for every box; and a sentence for every image that could not be used.
    """
    texts: list[str | None] = [None] * len(boxes)
    known = {image_id: index for index, image_id in enumerate(images.image_ids)}
    problems = []
    shown = np.unique(image).tolist()
    with progress_bar(len(shown), "crops", "image") as bar:
        for number in shown:
            places = np.flatnonzero(image == number)
            try:
                pixels = image_of_boxes(images, known, image_ids[number], boxes[places])
            except InputError as error:
                problems.append(str(error))
            else:
                for place in places.tolist():
                    texts[place] = jpeg_text(crop_with_context(pixels, boxes[place], context=CONTEXT, side=SIDE))
            bar.update()
    sizes = np.cumsum([len(text or "") for text in texts])
    return [text if size <= limit else None for text, size in zip(texts, sizes, strict=True)], problems


def lost_crops(texts: Sequence[str | None], problems: Sequence[str], what: str) -> list[str]:
    """Return a sentence on crops that are missing, none where all are there.

    Args:
        texts, problems: as `crop_texts` returns them.
        what: what the crops are of, in the plural.
    """
    lost = sum(text is None for text in texts)
    why = f": {len(problems)} images could not be used, the first because {problems[0]}" if problems else ""
    return [f"{lost:,} of {len(texts):,} {what} have no crop{why}."] if lost else []
