"""From labelled images to a detector in one call: what `rcnn-svm run` does, for Python."""

from __future__ import annotations

import csv
import os
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rcnn_svm.errors import InputError

if TYPE_CHECKING:
    from rcnn_svm.data import ImageDatabase
    from rcnn_svm.detection import Detector


def train_detector(
    labelled: ImageDatabase | str | os.PathLike,
    *,
    images: str | os.PathLike | None = None,
    out: str | os.PathLike | None = None,
    preset: str = "standard",
    test_fraction: float = 0.25,
    **options: Any,
) -> Detector:
    """Train a detector on labelled images and return it, with box regression, ranker, recipe and thresholds.

    Runs the stages of `rcnn-svm run` in this process; they print what they do. `detector.detect(image)` finds objects,
    `detector.save(path)` keeps it.

    Args:
        labelled: an image set; or a path: CSV or COCO JSON file, YOLO data.yaml, folder of VOC XML files or of YOLO
            text files, VOC devkit.
        images: image folder of a path, where it is not beside it.
        out: folder for everything that is made, with the report on the test images; another call with it takes over
            what did not change. A temporary one where None.
        preset: settings that go together, as `run --preset` takes them.
        test_fraction: share of the images that is drawn to test on, which gives the thresholds.
        options: other options of `run` by name, such as `max_boxes=50`, `bbox=False`, `test_ids="ids.txt"`.

    Raises:
        InputError: the labels or images cannot be used, or an option is none of `run`.
    """
    from rcnn_svm.cli.main import run_arguments
    from rcnn_svm.cli.run import DETECTOR
    from rcnn_svm.detection.detector import Detector

    with ExitStack() as stack:
        folder = Path(out or stack.enter_context(tempfile.TemporaryDirectory(prefix="rcnn_svm_")))
        source = _source(labelled, images, folder)
        words = _words({**source, "preset": preset, "test_fraction": test_fraction, **options})
        try:
            run_arguments("run", [*words, "--out", str(folder)])
        except SystemExit as error:  # argparse said what is wrong with an option
            raise InputError(f"run does not take these options: {' '.join(words)}") from error
        return Detector.load(folder / DETECTOR)


def _source(labelled: ImageDatabase | str | os.PathLike, images: str | os.PathLike | None, out: Path) -> dict[str, Any]:
    """Return the options that name the images."""
    if isinstance(labelled, (str, os.PathLike)):
        path = Path(labelled)
        return {_kind(path): path, "images": images}
    if images is not None:
        raise InputError("an image set knows its images; leave `images` away")
    from rcnn_svm.data.class_names import write_class_list

    folder = _write_csv(labelled, out / "boxes.csv")
    return {
        "csv": out / "boxes.csv",
        "images": folder,
        "classes": write_class_list(labelled.classes),
        "ignore_exif": labelled.ignore_exif or None,
    }


def _kind(path: Path) -> str:
    """Return the option that takes a path of labels."""
    kinds = {".csv": "csv", ".json": "coco", ".yaml": "yolo", ".yml": "yolo"}
    if path.suffix.lower() in kinds:
        return kinds[path.suffix.lower()]
    if any(path.glob("VOC20*/ImageSets")):
        return "voc"
    return "xml" if any(path.glob("*.xml")) else "yolo"


def _write_csv(database: ImageDatabase, path: Path) -> Path:
    """Write the boxes of an image set as `run --csv` reads them, and return the folder that holds its images."""
    from rcnn_svm.artefacts.files import atomic_path

    files = [database.image_path(index).absolute() for index in range(len(database))]
    folder = Path(os.path.commonpath([file.parent for file in files]))
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["image", "x1", "y1", "x2", "y2", "class", "difficult"])
        for index, file in enumerate(files):
            truth, name = database.annotation(index), file.relative_to(folder).as_posix()
            rows = zip(truth.boxes.tolist(), truth.classes.tolist(), truth.difficult.tolist(), strict=True)
            found = [[name, *box, database.classes[label], int(difficult)] for box, label, difficult in rows]
            writer.writerows(found or [[name, "", "", "", "", "", ""]])
    return folder


def _words(options: dict[str, Any]) -> list[str]:
    """Return options as the command line spells them; those that are None are left out."""
    words: list[str] = []
    for name, value in options.items():
        option = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{option}" if value else f"--no-{option}")
        elif isinstance(value, Sequence) and not isinstance(value, str):
            words += [f"--{option}", *map(str, value)]
        elif value is not None:
            words += [f"--{option}", str(value)]
    return words
