"""Files in formats that are not read: which one it is, and what to do."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import Any

_EXPORT = "export it again as COCO (--coco), YOLO (--yolo) or Pascal VOC (--xml)"

# A line of YOLO: the number of a class, then centre and size, or the corners of a polygon, as shares of the image.
_YOLO_LINE = re.compile(r"\d+(\s+[-+]?\d*\.?\d+(e[-+]?\d+)?){4,}\s*", re.IGNORECASE)


def foreign_format(path: Path, content: Any = None) -> str | None:
    """Return the name of the format of a file or folder that is not read, with what to do, or None.

    Args:
        path: a file, or a folder of annotations.
        content: what the file holds, where it is JSON and has been read.
    """
    if content is not None:
        return _of_json(content)
    if path.is_dir():
        names = sorted(name for name in path.iterdir() if not name.name.startswith("."))
        return next(filter(None, (_of_file(name) for name in names if name.suffix in (".txt", ".xml", ".json"))), None)
    return _of_file(path)


def _of_file(path: Path) -> str | None:
    if not path.is_file():  # a pipe would be waited for
        return None
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if any(name.startswith(("xl/", "Object")) or name == "content.xml" for name in archive.namelist()):
                return "it is a spreadsheet, such as Excel's .xlsx, whatever its name; save it as CSV (UTF-8)"
        return "it is a ZIP archive, whatever its name; unpack it"
    try:
        with open(path, "rb") as stream:
            start = stream.read(65536)
    except OSError:
        return None
    if start.startswith((b"\xd0\xcf\x11\xe0", b"PK\x03\x04")):
        return "it is a spreadsheet, such as Excel's .xls and .xlsx, whatever its name; save it as CSV (UTF-8)"
    text = start.decode("utf-8-sig", "replace")
    lines = [line for line in text.splitlines()[:-1] or text.splitlines() if line.strip()]
    if lines and all(_YOLO_LINE.fullmatch(line.strip()) for line in lines):
        return (
            "it is in YOLO's format (number of the class, centre and size); give the folder of the data set, or its "
            "data.yaml, with --yolo"
        )
    if re.search(r"<annotations>", text) and re.search(r"<image\s[^>]*\bname=", text):
        return f"it is in the format 'CVAT for images', which is not read; {_EXPORT} from CVAT"
    if '"shapes"' in text and '"imagePath"' in text:
        return "it is in LabelMe's format, which is not read; convert it to COCO, for example with labelme2coco"
    return None


def _of_json(content: Any) -> str | None:
    first = next(iter(content), None) if isinstance(content, list) else content
    if not isinstance(first, dict):
        return None
    if isinstance(content, list):
        if "data" in first and ("annotations" in first or "completions" in first):
            return f"it is Label Studio's own JSON, which is not read; {_EXPORT} from Label Studio"
        if "image" in first and ("annotations" in first or "annotation" in first):
            return f"it is in CreateML's format, which is not read; {_EXPORT}, which Roboflow and others offer"
        return None
    if "shapes" in first:
        return "it is in LabelMe's format, which is not read; convert it to COCO, for example with labelme2coco"
    regions = first.get("_via_img_metadata", first)
    if isinstance(regions, dict) and any(isinstance(value, dict) and "regions" in value for value in regions.values()):
        return "it is VIA's own JSON, which is not read; export annotations as CSV (--csv) or COCO (--coco) from VIA"
    return None
