"""PASCAL VOC: image sets and annotations of a devkit folder, of any year, or of own data in that layout."""

from __future__ import annotations

import functools
import os
import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from rcnn_svm.data.database import Annotation, ImageDatabase
from rcnn_svm.data.image_folder import IMAGE_SUFFIXES, named_files, only_file
from rcnn_svm.data.images import image_size
from rcnn_svm.data.mended import Notes
from rcnn_svm.data.voc_xml import object_names, read_voc_xml
from rcnn_svm.errors import InputError
from rcnn_svm.parameters import plain

VOC_CLASSES = (
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)


def load_voc(
    root: str | os.PathLike,
    year: str = "2007",
    split: str = "trainval",
    *,
    ids: Sequence[str] | None = None,
    classes: Sequence[str] | None = None,
    ignore_exif: bool = False,
) -> ImageDatabase:
    """Open one image set of a PASCAL VOC devkit.

    Annotation files are read when first needed, so an error in one of them appears then, and the database's `notes`
    count then what was mended or left out. Images may have any usual suffix.

    Args:
        root: a `VOCdevkit` folder, which contains `VOC<year>`, or that folder itself.
        year: four digits.
        split: name of a list in `ImageSets/Main`, such as `trainval` or `test`.
        ids: restricts the database to these images, in this order.
        classes: names that define the class indices, by default the 20 of VOC; with a choice of classes,
            objects of all others are ignored. Names beyond the 20 are accepted when an annotation file or a
            per-class list (`ImageSets/Main/<class>_<split>.txt`) of the folder knows them.
        ignore_exif: the boxes are of the pixels as they are stored: images are not turned by their EXIF orientation.

    Returns:
        The database, named `voc_<year>_<split>` (plus a digest of `ids` where given). Its boxes are the
        annotated ones minus 1, because VOC counts pixels from 1. Parts of objects are left out, objects
        marked `difficult` are kept. Test images of later years, whose annotations VOC keeps secret, have none.

    Raises:
        InputError: a folder, split or id that does not exist, a class that nothing names, or (when read) an
            annotation that is missing, malformed or names an unknown class.

    Source: `imdb_from_voc.m` and `roidb_from_voc.m` of R-CNN.
    """
    folder = _find_voc_folder(Path(root), year)
    name = f"voc_{year}_{split}"
    image_ids = _read_split(folder, split)
    notes = Notes()

    def finder(inside: str, usual: str, suffixes: Sequence[str], what: str) -> Callable[[str], Path]:
        @functools.cache
        def all_files() -> dict[str, list[Path]]:
            return named_files(folder / inside, suffixes, below=True)

        def find(image_id: str) -> Path:
            path = folder / inside / f"{image_id}{usual}"
            # A folder is listed only where a file has not its usual suffix. A name may be too long for one.
            found = [] if os.path.isfile(path) else all_files().get(image_id)
            return only_file(found, image_id, what) if found else path

        return find

    annotation_path = finder("Annotations", ".xml", (".xml",), "the annotation of")
    image_path = finder("JPEGImages", ".jpg", IMAGE_SUFFIXES, "the image")

    if classes is not None:
        _check_classes(classes, folder)
    class_index = {c: k for k, c in enumerate(VOC_CLASSES if classes is None else classes)}

    @functools.cache
    def is_secret() -> bool:
        return split == "test" and int(year) > 2007 and not any(os.path.isfile(annotation_path(i)) for i in image_ids)

    def size_of(image_id: str) -> tuple[int, int]:
        return image_size(image_path(image_id), ignore_exif=ignore_exif)

    def read_annotation(image_id: str) -> Annotation:
        path = annotation_path(image_id)
        if not os.path.isfile(path) and is_secret():
            # Secret after 2007: such images can be detected in, for the evaluation server, but not evaluated.
            return _no_annotation(size_of(image_id))
        return read_voc_xml(
            path,
            class_index,
            ignore_others=classes is not None,
            unknown="is not one of the 20 VOC classes; name the classes of your own data with --classes",
            image_size=lambda: size_of(image_id),
            notes=notes,
        )

    def count_names(image_ids: Sequence[str]) -> tuple[str, Counter[str]]:
        counts = (object_names(annotation_path(image_id)) for image_id in image_ids)
        return f"{len(image_ids)} annotation files", sum(counts, Counter())

    database = ImageDatabase(
        name,
        tuple(class_index),
        image_ids,
        image_path,
        read_annotation,
        count_names,
        notes=notes,
        ignore_exif=ignore_exif,
    )
    return database if ids is None else database.subset(ids)


def _find_voc_folder(root: Path, year: str) -> Path:
    """Return the folder that holds `ImageSets`, `Annotations` and `JPEGImages` of `year`."""
    if not re.fullmatch(r"\d{4}", str(year)):
        raise InputError(f"VOC year {plain(year)!r} is not a year; give four digits such as 2007")
    if not root.is_dir():
        raise InputError(f"VOC folder {root} does not exist; give the path of a VOCdevkit folder")
    if (root / f"VOC{year}").is_dir():
        return root / f"VOC{year}"
    own_year = re.fullmatch(r"VOC(\d{4})", root.resolve().name)
    is_devkit = any((root / part).is_dir() for part in ("ImageSets", "Annotations"))
    if is_devkit and (own_year is None or own_year[1] == str(year)):
        return root
    own = sorted(path.parent for path in root.glob("*/ImageSets") if not re.fullmatch(r"VOC\d{4}", path.parent.name))
    if own and own_year is None:
        raise InputError(
            f"{root} holds no VOC{year} folder, but {own[0].name} in it has a devkit's folders; give {own[0]} itself"
        )
    found = [own_year[0]] if own_year else sorted(p.name for p in root.glob("VOC[0-9][0-9][0-9][0-9]"))
    raise InputError(
        f"{root} holds no VOC{year} folder (found: {', '.join(found) or 'no VOC folder at all'}); "
        "give the VOCdevkit folder that contains it, or another year"
    )


def _read_split(folder: Path, split: str) -> list[str]:
    """Return the image ids of a split, in file order."""
    sets = folder / "ImageSets" / "Main"
    path = sets / f"{split}.txt"
    if not path.is_file():
        if not any(sets.glob("*.txt")):
            raise InputError(_without_sets(folder))
        # The per-class lists (`car_train.txt`) are no splits of images.
        splits = sorted(p.stem for p in sets.glob("*.txt") if "_" not in p.stem)
        raise InputError(
            f"split {plain(split)!r} does not exist: there is no {path}; the splits there are: "
            f"{', '.join(splits) or 'none'}"
        )
    lines = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    image_ids = []
    for number, line in enumerate(lines, 1):
        image_id = line.strip()
        if not image_id:
            continue
        # A line is an id, which may hold spaces; `NAME -1` is of a list of one class, where no image has that name.
        if re.search(r"\s-?[01]$", image_id) and not os.path.isfile(folder / "Annotations" / f"{image_id}.xml"):
            raise InputError(f"{path}, line {number}: found {image_id!r}, expected one image id per line")
        image_ids.append(image_id)
    return image_ids


def _without_sets(folder: Path) -> str:
    return (
        f"{folder} has no lists of images in ImageSets/Main, so it has no splits; read its files without: "
        f"--xml {folder / 'Annotations'} --images {folder / 'JPEGImages'}"
    )


def _check_classes(classes: Sequence[str], folder: Path) -> None:
    """Raise InputError for a class named twice, or known neither to VOC nor to anything in the folder."""
    twice = [c for c, count in Counter(classes).items() if count > 1]
    if twice:
        raise InputError(f"class {plain(twice[0])!r} is given more than once; name each class once")
    listed = {p.stem.rpartition("_")[0] for p in (folder / "ImageSets" / "Main").glob("*_*.txt")}
    unknown = [c for c in classes if c not in VOC_CLASSES and c not in listed]
    names: Counter[str] = Counter()
    paths = [path for found in named_files(folder / "Annotations", (".xml",)).values() for path in found]
    for path in paths:
        # Usually the first few files name all classes there are.
        unknown = [c for c in unknown if c not in names]
        if not unknown:
            return
        names += object_names(path)
    unknown = [c for c in unknown if c not in names]
    if unknown:
        raise InputError(
            f"unknown class {plain(unknown[0])!r}: it is not one of the 20 VOC classes ({', '.join(VOC_CLASSES)}) and "
            f"none of the {len(paths)} annotation files of {folder} names it; they name "
            f"{', '.join(f'{c} ({n})' for c, n in names.most_common()) or 'nothing'}"
        )


def _no_annotation(image_size: tuple[int, int]) -> Annotation:
    none = np.zeros(0, bool)
    return Annotation(image_size, np.zeros((0, 4), np.float32), np.zeros(0, np.int64), none, none)
