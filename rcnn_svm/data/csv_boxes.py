"""Boxes in a CSV file, one object a row, and a folder of images."""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rcnn_svm.data.box_table import BoxTable, open_table
from rcnn_svm.data.database import ImageDatabase
from rcnn_svm.data.image_folder import check_folder
from rcnn_svm.data.images import image_size
from rcnn_svm.data.other_formats import foreign_format
from rcnn_svm.errors import InputError

_CORNERS = ("x1", "y1", "x2", "y2")
_COLUMNS = ("image", *_CORNERS, "class")


def load_csv(
    path: str | os.PathLike,
    images: str | os.PathLike,
    *,
    ids: Sequence[str] | None = None,
    classes: Sequence[str] | None = None,
) -> ImageDatabase:
    """Open a CSV file of boxes.

    The first row names the columns: `image,x1,y1,x2,y2,class` and, where wanted, `difficult` (0 or 1), in any
    order; others are not used. Pixels count from 0 and x2, y2 are the last ones inside, so that a box of one pixel
    has x1 = x2. A row whose box and class are empty is an image without objects. Boxes that reach outside the image
    by up to 1 pixel are cut to it.

    Args:
        path: the CSV file, UTF-8, separated by commas.
        images: the folder that its image names are relative to. Images that no row names are not used.
        ids: restricts the database to these images, in this order; an id is a file name without suffix.
        classes: names that define the class indices, objects of all others being ignored; by default all names
            that occur, sorted.

    Returns:
        The database, named as the file (plus a digest of `ids` where given), its images in the order of their first
        rows. Image sizes are read from the image files when an annotation is first needed.

    Raises:
        InputError: a file or folder is missing, a column or a value of a row is missing or malformed, or (when
            read) a box is empty or outside its image.
    """
    path, folder = Path(path), check_folder(images, "image folder")
    foreign = foreign_format(path)
    if foreign:
        raise InputError(f"{path} is no CSV file: {foreign}")
    table = _read(path)
    database = open_table(table, folder, lambda index: image_size(folder / table.file_names[index]), classes)
    return database if ids is None else database.subset(ids)


def _read(path: Path) -> BoxTable:
    """Return the content of the file."""
    images: dict[str, int] = {}
    lines, image, found, corners, difficult = [], [], [], [], []
    try:
        with open(path, encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream, skipinitialspace=True)
            _check_header(reader.fieldnames or (), path)
            for row in reader:
                where = f"{path}, line {reader.line_num}"
                _check_length(row, reader.fieldnames, where)
                file_name = _cell(row, "image", where)
                index = images.setdefault(file_name, len(images))
                if not any((row[column] or "").strip() for column in _COLUMNS[1:]):
                    continue
                lines.append(reader.line_num)
                image.append(index)
                found.append(_cell(row, "class", where))
                corners.append([_number(row, column, where) for column in _CORNERS])
                difficult.append(_flag(row, where))
    except FileNotFoundError as error:
        raise InputError(f"CSV file {path} does not exist; correct the path") from error
    except UnicodeDecodeError as error:
        raise InputError(f"CSV file {path} is not UTF-8 text ({error.reason}); save it as UTF-8") from error
    except (OSError, csv.Error) as error:
        raise InputError(f"CSV file {path} cannot be read: {error}; restore the file") from error
    names = sorted(set(found))
    boxes = np.array(corners, np.float64).reshape(-1, 4)
    label_of = {name: label for label, name in enumerate(names)}

    def describe(index: int) -> str:
        box = " ".join(f"{side}={value:g}" for side, value in zip(_CORNERS, boxes[index], strict=True))
        return f"{path}, line {lines[index]} ({found[index]}): box {box}"

    return BoxTable(
        path=path,
        entries="rows",
        file_names=list(images),
        names=names,
        image=np.array(image, np.int64),
        label=np.array([label_of[name] for name in found], np.int64),
        boxes=boxes,
        difficult=np.array(difficult, bool),
        describe=describe,
    )


def _check_header(columns: Sequence[str], path: Path) -> None:
    missing = [column for column in _COLUMNS if column not in columns]
    if missing:
        raise InputError(
            f"{path}, line 1: there is no column {missing[0]!r} among {', '.join(columns) or 'no columns at all'}; "
            f"expected {','.join(_COLUMNS)} and, where wanted, difficult, separated by commas"
        )


def _check_length(row: dict[str | None, Any], columns: Sequence[str], where: str) -> None:
    """Refuse text beyond the last column: a comma too many, such as one inside a name, moves all that follow."""
    beyond = [text for text in row.get(None, ()) if text.strip()]
    if beyond:
        raise InputError(
            f"{where}: {beyond[0]!r} is beyond the {len(columns)} columns of line 1; remove a comma, or quote the "
            "text that holds it"
        )


def _cell(row: dict[str, str | None], column: str, where: str) -> str:
    text = (row[column] or "").strip()
    if not text:
        raise InputError(f"{where}: {column} is empty; fill it in, or empty box and class of an image without objects")
    return text


def _number(row: dict[str, str | None], column: str, where: str) -> float:
    text = _cell(row, column, where)
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(f"{where}: {column} is {text!r}, expected a number")
    return value


def _flag(row: dict[str, str | None], where: str) -> bool:
    text = (row.get("difficult") or "0").strip()
    if text not in ("0", "1"):
        raise InputError(f"{where}: difficult is {text!r}, expected 0 or 1")
    return text == "1"
