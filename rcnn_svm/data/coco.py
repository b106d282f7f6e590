"""COCO: image sets of one JSON file in COCO's object detection format and a folder of images."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rcnn_svm.artefacts.files import require_regular
from rcnn_svm.data.box_table import BoxTable, open_table
from rcnn_svm.data.database import CocoIds, ImageDatabase
from rcnn_svm.data.image_folder import ImageFinder, check_folder, image_ids_of
from rcnn_svm.data.images import image_size
from rcnn_svm.data.mended import Notes
from rcnn_svm.data.other_formats import foreign_format
from rcnn_svm.errors import InputError

_PARTS = ("images", "annotations", "categories")

# Beyond any image; larger whole numbers do not fit a float.
LARGEST = 1e9
_PLAIN = {int, float}


def load_coco(
    path: str | os.PathLike,
    images: str | os.PathLike,
    *,
    ids: Sequence[str] | None = None,
    classes: Sequence[str] | None = None,
    ignore_exif: bool = False,
) -> ImageDatabase:
    """Open a COCO annotation file.

    COCO's bbox [x, y, w, h] is an area, measured from the image's upper left corner; its pixels are those from x
    to x + w - 1, so that VOC boxes exported with w = xmax - xmin + 1 come back as they were. A box narrower than a
    pixel is taken for one pixel. Boxes are cut to their image. What is mended or left out is counted in the database's
    `notes`: boxes that are empty or drawn backwards, images without a size, objects of unknown images or categories,
    categories of one name, and paths of another machine.

    Args:
        path: the JSON file; `segmentation`, `area` and the like are not used.
        images: the folder that its `file_name`s are relative to.
        ids: restricts the database to these images, in this order; an id is a file name without suffix.
        classes: names that define the class indices, objects of all others being ignored; by default the
            categories that have objects, in the order of their COCO ids.
        ignore_exif: the boxes are of the pixels as they are stored: images are not turned by their EXIF orientation.

    Returns:
        The database, named as the file (plus a digest of `ids` where given), with the file's numbers of images and
        categories as `coco_ids`. Objects with `iscrowd` or `ignore` are difficult: the evaluation counts them
        neither way, while training takes them for objects as it does VOC's difficult ones.

    Raises:
        InputError: a file or folder is missing, the file is not in this format, or a value cannot be used; all such
            values are said at once.

    Source: the data format of cocodataset.org.
    """
    path, folder = Path(path), check_folder(images, "image folder")
    content = _read(path)
    table, sizes = _table(content, path, folder, Notes())

    def size_of(index: int) -> tuple[int, int]:
        return sizes[index] or image_size(folder / table.file_names[index], ignore_exif=ignore_exif)

    database = open_table(table, folder, size_of, classes, ignore_exif=ignore_exif)
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
        require_regular(path)
        with open(path, encoding="utf-8-sig") as stream:
            content = json.load(stream)
    except FileNotFoundError as error:
        raise InputError(f"COCO file {path} does not exist; correct the path") from error
    except json.JSONDecodeError as error:
        raise InputError(f"{path}, line {error.lineno}: malformed JSON ({error.msg}); restore the file") from error
    except UnicodeDecodeError as error:
        raise InputError(f"COCO file {path} is not UTF-8 text ({error.reason}); save it as UTF-8") from error
    except (OSError, RecursionError, ValueError) as error:  # a number of more digits than Python reads
        raise InputError(f"COCO file {path} cannot be read: {error}; restore the file") from error
    foreign = foreign_format(path, content)
    if foreign and not (isinstance(content, dict) and set(_PARTS) <= set(content)):
        raise InputError(f"{path} is no COCO file: {foreign}")
    if isinstance(content, list):
        raise InputError(f"{path} holds a list, as COCO results do; expected annotations ({', '.join(_PARTS)})")
    for part in _PARTS:
        entries = content.get(part) if isinstance(content, dict) else None
        if isinstance(entries, dict):
            # Some files have objects keyed by id instead of lists.
            entries = content[part] = list(entries.values())
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise InputError(f"{path} has no list of {part}; expected COCO's object detection format")
    return content


def _table(
    content: dict[str, list[dict]], path: Path, folder: Path, notes: Notes
) -> tuple[BoxTable, list[tuple[int, int] | None]]:
    """Return the objects, and the (height, width) of every image, None where the file does not have it."""
    label_of, names, category_ids = _categories(content["categories"], path, notes)
    image_of, file_names, sizes, image_ids = _images(content["images"], path, folder, notes)
    notes.check()

    keys, image, label, areas, difficult, left_out = [], [], [], [], [], []
    prefix = f"{path}, annotation "
    for number, entry in enumerate(content["annotations"], 1):
        key = entry.get("id", number)
        where = f"{prefix}{key}"
        image_key = _key(entry, "image_id", where, notes)
        category = _key(entry, "category_id", where, notes)
        if image_key is None or category is None:
            continue
        bbox = entry.get("bbox")
        area = _area(bbox, where, notes)
        if image_key not in image_of:
            notes.add(
                f"annotations left out, because their image is not among the {len(image_of)} of the file",
                f"{where}: image_id {entry['image_id']!r}",
            )
        elif category not in label_of:
            notes.add(
                f"annotations left out, because their category is not among the {len(label_of)} of the file",
                f"{where}: category_id {entry['category_id']!r}",
            )
        elif area is None:
            left_out.append((image_of[image_key], names[label_of[category]]))
        else:
            keys.append(key)
            image.append(image_of[image_key])
            label.append(label_of[category])
            areas.append(area)
            difficult.append(bool(entry.get("iscrowd")) or bool(entry.get("ignore")))
    notes.check()

    given = np.array(areas, np.float64).reshape(-1, 4)

    def describe(index: int) -> str:
        bbox = ", ".join(f"{value:g}" for value in given[index])
        return f"{path}, annotation {keys[index]} ({names[label[index]]}): bbox [{bbox}]"

    our_ids = image_ids_of(file_names, path)
    table = BoxTable(
        path=path,
        entries="annotations",
        file_names=file_names,
        image_ids=our_ids,
        names=names,
        image=np.array(image, np.int64),
        label=np.array(label, np.int64),
        boxes=coco_to_boxes(given),
        difficult=np.array(difficult, bool),
        describe=describe,
        notes=notes,
        left_out=left_out,
        coco_ids=CocoIds(
            images=dict(zip(our_ids, image_ids, strict=True)),
            categories=dict(zip(names, category_ids, strict=True)),
        ),
    )
    return table, sizes


def _categories(entries: list[dict], path: Path, notes: Notes) -> tuple[dict[int | str, int], list[str], list]:
    """Return the label of every category, and the name and the id, as the file has it, of every label."""
    found = []
    for number, entry in enumerate(entries, 1):
        where = f"{path}, category {number}"
        key, name = _key(entry, "id", where, notes), _text(entry, "name", where, notes)
        if key is not None and name is not None:
            found.append((key, name, entry["id"]))
    # Numbers in their order, then other ids in theirs.
    found.sort(key=lambda category: (isinstance(category[0], str), category[:2]))
    label_of: dict[int | str, int] = {}
    label_by_name: dict[str, int] = {}
    names: list[str] = []
    ids: list[int | str] = []
    for key, name, original in found:
        if key in label_of:
            notes.refuse(
                f"{path}: categories {names[label_of[key]]!r} and {name!r} share an id; give each one of its own"
            )
            continue
        if name in label_by_name:
            notes.add("categories of one name, joined", f"{name!r} with the id {original!r} in {path}")
        else:
            label_by_name[name] = len(names)
            names.append(name)
            ids.append(_written(original))
        label_of[key] = label_by_name[name]
    return label_of, names, ids


def _images(
    entries: list[dict], path: Path, folder: Path, notes: Notes
) -> tuple[dict[int | str, int], list[str], list[tuple[int, int] | None], list[int | str]]:
    """Return the index of every image, and the file, the size and the id, as the file has it, of every index."""
    find = ImageFinder(folder, path, notes)
    image_of: dict[int | str, int] = {}
    file_names: list[str] = []
    sizes: list[tuple[int, int] | None] = []
    ids: list[int | str] = []
    for number, entry in enumerate(entries, 1):
        where = f"{path}, image {number}"
        name = _text(entry, "file_name", where, notes)
        if name is None:
            continue
        where += f" ({name})"
        key = _key(entry, "id", where, notes)
        if key is None:
            continue
        if key in image_of:
            notes.refuse(f"{where}: another image has the id {key} too; give each image one of its own")
            continue
        image_of[key] = len(ids)
        ids.append(_written(entry["id"]))
        file_names.append(find(name))
        height, width = (_whole(entry.get(field)) for field in ("height", "width"))
        if height is None or width is None or not (1 <= height < LARGEST and 1 <= width < LARGEST):
            told = " x ".join(str(entry.get(field))[:20] for field in ("width", "height"))
            notes.add("images without a usable size, taken from the image file", f"{where}: {told}")
            sizes.append(None)
        else:
            sizes.append((height, width))
    return image_of, file_names, sizes, ids


def _area(bbox: Any, where: str, notes: Notes) -> list[float] | None:
    """Return a bbox with positive sides, or None where there is none or it cannot be used."""
    if bbox is None or bbox == []:
        notes.add("annotations left out, because they have no bbox", f"{where}: bbox {bbox}")
        return None
    if type(bbox) is list and _PLAIN.issuperset(map(type, bbox)):
        numbers = bbox if all(-LARGEST < value < LARGEST for value in bbox) else []
    else:
        numbers = [_number(value) for value in bbox] if isinstance(bbox, list) else []
    if len(numbers) != 4 or None in numbers:
        notes.refuse(f"{where}: bbox is {bbox!r}, expected four numbers [x, y, width, height]")
        return None
    x, y, width, height = numbers
    if width == 0 or height == 0:
        notes.add("annotations left out, because their bbox is empty", f"{where}: bbox {bbox}")
        return None
    if width > 0 and height > 0:
        return numbers
    notes.add("bboxes with a negative side, corners exchanged", f"{where}: bbox {bbox}")
    return [min(x, x + width), min(y, y + height), abs(width), abs(height)]


def _number(value: Any) -> float | None:
    """Return a number, as such or as text, or None."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        # A whole number of any length compares with a float; only a text has to become one first.
        value = float(value) if isinstance(value, str) else value
    except ValueError:
        return None
    return value if abs(value) < LARGEST else None


def _whole(value: Any) -> int | None:
    """Return a whole number, however it is spelled (1, 1.0, "1"), or None."""
    # Ids may be larger than any pixel, and longer than a float is exact.
    if isinstance(value, str) and re.fullmatch(r"\s*[+-]?\d{1,20}\s*", value, re.ASCII):
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    number = float(value) if isinstance(value, float) else _number(value)
    return int(number) if number is not None and number.is_integer() else None


def _key(entry: dict, field: str, where: str, notes: Notes) -> int | str | None:
    """Return an id in one spelling: a number, or any other text; None where there is none."""
    value = entry.get(field)
    if type(value) is int:
        return value
    whole = _whole(value)
    if whole is not None:
        return whole
    if isinstance(value, str) and value.strip():
        return value.strip()
    notes.refuse(f"{where}: {field} is {value!r}, expected a whole number or a text")
    return None


def _written(original: int | float | str) -> int | str:
    """Return an id as results have to have it: as in the file, but for 1.0, which is 1."""
    return int(original) if isinstance(original, float) else original


def _text(entry: dict, field: str, where: str, notes: Notes) -> str | None:
    value = entry.get(field)
    if not isinstance(value, str) or not value.strip():
        notes.refuse(f"{where}: {field} is {value!r}, expected a text")
        return None
    return value.strip()
