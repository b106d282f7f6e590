"""Annotation files in PASCAL VOC's XML, which many labelling tools write."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path

import numpy as np

from rcnn_svm.data.database import Annotation
from rcnn_svm.errors import InputError


def read_voc_xml(
    path: Path, class_index: dict[str, int], *, ignore_others: bool, unknown: str, tolerance: float = 0
) -> Annotation:
    """Read the objects of one annotation file.

    Args:
        path: the XML file.
        class_index: class name -> index.
        ignore_others: leave out objects of other classes; else they are an error.
        unknown: what that error says of a name which is not in `class_index`.
        tolerance: pixels that a box may reach outside the image; what does is cut off.

    Returns:
        The annotation. Its boxes are those of the file minus 1, because VOC counts pixels from 1. Parts of
        objects are left out.

    Raises:
        InputError: the file is missing, malformed or contradictory.

    Source: `PASreadrecord.m` of the VOC devkit.
    """
    root = _parse(path)
    width, height = (_number(root, f"size/{side}", path, int) for side in ("width", "height"))
    if width < 1 or height < 1:
        raise InputError(f"{path}: the image size is {width} x {height}; both must be at least 1 pixel")
    boxes, classes, difficult, truncated = [], [], [], []
    for number, element in enumerate(root.findall("object"), 1):
        name = _text(element, "name", path)
        where = f"{path}, object {number} ({name})"
        if name not in class_index:
            if ignore_others:
                continue
            raise InputError(f"{where}: {name!r} {unknown}")
        # Direct children only: the <part> elements of an object have names and boxes of their own.
        x1, y1, x2, y2 = (_number(element, f"bndbox/{side}", where, float) for side in ("xmin", "ymin", "xmax", "ymax"))
        if not (1 - tolerance <= x1 <= x2 <= width + tolerance and 1 - tolerance <= y1 <= y2 <= height + tolerance):
            raise InputError(
                f"{where}: box xmin={x1:g} ymin={y1:g} xmax={x2:g} ymax={y2:g} is empty or reaches outside "
                f"the image of {width} x {height} pixels, which VOC counts from 1; correct the annotation"
            )
        boxes.append((x1 - 1, y1 - 1, x2 - 1, y2 - 1))
        classes.append(class_index[name])
        difficult.append(_flag(element, "difficult", where))
        truncated.append(_flag(element, "truncated", where))
    limit = np.array([width, height, width, height], np.float32) - 1
    return Annotation(
        image_size=(height, width),
        boxes=np.clip(np.array(boxes, np.float32).reshape(-1, 4), 0, limit),
        classes=np.array(classes, np.int64),
        difficult=np.array(difficult, bool),
        truncated=np.array(truncated, bool),
    )


def object_names(path: Path) -> Counter[str]:
    """Return how many objects of every class an annotation file has.

    Raises:
        InputError: the file is missing or malformed, or an object has no name.
    """
    return Counter(_text(element, "name", path) for element in _parse(path).findall("object"))


def _parse(path: Path) -> ElementTree.Element:
    """Return the root element of an annotation file."""
    try:
        return ElementTree.parse(path).getroot()
    except FileNotFoundError as error:
        raise InputError(
            f"annotation file {path} does not exist; restore it or take the image out of the split"
        ) from error
    except ElementTree.ParseError as error:
        raise InputError(
            f"{path}, line {error.position[0]}: malformed XML ({error}); correct or restore the annotation"
        ) from error
    except (OSError, LookupError, ValueError) as error:
        raise InputError(f"annotation file {path} cannot be read: {error}") from error


def _text(element: ElementTree.Element, tag: str, where: Path | str) -> str:
    """Return the text of a child element."""
    text = (element.findtext(tag) or "").strip()
    if not text:
        raise InputError(f"{where}: <{tag}> is missing or empty in <{element.tag}>; correct the annotation")
    return text


def _number(element: ElementTree.Element, tag: str, where: Path | str, kind: type) -> float:
    """Return the number in a child element."""
    text = _text(element, tag, where)
    try:
        return kind(text)
    except ValueError as error:
        expected = "a whole number" if kind is int else "a number"
        raise InputError(f"{where}: <{tag}> is {text!r}, expected {expected}; correct the annotation") from error


def _flag(element: ElementTree.Element, tag: str, where: str) -> bool:
    """Return a 0/1 child element as bool; where it is missing, False, as older years and own data leave it out."""
    text = (element.findtext(tag) or "0").strip()
    if text not in ("0", "1"):
        raise InputError(f"{where}: <{tag}> is {text!r}, expected 0 or 1; correct the annotation")
    return text == "1"
