"""COCO: image sets of one JSON file in COCO's object detection format and a folder of images."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rcnn_svm.data.box_table import BoxTable, open_table
from rcnn_svm.data.database import CocoIds, ImageDatabase
from rcnn_svm.data.image_folder import check_folder, image_ids_of
from rcnn_svm.data.other_formats import foreign_format
from rcnn_svm.errors import InputError

_PARTS = ("images", "annotations", "categories")

# Beyond any image; larger whole numbers do not fit a float.
LARGEST = 1e9


def load_coco(
    path: str | os.PathLike,
    images: str | os.PathLike,
    *,
    ids: Sequence[str] | None = None,
    classes: Sequence[str] | None = None,
) -> ImageDatabase:
    """Open a COCO annotation file.

    COCO's bbox [x, y, w, h] is an area, measured from the image's upper left corner; its pixels are those from x
    to x + w - 1, so that VOC boxes exported with w = xmax - xmin + 1 come back as they were. A box narrower than a
    pixel is taken for one pixel. Boxes that reach outside the image by up to 1 pixel are cut to it.

    Args:
        path: the JSON file; `segmentation`, `area` and the like are not used.
        images: the folder that its `file_name`s are relative to.
        ids: restricts the database to these images, in this order; an id is a file name without suffix.
        classes: names that define the class indices, objects of all others being ignored; by default the
            categories that have objects, in the order of their COCO ids.

    Returns:
        The database, named as the file (plus a digest of `ids` where given), with the file's numbers of images and
        categories as `coco_ids`. Objects with `iscrowd` or `ignore` are difficult: the evaluation counts them
        neither way, while training takes them for objects as it does VOC's difficult ones.

    Raises:
        InputError: a file or folder is missing, the file is not in this format, or (when read) a box is empty or
            outside its image.

    Source: the data format of cocodataset.org.
    """
    path, folder = Path(path), check_folder(images, "image folder")
    content = _read(path)
    table, sizes = _table(content, path)
    database = open_table(table, folder, sizes.__getitem__, classes)
    return database if ids is None else database.subset(ids)


def coco_to_boxes(areas: np.ndarray) -> np.ndarray:
    """Return COCO boxes as inclusive ones.

    Args:
        areas: (N, 4) float64, x y width height, from the image's upper left corner.

    Returns:
        (N, 4) float64, x1 y1 x2 y2, 0-based inclusive pixels; an empty box ends before it begins.
    """
    extent = np.where(areas[:, 2:] > 0, np.maximum(areas[:, 2:], 1), 0)
    return np.hstack([areas[:, :2], areas[:, :2] + extent - 1])


def _read(path: Path) -> dict[str, list[dict]]:
    """Return the content of the file, after a check of its outermost structure."""
    try:
        with open(path, encoding="utf-8-sig") as stream:
            content = json.load(stream)
    except FileNotFoundError as error:
        raise InputError(f"COCO file {path} does not exist; correct the path") from error
    except json.JSONDecodeError as error:
        raise InputError(f"{path}, line {error.lineno}: malformed JSON ({error.msg}); restore the file") from error
    except UnicodeDecodeError as error:
        raise InputError(f"COCO file {path} is not UTF-8 text ({error.reason}); save it as UTF-8") from error
    except (OSError, RecursionError) as error:
        raise InputError(f"COCO file {path} cannot be read: {error}; restore the file") from error
    foreign = foreign_format(path, content)
    if foreign and not (isinstance(content, dict) and set(_PARTS) <= set(content)):
        raise InputError(f"{path} is no COCO file: {foreign}")
    if isinstance(content, list):
        raise InputError(f"{path} holds a list, as COCO results do; expected annotations ({', '.join(_PARTS)})")
    for part in _PARTS:
        entries = content.get(part) if isinstance(content, dict) else None
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise InputError(f"{path} has no list of {part}; expected COCO's object detection format")
    return content


def _table(content: dict[str, list[dict]], path: Path) -> tuple[BoxTable, list[tuple[int, int]]]:
    """Return the objects, and the (height, width) of every image."""
    categories = sorted(
        (_integer(entry, "id", f"{path}, category {k}"), _text(entry, "name", f"{path}, category {k}"))
        for k, entry in enumerate(content["categories"], 1)
    )
    names = [name for _, name in categories]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"{path} has two categories called {twice!r}; rename one or join them")
    label_of = {category: label for label, (category, _) in enumerate(categories)}
    if len(label_of) != len(categories):
        shared = [name for category, name in categories if sum(category == other for other, _ in categories) > 1]
        raise InputError(f"{path}: categories {' and '.join(map(repr, shared))} share an id; give each one of its own")
    image_of: dict[int, int] = {}
    file_names, sizes = [], []
    for number, entry in enumerate(content["images"], 1):
        where = f"{path}, image {number}"
        file_names.append(_text(entry, "file_name", where))
        where += f" ({file_names[-1]})"
        key, height, width = (_integer(entry, field, where) for field in ("id", "height", "width"))
        if image_of.setdefault(key, len(sizes)) != len(sizes):
            raise InputError(f"{where}: another image has the id {key} too; give each image one of its own")
        if not (1 <= height < LARGEST and 1 <= width < LARGEST):
            raise InputError(f"{where}: the size is {width} x {height}, expected pixels from 1 to {LARGEST:g}")
        sizes.append((height, width))

    keys, image, label, areas, difficult = [], [], [], [], []
    for number, entry in enumerate(content["annotations"], 1):
        keys.append(entry.get("id", number))
        where = f"{path}, annotation {keys[-1]}"
        image.append(_reference(entry, "image_id", image_of, where))
        label.append(_reference(entry, "category_id", label_of, where))
        areas.append(_area(entry.get("bbox"), where))
        difficult.append(bool(entry.get("iscrowd")) or bool(entry.get("ignore")))

    areas = np.array(areas, np.float64).reshape(-1, 4)
    label = np.array(label, np.int64)

    def describe(index: int) -> str:
        bbox = ", ".join(f"{value:g}" for value in areas[index])
        return f"{path}, annotation {keys[index]} ({names[label[index]]}): bbox [{bbox}]"

    table = BoxTable(
        path=path,
        entries="annotations",
        file_names=file_names,
        names=names,
        image=np.array(image, np.int64),
        label=label,
        boxes=coco_to_boxes(areas),
        difficult=np.array(difficult, bool),
        describe=describe,
        coco_ids=CocoIds(
            images=dict(zip(image_ids_of(file_names, path), image_of, strict=True)),
            categories={name: category for category, name in categories},
        ),
    )
    return table, sizes


def _area(bbox: Any, where: str) -> list[float]:
    """Return a bbox after a check of its form."""
    if (
        not isinstance(bbox, list)
        or len(bbox) != 4
        or not all(isinstance(value, int | float) and abs(value) < LARGEST for value in bbox)
    ):
        raise InputError(f"{where}: bbox is {bbox!r}, expected four numbers [x, y, width, height]")
    return bbox


def _integer(entry: dict, field: str, where: str) -> int:
    value = entry.get(field)
    if not isinstance(value, int):
        raise InputError(f"{where}: {field} is {value!r}, expected a whole number")
    return value


def _text(entry: dict, field: str, where: str) -> str:
    value = entry.get(field)
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"{where}: {field} is {value!r}, expected a text")
    return value.strip()


def _reference(entry: dict, field: str, known: dict[int, int], where: str) -> int:
    """Return the index of the image or category that an annotation belongs to."""
    key = _integer(entry, field, where)
    if key not in known:
        raise InputError(f"{where}: {field} {key} is not among the {len(known)} ids of the file; correct the file")
    return known[key]
