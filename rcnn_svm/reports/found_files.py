"""What was found in images and frames of videos, for other tools: JSON, CSV, COCO, YOLO.

Files are written image by image, so that memory holds one of them, and are complete when they are closed.
"""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

from rcnn_svm.artefacts.files import atomic_stream, write_text
from rcnn_svm.detection.image_detections import ImageDetections
from rcnn_svm.reports.table import csv_text

CSV_HEADER = ("image", "frame", "x1", "y1", "x2", "y2", "class")


@dataclass(frozen=True)
class FoundIn:
    """What was found in an image or a frame.

    Attributes:
        path: the image file, or the video.
        name: names the image or frame among all: a file name without suffix.
        found: the objects.
        size: height and width, pixels.
        frame: number of the frame, from 0, and seconds since the beginning; None for an image.
        picture: the picture that was drawn, or None.
    """

    path: str
    name: str
    found: ImageDetections
    size: tuple[int, int]
    frame: tuple[int, float] | None = None
    picture: Path | None = None


class FoundWriter(Protocol):
    """Writes what was found, image by image."""

    def add(self, entry: FoundIn) -> None:
        """Write what was found in the next image."""

    def close(self) -> None:
        """Complete what is written."""


class JsonWriter:
    """A list of images, one a line, each with its objects.

    Args:
        out: the file, which appears when it is complete; or a stream, written as images are done.
        kind: what a score is called, `score` or `probability`.
    """

    def __init__(self, out: Path | IO[str], kind: str):
        self._kind, self._stack, self._before = kind, contextlib.ExitStack(), "[\n"
        self._stream = _text(self._stack, out) if isinstance(out, Path) else out

    def add(self, entry: FoundIn) -> None:
        """As in `FoundWriter`."""
        content: dict[str, Any] = {"image": entry.path}
        if entry.frame is not None:
            content["frame"], content["time"] = entry.frame[0], round(entry.frame[1], 3)
        if entry.picture is not None:
            content["picture"] = str(entry.picture)
        content["height"], content["width"] = entry.size
        content["objects"] = [{"class": name, self._kind: score, "box": list(box)} for name, score, box in entry.found]
        self._stream.write(self._before + json.dumps(content))
        self._stream.flush()
        self._before = ",\n"

    def close(self) -> None:
        """As in `FoundWriter`."""
        self._stream.write("[]\n" if self._before == "[\n" else "\n]\n")
        self._stream.flush()
        self._stack.close()


class CsvWriter:
    """A line per object: image, frame (empty for an image), box, class, and score or probability.

    Args:
        out: the file.
        kind: what a score is called.
    """

    def __init__(self, out: Path, kind: str):
        self._stack = contextlib.ExitStack()
        self._stream = _text(self._stack, out)
        self._stream.write(csv_text([[*CSV_HEADER, kind]]))

    def add(self, entry: FoundIn) -> None:
        """As in `FoundWriter`."""
        frame = "" if entry.frame is None else entry.frame[0]
        self._stream.write(csv_text([[entry.path, frame, *box, name, score] for name, score, box in entry.found]))

    def close(self) -> None:
        """As in `FoundWriter`."""
        self._stack.close()


class CocoWriter:
    """A data set as COCO's: images, categories, and an annotation with a score for every object.

    Args:
        out: the file.
        classes: K names; category ids count from 1.
    """

    def __init__(self, out: Path, classes: Sequence[str]):
        self._stack = contextlib.ExitStack()
        self._stream = _text(self._stack, out)
        # Images are written as they come; their annotations follow in the file, and wait for it on disk.
        self._annotations = self._stack.enter_context(_nameless())
        self._images = self._objects = 0
        categories = [{"id": place, "name": name} for place, name in enumerate(classes, start=1)]
        self._stream.write(f'{{"categories": {json.dumps(categories)},\n"images": [')

    def add(self, entry: FoundIn) -> None:
        """As in `FoundWriter`."""
        self._images += 1
        file_name = entry.path if entry.frame is None else f"{entry.name}.jpg"
        image = {"id": self._images, "file_name": file_name, "height": entry.size[0], "width": entry.size[1]}
        if entry.frame is not None:
            image |= {"video": entry.path, "frame": entry.frame[0]}
        self._stream.write(("\n" if self._images == 1 else ",\n") + json.dumps(image))
        for index, (_, score, (x1, y1, x2, y2)) in zip(entry.found.cls.tolist(), entry.found, strict=True):
            self._objects += 1
            width, height = x2 - x1 + 1, y2 - y1 + 1
            annotation = {
                "id": self._objects,
                "image_id": self._images,
                "category_id": index + 1,
                "bbox": [x1, y1, width, height],
                "area": width * height,
                "iscrowd": 0,
                "score": score,
            }
            self._annotations.write(("\n" if self._objects == 1 else ",\n") + json.dumps(annotation))

    def close(self) -> None:
        """As in `FoundWriter`."""
        self._annotations.seek(0)
        self._stream.write('],\n"annotations": [')
        shutil.copyfileobj(self._annotations, self._stream)
        self._stream.write("]}\n")
        self._stream.flush()
        self._stack.close()


class YoloWriter:
    """A text file per image or frame: number of the class, centre, width and height as shares of the image, score.

    Args:
        folder: where they go, with `classes.txt`.
        classes: K names.
    """

    def __init__(self, folder: Path, classes: Sequence[str]):
        self._folder = folder
        write_text(folder / "classes.txt", "".join(f"{name}\n" for name in classes))

    def add(self, entry: FoundIn) -> None:
        """As in `FoundWriter`."""
        height, width = entry.size
        lines = []
        for index, (_, score, (x1, y1, x2, y2)) in zip(entry.found.cls.tolist(), entry.found, strict=True):
            shares = (
                (x1 + x2 + 1) / 2 / width,
                (y1 + y2 + 1) / 2 / height,
                (x2 - x1 + 1) / width,
                (y2 - y1 + 1) / height,
            )
            lines.append(f"{index} {' '.join(f'{share:.6f}' for share in shares)} {score:.6f}\n")
        write_text(self._folder / f"{entry.name}.txt", "".join(lines))

    def close(self) -> None:
        """As in `FoundWriter`."""


def _text(stack: contextlib.ExitStack, path: Path) -> IO[str]:
    """Return a text stream to a file that appears when the stack is closed."""
    stream = stack.enter_context(atomic_stream(path))
    return stack.enter_context(contextlib.closing(io.TextIOWrapper(stream, "utf-8", newline="")))


def _nameless() -> IO[str]:
    """Return a text file on disk that is gone when it is closed."""
    return tempfile.TemporaryFile("w+", encoding="utf-8")
