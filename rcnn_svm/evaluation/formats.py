"""Detections in the files of other people's tools: VOC results text and COCO results JSON."""

from __future__ import annotations

import glob
import io
import itertools
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from rcnn_svm.artefacts.files import atomic_stream, file_name, require_regular, write_text
from rcnn_svm.data.database import CocoIds
from rcnn_svm.data.mended import Notes
from rcnn_svm.detection.detections import Detections
from rcnn_svm.errors import InputError
from rcnn_svm.parameters import plain


def write_comp4(detections: Detections, folder: str | os.PathLike, split: str) -> list[Path]:
    """Write one VOC results file per class, `comp4_det_<split>_<class>.txt`.

    A line is `image score x1 y1 x2 y2`, with 1-based inclusive pixels and six decimals in the score, as the
    VOC development kit reads it (`comp4`: detection with outside training data).

    In the file's name split and class are written by `file_name`: `/`, `\\` and `%` as in addresses (`%2F`).

    Args:
        detections: the detections, after non-maximum suppression.
        folder: folder of the files; made if needed.
        split: name of the image set, such as `test`.

    Returns:
        The files' paths, one per class.

    Source: `imdb_eval_voc.m`. The original prints whole pixels; here a box between pixels keeps its fraction.
    """
    paths = []
    for index, name in enumerate(detections.classes):
        rows = detections.of_class(index)
        images = [detections.image_ids[image] for image in detections.image[rows]]
        lines = (
            "{} {:.6f} {:.7g} {:.7g} {:.7g} {:.7g}\n".format(image_id, score, *box)
            for image_id, score, box in zip(
                images, detections.score[rows].tolist(), (detections.box[rows] + 1).tolist(), strict=True
            )
        )
        paths.append(Path(folder) / f"comp4_det_{file_name(split)}_{file_name(name)}.txt")
        write_text(paths[-1], "".join(lines))
    return paths


def read_comp4(
    source: str | os.PathLike, classes: Sequence[str], image_ids: Sequence[str], notes: Notes | None = None
) -> Detections:
    """Read VOC results files, ours or anyone's.

    Many tools write no file for a class of which they found nothing, and detections of all test images where only
    some are labelled.

    Args:
        source: a folder that holds one `comp*_det_*_<class>.txt` per class, or a path with `%s` in the place
            of the class name.
        classes: the classes to read.
        image_ids: the images that may be named.
        notes: counts missing files, which are then classes without detections, and detections of other images,
            which are left out; without it both are refused.

    Returns:
        The detections, in the order of the files' lines.

    Raises:
        InputError: a line is not a detection; a file or an image is unknown, if there are no `notes`; or all of the
            files or all of the images are.
    """
    index_of = {image_id: index for index, image_id in enumerate(image_ids)}
    images, cls, numbers = [], [], []
    missing, others = [], []
    for index, name in enumerate(classes):
        path = _comp4_path(source, name)
        if not path.exists():
            missing.append(_no_results(source, name))
            continue
        try:
            require_regular(path)
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"cannot read the results of class {plain(name)!r} from {path}: {error}") from error
        for number, line in enumerate(lines, 1):
            fields = line.strip().rsplit(maxsplit=5)  # file names may hold spaces
            if not fields:
                continue
            try:
                values = _score_and_box(fields[1:])
            except ValueError as error:
                raise InputError(
                    f"{path}, line {number}: {error}; expected `image score x1 y1 x2 y2`, found {line[:80]!r}"
                ) from None
            if fields[0] not in index_of:
                where = f"{path}, line {number}: image {fields[0]} is not among the {len(image_ids)} images to evaluate"
                others.append(where)
                continue
            images.append(index_of[fields[0]])
            numbers.append(values)
            cls.append(index)
    if missing and (notes is None or len(missing) == len(classes)):
        raise InputError(missing[0])
    if others and (notes is None or not images):
        every = "" if notes is None else f"; nor is that of any other of the {len(others)} detections"
        raise InputError(others[0] + every)
    if notes is not None:
        for where in missing:
            notes.add("classes taken to have no detections, because they have no results file", where)
        for where in others:
            notes.add("detections left out, because their images are not evaluated", where)
    table = np.array(numbers, np.float64).reshape(-1, 5)
    return Detections(
        image_ids=tuple(image_ids),
        classes=tuple(classes),
        image=np.array(images, np.int32),
        cls=np.array(cls, np.int32),
        box=(table[:, 1:] - 1).astype(np.float32),
        score=table[:, 0].astype(np.float32),
        settings={"source": str(source)},
    )


def _comp4_path(source: str | os.PathLike, name: str) -> Path:
    if "%s" in str(source):
        return Path(str(source).replace("%s", file_name(name)))
    if not Path(source).is_dir():
        raise InputError(
            f"{source} is neither a folder with VOC results files nor a path with %s in the place of the class name"
        )
    written = file_name(name)
    found = sorted(Path(source).glob(f"comp*_det_*_{glob.escape(written)}.txt"))
    if len(found) > 1:
        raise InputError(
            f"{source} holds several results files ({found[0].name}, {found[1].name}) for class {plain(name)!r}; "
            f"give the one to read as a path with %s in the place of the class name"
        )
    return found[0] if found else Path(source) / f"comp4_det_test_{written}.txt"


def _no_results(source: str | os.PathLike, name: str) -> str:
    if "%s" in str(source):
        return (
            f"cannot read the results of class {plain(name)!r} from {_comp4_path(source, name)}: there is no such file"
        )
    return f"{source} holds no results file for class {plain(name)!r}"


def _score_and_box(fields: Sequence[str]) -> list[float]:
    if len(fields) != 5:
        raise ValueError(f"{len(fields) + 1} fields instead of 6")
    values = [float(text) for text in fields]
    if not np.isfinite(values).all():
        raise ValueError("a number is not finite")
    _, x1, y1, x2, y2 = values
    if x2 < x1 or y2 < y1:
        raise ValueError("the box ends before it begins")
    return values


def coco_image_ids(image_ids: Sequence[str]) -> list[int]:
    """Return the whole numbers that COCO wants for image ids where no COCO file has given them.

    They are the ids themselves where all are different numbers (VOC2007's `000005` becomes 5), else the
    images' positions in the list, from 0 on.
    """
    if all(image_id.isascii() and image_id.isdigit() for image_id in image_ids):
        numbers = [int(image_id) for image_id in image_ids]
        if len(set(numbers)) == len(numbers):
            return numbers
    return list(range(len(image_ids)))


def write_coco_results(detections: Detections, path: str | os.PathLike, coco_ids: CocoIds | None = None) -> None:
    """Write detections as a COCO results file.

    An entry is `{image_id, category_id, bbox: [x, y, w, h], score}`, where a box that covers one pixel has
    w = h = 1. Boxes have three decimals and scores six. With `coco_ids`, the numbers are those of the COCO file,
    and a class that it does not have gets one above them. Without, `image_id` is given by `coco_image_ids` and
    `category_id` is the class index + 1.

    Args:
        detections: what to write, after non-maximum suppression.
        path: the JSON file.
        coco_ids: ids of the image set's images and classes (`ImageDatabase.coco_ids`).

    Raises:
        InputError: `coco_ids` lacks an image.
    """
    images, categories = _coco_numbers(detections, coco_ids)
    with atomic_stream(path) as binary, io.TextIOWrapper(binary, encoding="utf-8") as stream:
        stream.write("[")
        separator = "\n"
        for entry in _coco_entries(detections, images, categories):
            stream.write(separator + json.dumps(entry))
            separator = ",\n"
        stream.write("\n]\n")


def _coco_numbers(detections: Detections, coco_ids: CocoIds | None) -> tuple[list[int | str], list[int | str]]:
    """Return COCO's image id of every image, and its category id of every class."""
    if coco_ids is None:
        return [*coco_image_ids(detections.image_ids)], [*range(1, len(detections.classes) + 1)]
    unknown = next((image_id for image_id in detections.image_ids if image_id not in coco_ids.images), None)
    if unknown is not None:
        raise InputError(
            f"image {unknown} of the detections is not among the {len(coco_ids.images)} images of the COCO file; "
            "give the file that was tested"
        )
    known = coco_ids.categories
    above = itertools.count(max((number for number in known.values() if isinstance(number, int)), default=0) + 1)
    categories = [known[name] if name in known else next(above) for name in detections.classes]
    return [coco_ids.images[image_id] for image_id in detections.image_ids], categories


def _coco_entries(detections: Detections, images: list[int | str], categories: list[int | str]) -> Iterable[dict]:
    box = detections.box.astype(np.float64)
    extent = np.hstack([box[:, :2], box[:, 2:] - box[:, :2] + 1]).round(3).tolist()
    scores = detections.score.astype(np.float64).round(6).tolist()
    columns = (detections.image.tolist(), detections.cls.tolist(), extent, scores)
    for image, index, bbox, score in zip(*columns, strict=True):
        yield {"image_id": images[image], "category_id": categories[index], "bbox": bbox, "score": score}
