"""The objects of many images in one table: what COCO's JSON, CSV files and YOLO's text files come down to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rcnn_svm.data.class_names import choose_classes
from rcnn_svm.data.database import Annotation, CocoIds, ImageDatabase
from rcnn_svm.data.image_folder import set_name
from rcnn_svm.data.mended import Notes
from rcnn_svm.errors import InputError

# Pixels that a box may reach outside its image: exporters round, and some count from 1.
TOLERANCE = 1.0


@dataclass(frozen=True)
class BoxTable:
    """The objects that one file describes.

    Attributes:
        path: the file.
        entries: the file's word for objects, in the plural, such as `rows`.
        file_names: I image files, relative to the image folder.
        image_ids: I identifiers.
        names: C class names, in the order of default class indices.
        image: (N,) int64, indices into `file_names`.
        label: (N,) int64, indices into `names`.
        boxes: (N, 4) float64, x1 y1 x2 y2, 0-based inclusive pixels.
        difficult: (N,) bool.
        describe: maps an object's index to where it is in the file and its box as the file has it.
        notes: counts what was mended or left out.
        left_out: objects whose boxes cannot be used: index into `file_names`, class name.
        shares: the boxes are in shares of their image's width and height, areas from 0 to 1.
        coco_ids: the file's numbers of images and classes, if it is COCO's.
    """

    path: Path
    entries: str
    file_names: Sequence[str]
    image_ids: Sequence[str]
    names: Sequence[str]
    image: np.ndarray
    label: np.ndarray
    boxes: np.ndarray
    difficult: np.ndarray
    describe: Callable[[int], str]
    notes: Notes
    left_out: Sequence[tuple[int, str]] = ()
    shares: bool = False
    coco_ids: CocoIds | None = None


def mend_boxes(
    boxes: np.ndarray, image_size: tuple[int, int], describe: Callable[[int], str], notes: Notes
) -> tuple[np.ndarray, np.ndarray]:
    """Return the boxes of an image, each with its corners in order and inside the image, as far as they can be.

    Corners in another order are exchanged. What reaches outside the image is cut off; up to 1 pixel is rounding and
    not counted. A box that is wholly outside, or not of numbers, is left out.

    Args:
        boxes: (M, 4) float64, x1 y1 x2 y2, 0-based inclusive pixels.
        image_size: (height, width), pixels.
        describe: maps a box's index to where it comes from, with its value.
        notes: counts what is mended and left out.

    Returns:
        boxes: (L, 4) float32, those that are kept.
        kept: (M,) bool.
    """
    height, width = image_size
    limit = np.array([width, height, width, height], np.float64) - 1
    if ((boxes >= 0) & (boxes <= limit)).all() and (boxes[:, :2] <= boxes[:, 2:]).all():
        return boxes.astype(np.float32), np.ones(len(boxes), bool)
    numbers = np.isfinite(boxes).all(axis=1)
    ordered = np.hstack([np.minimum(boxes[:, :2], boxes[:, 2:]), np.maximum(boxes[:, :2], boxes[:, 2:])])
    with np.errstate(invalid="ignore"):
        rounded = ((ordered >= -TOLERANCE) & (ordered <= limit + TOLERANCE)).all(axis=1)
        touching = (ordered[:, :2] <= limit[2:]).all(axis=1) & (ordered[:, 2:] >= 0).all(axis=1)
        kept = numbers & (rounded | touching)
        exchanged = kept & (boxes != ordered).any(axis=1)
    for found, kind in (
        (~numbers, "objects left out, because their boxes are not four numbers"),
        (numbers & ~kept, "objects left out, because their boxes are wholly outside their images"),
        (exchanged, "boxes whose corners are exchanged, because they end before they begin"),
        (kept & ~rounded, "boxes cut to their images, because they reach outside"),
    ):
        for row in np.flatnonzero(found).tolist():
            notes.add(kind, f"{describe(row)} in an image of {width} x {height} pixels")
    return np.clip(ordered[kept], 0, limit).astype(np.float32), kept


def open_table(
    table: BoxTable,
    folder: Path,
    image_size: Callable[[int], tuple[int, int]],
    classes: Sequence[str] | None,
    *,
    ignore_exif: bool,
) -> ImageDatabase:
    """Return the image set that a table describes.

    Args:
        table: images and objects.
        folder: the folder of the image files.
        image_size: maps an image's index to its (height, width); called when its annotation is first needed.
        classes: names that define the class indices, all others being ignored; None for all that have objects.
        ignore_exif: as in `ImageDatabase`.

    Raises:
        InputError: there are no images, or see `choose_classes`.
    """
    image_ids = table.image_ids
    if not image_ids:
        raise InputError(f"{table.path} names no images; add them")
    index_of = {image_id: index for index, image_id in enumerate(image_ids)}
    totals = np.bincount(table.label, minlength=len(table.names)).tolist()
    names = Counter({name: count for name, count in zip(table.names, totals, strict=True) if count})
    left_out = Counter(name for _, name in table.left_out)
    if classes is None:
        for name, count in left_out.items():
            if not names[name]:
                kind = "classes left out, because no object of them has a box that can be used"
                table.notes.add(kind, f"{name!r} with {count} in {table.path}")
    classes = choose_classes(names, table.names, classes, table.path, left_out)
    note_case(names, table.path, table.notes)
    index_of_class = {name: index for index, name in enumerate(classes)}
    class_index = np.array([index_of_class.get(name, -1) for name in table.names], np.int64)
    by_image = np.argsort(table.image, kind="stable")
    first = np.searchsorted(table.image[by_image], np.arange(len(image_ids) + 1))

    def rows_of(image_id: str) -> np.ndarray:
        index = index_of[image_id]
        return by_image[first[index] : first[index + 1]]

    def image_path(image_id: str) -> Path:
        return folder / table.file_names[index_of[image_id]]

    def read_annotation(image_id: str) -> Annotation:
        rows = rows_of(image_id)
        rows = rows[class_index[table.label[rows]] >= 0]
        size = image_size(index_of[image_id])
        boxes = _pixels(table.boxes[rows], size) if table.shares else table.boxes[rows]
        boxes, kept = mend_boxes(boxes, size, lambda index: table.describe(int(rows[index])), table.notes)
        rows = rows[kept]
        return Annotation(
            image_size=size,
            boxes=boxes,
            classes=class_index[table.label[rows]],
            difficult=table.difficult[rows],
            truncated=np.zeros(len(rows), bool),
        )

    def count_names(image_ids: Sequence[str]) -> tuple[str, Counter[str]]:
        counts: Counter[str] = Counter()
        for image_id in image_ids:
            counts.update(table.names[label] for label in table.label[rows_of(image_id)].tolist())
        chosen = {index_of[image_id] for image_id in image_ids}
        counts.update(name for image, name in table.left_out if image in chosen)
        return f"{counts.total()} {table.entries} of {table.path}", counts

    return ImageDatabase(
        set_name(table.path),
        classes,
        image_ids,
        image_path,
        read_annotation,
        count_names,
        coco_ids=table.coco_ids,
        notes=table.notes,
        ignore_exif=ignore_exif,
    )


def _pixels(shares: np.ndarray, image_size: tuple[int, int]) -> np.ndarray:
    """Return boxes in shares of the image's sides as 0-based inclusive pixels, at least one."""
    height, width = image_size
    boxes = shares * [width, height, width, height]
    low, high = np.minimum(boxes[:, :2], boxes[:, 2:]), np.maximum(boxes[:, :2], boxes[:, 2:])
    return np.hstack([low, np.maximum(high - 1, low)])


def note_case(names: Iterable[str], source: Path, notes: Notes) -> None:
    """Note classes which a slip of the shift key may have made two of one."""
    first: dict[str, str] = {}
    for name in names:
        other = first.setdefault(name.casefold(), name)
        if other != name:
            notes.add(
                "classes that differ in upper and lower case only, kept apart", f"{other!r} and {name!r} in {source}"
            )
