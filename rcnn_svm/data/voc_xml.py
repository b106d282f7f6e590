"""Annotation files in PASCAL VOC's XML, which many labelling tools write."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rcnn_svm.artefacts.files import require_regular
from rcnn_svm.data.box_table import mend_boxes
from rcnn_svm.data.class_names import NO_CLASS
from rcnn_svm.data.database import Annotation
from rcnn_svm.data.mended import Notes
from rcnn_svm.data.other_formats import foreign_format
from rcnn_svm.errors import InputError

# What tools write for a flag; others, such as labelImg's `Unspecified`, are no.
_FLAGS = {"": False, "0": False, "false": False, "no": False, "1": True, "true": True, "yes": True}
_SIDES = ("xmin", "ymin", "xmax", "ymax")


def read_voc_xml(
    path: Path,
    class_index: dict[str, int],
    *,
    ignore_others: bool,
    unknown: str,
    image_size: Callable[[], tuple[int, int]],
    notes: Notes,
) -> Annotation:
    """Read the objects of one annotation file.

    Args:
        path: the XML file.
        class_index: class name -> index.
        ignore_others: leave out objects of other classes; else they are an error.
        unknown: what that error says of a name which is not in `class_index`.
        image_size: the image's own (height, width), for a file that does not state it.
        notes: counts what is mended (see `mend_boxes`) and the objects that are left out.

    Returns:
        The annotation. Its boxes are those of the file minus 1, because VOC counts pixels from 1. Parts of
        objects are left out. A rotated box is read as the upright box around it.

    Raises:
        InputError: the file is missing or malformed or no annotation, or names another class.

    Source: `PASreadrecord.m` of the VOC devkit.
    """
    root = _parse(path)
    if not _is_annotation(root):
        raise InputError(f"{path} is no annotation in VOC's XML: its first element is <{root.tag}>; {_advice(path)}")
    size = _size(root)
    if size is None:
        found = " x ".join(str(root.findtext(f"size/{side}")) for side in ("width", "height"))
        notes.add("sizes read from the images, because annotations do not have them", f"{path} with {found}")
        size = image_size()
    boxes, classes, difficult, truncated, places = [], [], [], [], []
    for number, element in enumerate(root.findall("object"), 1):
        name = _name(element)
        where = f"{path}, object {number} ({name})"
        if not name:
            notes.add("objects left out, because they have no <name>", f"{path}, object {number}")
            continue
        if _is_empty(element):
            notes.add("objects left out, because their box is 0 0 0 0, which VOC has not", where)
            continue
        if name not in class_index:
            if ignore_others:
                if name.casefold() in map(str.casefold, class_index):
                    kind = "objects left out, because upper and lower case make their class another one"
                    notes.add(kind, where)
                continue
            raise InputError(f"{where}: {name!r} {unknown}")
        box, text = _box(element, where, notes)
        boxes.append(box)
        places.append(f"{where}: box {text}")
        classes.append(class_index[name])
        difficult.append(_flag(element, "difficult", where, notes))
        truncated.append(_flag(element, "truncated", where, notes))
    # VOC counts pixels from 1.
    kept_boxes, kept = mend_boxes(np.array(boxes, np.float64).reshape(-1, 4) - 1, size, places.__getitem__, notes)
    return Annotation(
        image_size=size,
        boxes=kept_boxes,
        classes=np.array(classes, np.int64)[kept],
        difficult=np.array(difficult, bool)[kept],
        truncated=np.array(truncated, bool)[kept],
    )


@dataclass(frozen=True)
class AnnotationHead:
    """What is known of an annotation file before its boxes are read.

    Attributes:
        names: how many objects of every class it has.
        file_name: the name of the image that it states, without folders, or an empty text.
    """

    names: Counter[str]
    file_name: str


def read_head(path: Path) -> AnnotationHead | None:
    """Return the names in an XML file, or None where it is no annotation but, say, a project of a labelling tool.

    Raises:
        InputError: the file is missing or malformed.
    """
    root = _parse(path)
    if not _is_annotation(root):
        return None
    stated = (root.findtext("filename") or "").strip().replace("\\", "/")
    objects = [element for element in root.findall("object") if not (_is_empty(element) and _no_class(element))]
    names = Counter(name for name in map(_name, objects) if name)
    return AnnotationHead(names, stated.rpartition("/")[2])


def object_names(path: Path) -> Counter[str]:
    """Return how many objects of every class an annotation file has.

    Raises:
        InputError: the file is missing or malformed.
    """
    head = read_head(path)
    return Counter() if head is None else head.names


def _is_annotation(root: ElementTree.Element) -> bool:
    return root.tag == "annotation" or root.find("size") is not None or root.find("object") is not None


def _advice(path: Path) -> str:
    return foreign_format(path) or "restore the annotation"


def _parse(path: Path) -> ElementTree.Element:
    """Return the root element of an annotation file."""
    try:
        require_regular(path)
        return ElementTree.parse(path).getroot()
    except FileNotFoundError as error:
        raise InputError(
            f"annotation file {path} does not exist; restore it or take the image out of the split"
        ) from error
    except ElementTree.ParseError as error:
        raise InputError(
            f"{path}, line {error.position[0]}: malformed XML ({error}); correct or restore the annotation"
        ) from error
    except InputError:
        raise
    except (OSError, LookupError, ValueError) as error:
        raise InputError(f"annotation file {path} cannot be read: {error}") from error


def _name(element: ElementTree.Element) -> str:
    return (element.findtext("name") or "").strip()


def _no_class(element: ElementTree.Element) -> bool:
    return _name(element).lower() in NO_CLASS


def _is_empty(element: ElementTree.Element) -> bool:
    """Return whether all corners are 0, as tools write it for an image without objects."""
    return all(_number(element.findtext(f"bndbox/{side}")) == 0 for side in _SIDES)


def _size(root: ElementTree.Element) -> tuple[int, int] | None:
    """Return (height, width) where both are stated as pixels; 240.0 is 240."""
    height, width = (_number(root.findtext(f"size/{side}")) for side in ("height", "width"))
    if not (height >= 1 and width >= 1 and height % 1 == width % 1 == 0):
        return None
    return int(height), int(width)


def _box(element: ElementTree.Element, where: str, notes: Notes) -> tuple[list[float], str]:
    """Return the corners of an object as the file has them, NaN where it has none, and their text."""
    # Direct children only: the <part> elements of an object have names and boxes of their own.
    rotated = element.find("robndbox")
    if element.find("bndbox") is None and rotated is not None:
        texts = {tag: rotated.findtext(tag) for tag in ("cx", "cy", "w", "h", "angle")}
        x, y, width, height, angle = map(_number, texts.values())
        # The hull: half of its width and of its height.
        across = (abs(width * math.cos(angle)) + abs(height * math.sin(angle))) / 2 if math.isfinite(angle) else angle
        down = (abs(width * math.sin(angle)) + abs(height * math.cos(angle))) / 2 if math.isfinite(angle) else angle
        text = " ".join(f"{tag}={value}" for tag, value in texts.items())
        notes.add("rotated boxes read as the upright boxes around them", f"{where}: {text}")
        return [x - across, y - down, x + across, y + down], text
    texts = {side: element.findtext(f"bndbox/{side}") for side in _SIDES}
    text = " ".join(f"{side}={(value or '').strip() or 'missing'}" for side, value in texts.items())
    return list(map(_number, texts.values())), text


def _number(text: str | None) -> float:
    """Return the number that a text is, or NaN."""
    try:
        return float(text or "")
    except ValueError:
        return math.nan


def _flag(element: ElementTree.Element, tag: str, where: str, notes: Notes) -> bool:
    """Return a yes or no; where it is missing, no, as older years and own data leave it out."""
    text = (element.findtext(tag) or "").strip()
    if text.lower() not in _FLAGS:
        notes.add(f"values of <{tag}> read as 0, because they are neither 0 nor 1", f"{where}: {text!r}")
    return _FLAGS.get(text.lower(), False)
