"""Boxes in a CSV file, one object a row, and a folder of images."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rcnn_svm.artefacts.files import require_regular
from rcnn_svm.data.box_table import BoxTable, open_table
from rcnn_svm.data.class_names import NO_CLASS, NO_VALUE
from rcnn_svm.data.coco import coco_to_boxes
from rcnn_svm.data.database import ImageDatabase
from rcnn_svm.data.image_folder import IMAGE_SUFFIXES, ImageFinder, check_folder, image_ids_of
from rcnn_svm.data.images import image_size
from rcnn_svm.data.mended import Notes
from rcnn_svm.data.other_formats import foreign_format
from rcnn_svm.errors import InputError

_CORNERS = ("x1", "y1", "x2", "y2")
_SIDES = ("x", "y", "width", "height")
_CENTRE = ("xcentre", "ycentre", "width", "height")
_COLUMNS = ("image", *_CORNERS, "class")
# What shares may be beyond 0 and 1, by rounding.
_SLACK = 0.01
_SEPARATORS = ",;\t|"

# What other tools call the columns, in lower case, letters and digits only; what comes first is taken first.
_NAMES = {
    "image": "image filename imagename imagefilename file imagefile imagepath filepath path img imgname imageid imgid",
    "x1": "x1 xmin left xtl bboxx1 bboxxmin",
    "y1": "y1 ymin top ytl bboxy1 bboxymin",
    "x2": "x2 xmax right xbr bboxx2 bboxxmax",
    "y2": "y2 ymax bottom ybr bboxy2 bboxymax",
    "class": "class classname label labelname category categoryname name celltype object objectname type",
    "difficult": "difficult isdifficult isgroupof",
    "x": "bboxx x bboxleft left xmin",
    "y": "bboxy y bboxtop top ymin",
    "width": "bboxwidth bboxw w width",
    "height": "bboxheight bboxh h height",
    "xcentre": "xcenter xcentre centerx centrex cx bboxxcenter bboxcx",
    "ycentre": "ycenter ycentre centery centrey cy bboxycenter bboxcy",
    "area": "bbox boundingbox box",
    "shape": "regionshapeattributes",
    "attributes": "regionattributes",
}


@dataclass(frozen=True)
class _Layout:
    """Where a file has what.

    Attributes:
        columns: the index of every column that is known, by our names.
        names: what the file calls its columns.
        numbers: our names of the four columns that make a box.
        header: the file's first row names the columns.
        separator: between two columns.
    """

    columns: dict[str, int]
    names: list[str]
    numbers: tuple[str, ...]
    header: bool
    separator: str


def load_csv(
    path: str | os.PathLike,
    images: str | os.PathLike,
    *,
    ids: Sequence[str] | None = None,
    classes: Sequence[str] | None = None,
    ignore_exif: bool = False,
) -> ImageDatabase:
    """Open a CSV file of boxes.

    The first row names the columns: `image,x1,y1,x2,y2,class` and, where wanted, `difficult` (0 or 1), in any
    order; others are not used. Pixels count from 0 and x2, y2 are the last ones inside, so that a box of one pixel
    has x1 = x2. A row whose box and class are empty is an image without objects.

    The names that other tools give these columns are known too (`filename`, `xmin`, `class_name`, ...), in upper or
    lower case, as are columns of x, y, width and height, which make a box as in COCO, one column `bbox` of these four
    numbers, the centre in the place of x and y, and the columns of the VGG Image Annotator. Where no column has the
    class and `classes` is one name, all objects are of it. Rows without a header are image, x1, y1, x2, y2, class
    (RetinaNet's), or class, x, y, width, height, image (makesense.ai's). Columns are separated by commas, semicolons
    (then numbers may have a decimal comma), tabs or bars. Coordinates that are all between 0 and 1 are shares of the
    image's sides, as in Open Images.

    Args:
        path: the CSV file, UTF-8.
        images: the folder that its image names are relative to. Images that no row names are not used.
        ids: restricts the database to these images, in this order; an id is a file name without suffix.
        classes: names that define the class indices, objects of all others being ignored; by default all names
            that occur, sorted.
        ignore_exif: the boxes are of the pixels as they are stored: images are not turned by their EXIF orientation.

    Returns:
        The database, named as the file (plus a digest of `ids` where given), its images in the order of their first
        rows. Image sizes are read from the image files when an annotation is first needed. Its `notes` count what was
        mended or left out: boxes beyond the image or with exchanged corners, rows with a class and without a box,
        paths of another machine.

    Raises:
        InputError: a file or folder is missing, a column is missing, or values of rows are missing or malformed,
            which are said at once.
    """
    path, folder = Path(path), check_folder(images, "image folder")
    foreign = foreign_format(path)
    if foreign:
        raise InputError(f"{path} is no CSV file: {foreign}")
    table = _read(path, folder, classes[0] if classes is not None and len(classes) == 1 else None)
    database = open_table(
        table,
        folder,
        lambda index: image_size(folder / table.file_names[index], ignore_exif=ignore_exif),
        classes,
        ignore_exif=ignore_exif,
    )
    return database if ids is None else database.subset(ids)


def _read(path: Path, folder: Path, only_class: str | None) -> BoxTable:
    """Return the content of the file; without a column of classes all objects are of `only_class`."""
    notes = Notes()
    find = ImageFinder(folder, path, notes)
    images: dict[str, int] = {}
    lines, image, found, numbers, difficult, left_out = [], [], [], [], [], []
    text = _text(path)
    layout = _layout(text, path, only_class)
    if layout.numbers == _SIDES and "area" in layout.columns:
        notes.add("files of boxes in one column, read as x, y, width, height", str(path))
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=layout.separator, skipinitialspace=True)
    try:
        header = layout.header
        for cells in reader:
            if not cells or _is_separator_line(cells):
                continue
            if header:
                header = False
                continue
            where = f"{path}, line {reader.line_num}"
            _check_length(cells, layout, where, notes)
            row = _Row(cells, layout, where, notes)
            name = row.text("image")
            if not name:
                row.refuse_empty("image")
                continue
            index = images.setdefault(find(name), len(images))
            box = row.box()
            label = row.text("class") if "class" in layout.columns else "" if box == [] else only_class or ""
            if box is None and label:
                left_out.append((index, label))
            if box == []:
                if label.lower() not in NO_VALUE:
                    notes.add("rows left out, because they have a class and no box", f"{where}: {label!r}")
                if label.lower() not in NO_CLASS:
                    left_out.append((index, label))
                continue
            if not label:
                row.refuse_empty("class")
            is_difficult = row.flag("difficult")
            if box is None or not label or is_difficult is None:
                continue
            if not any(box) and label.lower() in NO_CLASS:
                notes.add(
                    "rows left out, because their box is 0,0,0,0 and their class is no object", f"{where}: {label!r}"
                )
                continue
            lines.append(reader.line_num)
            image.append(index)
            found.append(label)
            numbers.append(box)
            difficult.append(is_difficult)
    except csv.Error as error:
        raise InputError(f"CSV file {path} cannot be read: {error}; restore the file") from error
    notes.check()
    names = sorted(set(found))
    table = np.array(numbers, np.float64).reshape(-1, 4)
    label_of = {name: label for label, name in enumerate(names)}
    is_area = layout.numbers != _CORNERS
    # No file of pixels has all its corners within the first one of every image.
    within = np.all((table >= -_SLACK) & (table <= 1 + _SLACK))
    shares = len(table) > 0 and bool(within and (table % 1 > 0).any())
    if shares:
        notes.add("boxes in shares of the image's width and height, made pixels", f"{path}: {len(table)} boxes")
        boxes = np.hstack([table[:, :2], table[:, :2] + table[:, 2:]]) if is_area else table
    else:
        boxes = coco_to_boxes(table) if is_area else table

    def describe(index: int) -> str:
        sides = _SIDES if is_area else _CORNERS
        box = " ".join(f"{side}={value:g}" for side, value in zip(sides, table[index], strict=True))
        return f"{path}, line {lines[index]} ({found[index]}): box {box}"

    return BoxTable(
        path=path,
        entries="rows",
        file_names=list(images),
        image_ids=image_ids_of(images, path),
        names=names,
        image=np.array(image, np.int64),
        label=np.array([label_of[name] for name in found], np.int64),
        boxes=boxes,
        difficult=np.array(difficult, bool),
        describe=describe,
        notes=notes,
        left_out=left_out,
        shares=shares,
    )


def _text(path: Path) -> str:
    """Return the text of the file."""
    try:
        require_regular(path)
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError as error:
        raise InputError(f"CSV file {path} does not exist; correct the path") from error
    except UnicodeDecodeError as error:
        raise InputError(f"CSV file {path} is not UTF-8 text ({error.reason}); save it as UTF-8") from error
    except OSError as error:
        raise InputError(f"CSV file {path} cannot be read: {error}; restore the file") from error


def _layout(text: str, path: Path, only_class: str | None) -> _Layout:
    """Return where the file has what, from its first row; it needs no classes where all objects are of one."""
    layouts = []
    for separator in _SEPARATORS:
        try:
            rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True)
            cells = next((row for row in rows if row and not _is_separator_line(row)), [])
        except csv.Error as error:
            raise InputError(f"CSV file {path} cannot be read: {error}; restore the file") from error
        layouts.append(_without_header(cells, separator) or _with_header(cells, separator, path))
    # The separator that makes most columns known; commas where none does.
    layout = max(layouts, key=lambda layout: len(layout.columns))
    missing = [column for column in ("image", *layout.numbers, "class") if column not in layout.columns]
    if missing == ["class"] and only_class is not None:
        return layout
    if missing:
        raise InputError(
            f"{path}, line 1: there is no column {missing[0]!r} among "
            f"{', '.join(layout.names) or 'no columns at all'}; expected {','.join(_COLUMNS)} and, where wanted, "
            "difficult, separated by commas, or the names of another tool for them"
            + ("; where all objects are of one class, name it with --classes" if missing == ["class"] else "")
        )
    return layout


def _with_header(cells: list[str], separator: str, path: Path) -> _Layout:
    """Return where columns are that the first row names."""
    names = [cell.strip() for cell in cells]
    plain = [re.sub(r"[^a-z0-9]", "", name.lower()) for name in names]
    columns = {}
    for ours, theirs in _NAMES.items():
        # Our own name comes first, as it is spelled.
        known = [name for name in theirs.split() if name in plain]
        if ours in names or known:
            columns[ours] = names.index(ours) if ours in names else plain.index(known[0])
            twice = [name for name in names if name and name == names[columns[ours]]]
            if len(twice) > 1:
                raise InputError(f"{path}, line 1: there are {len(twice)} columns {twice[0]!r}; rename or remove one")
    numbers: tuple[str, ...] = _CORNERS
    if "shape" in columns and "attributes" in columns:
        numbers = _SIDES
        columns.update(dict.fromkeys((*_SIDES, "class"), -1))
    elif not all(corner in columns for corner in _CORNERS):
        numbers = next((n for n in (_CENTRE, _SIDES) if all(side in columns for side in n)), _CORNERS)
        if numbers == _CORNERS and "area" in columns:
            numbers = _SIDES
            columns.update(dict.fromkeys(_SIDES, -1))
    # Columns numbered -1 are made of others.
    used = {"image", "class", "difficult", *numbers}
    used |= {"shape", "attributes", "area"} if -1 in columns.values() else set()
    return _Layout({ours: k for ours, k in columns.items() if ours in used}, names, numbers, True, separator)


def _without_header(cells: list[str], separator: str) -> _Layout | None:
    """Return where columns are in a file whose first row is an object or an image without any, or None."""

    def is_box(box: Sequence[str]) -> bool:
        decimal = [cell.replace(",", ".") if separator != "," else cell for cell in box]
        return len(box) == 4 and (not any(cell.strip() for cell in box) or all(_finite(c) is not None for c in decimal))

    def is_image(name: str) -> bool:
        return name.strip().lower().endswith(IMAGE_SUFFIXES)

    if len(cells) == 6 and is_image(cells[0]) and is_box(cells[1:5]):
        order, numbers = _COLUMNS, _CORNERS
    elif len(cells) in (6, 8) and is_image(cells[5]) and is_box(cells[1:5]):
        order, numbers = ("class", *_SIDES, "image"), _SIDES
    else:
        return None
    names = [*order, *(f"column {k}" for k in range(7, len(cells) + 1))]
    return _Layout({name: k for k, name in enumerate(order)}, names, numbers, False, separator)


def _is_separator_line(cells: list[str]) -> bool:
    """Return whether a row is the line with which Excel names the separator."""
    return cells[0].startswith("sep=") and not any(cells[1:])


def _check_length(cells: list[str], layout: _Layout, where: str, notes: Notes) -> None:
    """Refuse text beyond the last column: a comma too many, such as one inside a name, moves all that follow."""
    beyond = [text for text in cells[len(layout.names) :] if text.strip()]
    if beyond:
        notes.refuse(
            f"{where}: {beyond[0]!r} is beyond the {len(layout.names)} columns of line 1; remove a comma, or quote the "
            "text that holds it"
        )


class _Row:
    """The cells of a row by our names; what is wrong with them is kept by `notes`."""

    def __init__(self, cells: list[str], layout: _Layout, where: str, notes: Notes):
        self._layout = layout
        self._where = where
        self._notes = notes
        self._cells = {
            name: cells[k].strip() if 0 <= k < len(cells) else "" for name, k in layout.columns.items() if k >= 0
        }
        if "shape" in self._cells:
            self._read_shape()
        elif "area" in self._cells:
            self._read_area()

    def text(self, column: str) -> str:
        """Return the text of a column, empty where there is none."""
        return self._cells.get(column, "")

    def box(self) -> list[float] | None:
        """Return the four numbers of the box, [] where all are empty, None where one is refused."""
        texts = [self.text(column) for column in self._layout.numbers]
        if all(text.lower() in NO_VALUE for text in texts):
            return []
        numbers = []
        for column, text in zip(self._layout.numbers, texts, strict=True):
            value = _finite(text.replace(",", ".") if self._layout.separator != "," else text)
            if not text:
                self.refuse_empty(column)
            elif value is None:
                self._notes.refuse(f"{self._where}: {column} is {text!r}, expected a number")
            if value is None:
                return None
            numbers.append(value)
        if self._layout.numbers == _CORNERS:
            return numbers
        x, y, width, height = numbers
        if self._layout.numbers == _CENTRE:
            x, y = x - width / 2, y - height / 2
        if width == 0 or height == 0:
            self._notes.add("rows left out, because their box is empty", f"{self._where}: {', '.join(texts)}")
            return None
        if width < 0 or height < 0:
            self._notes.add("boxes of a negative side, corners exchanged", f"{self._where}: {', '.join(texts)}")
        return [min(x, x + width), min(y, y + height), abs(width), abs(height)]

    def flag(self, column: str) -> bool | None:
        """Return a 0/1 column as bool, False where it is empty, None where it is refused."""
        text = self.text(column).lower()
        # -1 is unknown in Open Images.
        if text in (*NO_VALUE, "0", "0.0", "false", "-1"):
            return False
        if text in ("1", "1.0", "true"):
            return True
        self._notes.refuse(f"{self._where}: {column} is {self.text(column)!r}, expected 0 or 1")
        return None

    def refuse_empty(self, column: str) -> None:
        """Keep that a column is empty."""
        self._notes.refuse(
            f"{self._where}: {column} is empty; fill it in, or empty box and class of an image without objects"
        )

    def _read_area(self) -> None:
        """Take the box from one column, such as `[834.0, 222.0, 56.0, 36.0]`."""
        numbers = re.sub(r"[\[\](),;]", " ", self._cells["area"]).split()
        if len(numbers) not in (0, 4) and self._cells["area"].lower() not in NO_VALUE:
            self._notes.refuse(f"{self._where}: the box is {self._cells['area']!r}, expected four numbers")
            numbers = []
        self._cells.update(zip(_SIDES, numbers, strict=False))

    def _read_shape(self) -> None:
        """Take box and class from the JSON of the VGG Image Annotator."""
        shape, attributes = (self._json(column) for column in ("shape", "attributes"))
        if shape and not all(side in shape for side in _SIDES):
            self._notes.add(
                "rows left out, because their region is no rectangle", f"{self._where}: {shape.get('name', 'no name')}"
            )
            return
        self._cells.update({side: str(shape.get(side, "")) for side in _SIDES})
        labels = [str(attributes[name]) for name in _NAMES["class"].split() if attributes.get(name)]
        # Projects name their attributes as they like; one that is alone is the class.
        labels += [str(value) for value in attributes.values()] if len(attributes) == 1 else []
        self._cells["class"] = labels[0].strip() if labels else ""

    def _json(self, column: str) -> dict[str, Any]:
        try:
            content = json.loads(self.text(column) or "{}")
        except (ValueError, RecursionError):
            content = None
        if not isinstance(content, dict):
            self._notes.refuse(f"{self._where}: {column} is {self.text(column)!r}, expected JSON in braces")
            return {}
        return content


def _finite(text: str) -> float | None:
    """Return the number that a text spells, or None."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
