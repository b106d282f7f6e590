"""YOLO: a text file for every image, a line for every object: the number of its class, a box in shares of the image."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import yaml

from rcnn_svm.artefacts.files import require_regular
from rcnn_svm.data.box_table import BoxTable, open_table
from rcnn_svm.data.database import ImageDatabase
from rcnn_svm.data.image_folder import IMAGE_SUFFIXES, LONGEST_PATH, image_ids_of, named_files, only_file
from rcnn_svm.data.images import image_size
from rcnn_svm.data.mended import Notes
from rcnn_svm.errors import InputError

# Files of class names, one a line, as labelImg, Label Studio, CVAT and darknet call them.
_NAME_FILES = ("classes.txt", "obj.names", "labels.txt")
_NAMES_OF_SPLITS = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}
_NOTHING = ("", "~", "null", "Null", "NULL")
_COLUMNS = ("x", "y", "width", "height")
# What a share may be beyond 0 and 1: tools round, and cut what they moved a little too late.
_SLACK = 0.01


def load_yolo(
    path: str | os.PathLike,
    images: str | os.PathLike | None = None,
    *,
    split: str = "all",
    ids: Sequence[str] | None = None,
    classes: Sequence[str] | None = None,
    ignore_exif: bool = False,
) -> ImageDatabase:
    """Open a data set in YOLO's format.

    The label of an image is the text file that has its name, where `labels` stands in the place of `images` in its path
    or, where there is none, beside it. An empty file says that the image shows none of the classes; an image without a
    file is not used. A line has the number of the class, then centre, width and height of the box as shares of the
    image, or the corners of a polygon, of which the upright box around it is taken.

    Args:
        path: `data.yaml` as Ultralytics and Roboflow write it, or its folder; or a folder of images and labels with the
            names of the classes in `classes.txt` or `obj.names`. A `path` of another machine means the file's folder.
        images: the image folder, where it is not in `path`; all images in it are one set then.
        split: `train`, `val`, `test` or `trainval`, as `yolo_splits` returns them, or `all`.
        ids: restricts the database to these images, in this order; an id is a file's name in the data set, without
            suffix and without its folder `images`: `train/0001`.
        classes: names that define the class indices, objects of all others being ignored; by default all names
            that have objects in any split, in the order of their numbers.
        ignore_exif: the boxes are of the pixels as they are stored: images are not turned by their EXIF orientation.

    Returns:
        The database, named as the folder (plus the split, and a digest of `ids` where given). Image sizes are read
        from the image files when an annotation is first needed. Its `notes` count polygons, what was mended or left
        out, splits and images that are not there, and classes without a name, which are called by their numbers.

    Raises:
        InputError: a file or folder is missing, no image has a label, the split is not there, or lines have other
            columns, values that are no shares or classes without a name, which are said at once.

    Source: the formats of docs.ultralytics.com, "Object Detection Datasets Overview", and of darknet.
    """
    notes = Notes()
    data = _open(Path(path), None if images is None else Path(images), notes)
    table = _read(data, notes)
    database = open_table(
        table,
        Path(),
        lambda index: image_size(table.file_names[index], ignore_exif=ignore_exif),
        classes,
        ignore_exif=ignore_exif,
    )
    if split != "all":
        splits = _splits(data)
        if split not in splits:
            found = f"its splits are {', '.join(splits)}" if splits else "it has none"
            raise InputError(f"{path} has no split {split!r}; {found}, and all")
        database = database.subset(splits[split], f"{database.name}_{split}")
    return database if ids is None else database.subset(ids)


def yolo_splits(path: str | os.PathLike, images: str | os.PathLike | None = None) -> dict[str, tuple[str, ...]]:
    """Return the ids of the images of every split that a data set in YOLO's format defines.

    Args:
        path, images: as in `load_yolo`.

    Returns:
        `train` and `val`, `test` or both, with `trainval` then; nothing where the data set has not two of them.

    Raises:
        InputError: a file or folder is missing.
    """
    return _splits(_open(Path(path), None if images is None else Path(images), Notes()))


@dataclass(frozen=True)
class _DataSet:
    """The files of a data set.

    Attributes:
        root: its folder.
        names: class names by number; None where nothing names them.
        named_in: the file with the names.
        image_ids: id of every labelled image file.
        labels: label file of every labelled image file.
        splits: the image files of every split.
        keypoint_values: numbers of a line after the box, where the data set has key points.
    """

    root: Path
    names: Sequence[str] | None
    named_in: Path
    image_ids: Mapping[Path, str]
    labels: Mapping[Path, Path]
    splits: Mapping[str, Sequence[Path]]
    keypoint_values: int


def _open(path: Path, images: Path | None, notes: Notes) -> _DataSet:
    """Return what belongs to a data set, before any label is read."""
    description = _description(path)
    root = description.parent if description else path
    content = _read_description(description, notes) if description else {}
    names, named_in = _names(content, description, root)
    if names is None:
        notes.add("sets without a list of class names (data.yaml, classes.txt), called by their numbers", str(path))
    if images is not None and not images.is_dir():
        raise InputError(f"image folder {images} does not exist; correct the path")
    listed = {} if images else _listed(content, root, description, notes)
    files = {split: list(_image_files(places, root)) for split, places in listed.items()}
    for split in [split for split, found in files.items() if not found]:
        where = ", ".join(map(str, listed[split]))
        notes.add("splits left out, because their folders hold no image", f"{split}: {where}")
        del files[split]
    if not files:
        folder = images or (root / "images" if (root / "images").is_dir() else root)
        files = {"all": list(_image_files([folder], root))}
        if not files["all"]:
            raise InputError(f"{folder} holds no image ({', '.join(IMAGE_SUFFIXES)}); give the image folder (--images)")
    every = list(dict.fromkeys(file for found in files.values() for file in found))
    labels = {file: _label_of(file, root, images) for file in every}
    labelled = {file: label for file, label in labels.items() if os.path.isfile(label)}
    if not labelled:
        raise InputError(
            f"none of the {len(every)} images of {path} has a label file; that of {every[0]} is looked for at "
            f"{labels[every[0]]}"
        )
    _note_stray_labels(labelled.values(), notes)
    splits = {split: [file for file in found if file in labelled] for split, found in files.items()}
    for split in [
        split
        for split in splits
        if split != "train" and splits[split] and {*splits[split]} <= {*splits.get("train", ())}
    ]:
        notes.add("splits left out, because their images are those of train", f"{split} in {description}")
        del splits[split]
    return _DataSet(
        root=root,
        names=names,
        named_in=named_in,
        image_ids=dict(zip(labelled, _image_ids(list(labelled), images or root, path), strict=True)),
        labels=labelled,
        splits=splits,
        keypoint_values=_keypoint_values(content, description),
    )


def _splits(data: _DataSet) -> dict[str, tuple[str, ...]]:
    splits = {split: tuple(data.image_ids[file] for file in files) for split, files in data.splits.items() if files}
    if "train" not in splits or len(splits) < 2:
        return {}
    if len(splits) == 3:
        splits["trainval"] = tuple(dict.fromkeys([*splits["train"], *splits["val"]]))
    return splits


def _description(path: Path) -> Path | None:
    """Return the YAML file of a data set, None where it has none."""
    if path.is_file():
        if path.suffix.lower() in (".yaml", ".yml"):
            return path
        raise InputError(f"{path} is no folder and no data.yaml; give one of them, in YOLO's format")
    if not path.is_dir():
        raise InputError(f"YOLO data set {path} does not exist; correct the path")
    found = sorted(file for file in path.iterdir() if file.suffix.lower() in (".yaml", ".yml") and file.is_file())
    usual = [file for file in found if file.stem == "data"]
    if len(found) > 1 and len(usual) != 1:
        raise InputError(f"{path} holds {found[0].name} and {found[1].name}; give the one that describes the data set")
    return next(iter(usual or found), None)


def _read_description(path: Path, notes: Notes) -> dict[str, Any]:
    text = _text(path, "YOLO file")
    try:
        # All values stay the texts they are: a class called `no` or `007` keeps its name.
        content = yaml.load(text, Loader=yaml.BaseLoader)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or type(error).__name__
        raise InputError(f"{path}{place}: malformed YAML ({problem}); restore the file") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} does not describe a data set of YOLO: expected train, val and names")
    content = {str(key): value for key, value in content.items()}
    for split, keys in _NAMES_OF_SPLITS.items():
        given = [content.pop(key) for key in keys if key in content]
        if given and given[0] not in (*_NOTHING, []):
            content[split] = given[0]
    return content


def _names(content: dict[str, Any], description: Path | None, root: Path) -> tuple[list[str] | None, Path]:
    """Return the class names by number, and the file that has them."""
    names = content.get("names")
    if description and names not in (None, *_NOTHING):
        if isinstance(names, dict):
            numbers = [str(key) for key in names]
            if sorted(numbers) != sorted(map(str, range(len(numbers)))):
                raise InputError(f"{description}: names are numbered {', '.join(numbers[:5])}, expected 0, 1, 2, ...")
            names = [names[key] for key in sorted(names, key=lambda key: int(str(key)))]
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise InputError(f"{description}: names are no list of class names; write names: [cat, dog]")
        number = _whole(content.get("nc"))
        if number not in (None, len(names)):
            raise InputError(f"{description}: nc is {number} with {len(names)} names; correct one of them")
        return [name.strip() or str(k) for k, name in enumerate(names)], description
    files = [folder / name for folder in (root, root / "labels") for name in _NAME_FILES]
    files += sorted(root.glob("*.names"))
    for path in files:
        if path.is_file():
            lines = _text(path, "list of class names").rstrip().splitlines()
            return [line.strip() or str(k) for k, line in enumerate(lines)], path
    return None, description or root


def _text(path: Path, what: str) -> str:
    try:
        require_regular(path)
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{what} {path} is not UTF-8 text ({error.reason}); save it as UTF-8") from error
    except OSError as error:
        raise InputError(f"{what} {path} cannot be read: {error}; restore the file") from error


def _whole(text: Any) -> int | None:
    """Return the whole number that a text is, None for all else, and for numbers of more digits than anything has."""
    return int(text) if isinstance(text, str) and len(text) <= 18 and text.strip().isdecimal() else None


def _keypoint_values(content: dict[str, Any], description: Path | None) -> int:
    """Return how many numbers of a line are key points."""
    shape = content.get("kpt_shape")
    if shape is None:
        return 0
    if isinstance(shape, list) and len(shape) == 2:
        points, values = map(_whole, shape)
        if points is not None and values is not None:
            return points * values
    # A list may hold itself many times over, in more letters than there is memory for.
    stated = repr(shape[:60]) if isinstance(shape, str) else f"a {type(shape).__name__}"
    raise InputError(f"{description}: kpt_shape is {stated}, expected two numbers such as [17, 3]")


def _listed(content: dict[str, Any], root: Path, description: Path | None, notes: Notes) -> dict[str, list[Path]]:
    """Return the files and folders of every split that are there."""
    listed = {}
    for split in _NAMES_OF_SPLITS:
        if split not in content:
            continue
        entries = content[split] if isinstance(content[split], list) else [content[split]]
        if not all(isinstance(entry, str) for entry in entries):
            raise InputError(f"{description}: {split} is no path or list of paths; correct it")
        stated = content.get("path")
        stated = stated if isinstance(stated, str) and stated not in _NOTHING else "."
        found = [_find(entry, stated, root, notes) for entry in entries]
        gone = [entry for entry, place in zip(entries, found, strict=True) if place is None]
        if gone and split == "train":
            raise InputError(f"{description}: there is no {gone[0]}, which train names; correct the path")
        for entry in gone:
            notes.add("splits left out, because their files are not there", f"{split}: {entry} in {description}")
        if not gone:
            listed[split] = [place for place in found if place]
    return listed


def _find(entry: str, stated: str, root: Path, notes: Notes) -> Path | None:
    """Return a file or folder that a data.yaml names, wherever the data set has been moved to."""
    entry = entry.strip().replace("\\", "/")
    # Roboflow writes `../train/images` for a folder beside the file.
    spellings = [entry, entry.removeprefix("../")]
    for base in (root / stated, root):
        for spelling in spellings:
            place = Path(os.path.normpath(base / spelling))
            if _exists(place):
                return place
    parts = _parts_to_search(entry)
    if not PurePath(entry).is_absolute() and ":" not in entry:
        return None
    for start in range(1, len(parts)):
        place = root.joinpath(*parts[start:])
        # `images` alone would be those of all splits.
        if _exists(place) and parts[start:] != ("images",):
            notes.add("paths of another place, found in the data set's folder", f"{entry}, read from {place}")
            return place
    return None


def _parts_to_search(name: str) -> tuple[str, ...]:
    """Return the parts of a path; none where no system takes it, as a damaged file may hold one of thousands."""
    return PurePath(name).parts if len(name) <= LONGEST_PATH else ()


def _exists(path: Path) -> bool:
    return os.path.isfile(path) or os.path.isdir(path)  # neither fails on a name that no file can have


def _image_files(places: Iterable[Path], root: Path) -> Iterator[Path]:
    """Yield the image files of folders, and those that lists name, whether these are there or not."""
    for place in places:
        if os.path.isfile(place):
            yield from _listed_images(place, root)
        else:
            for image_id, files in named_files(place, IMAGE_SUFFIXES, below=True).items():
                yield only_file(files, image_id, "the image")


def _listed_images(path: Path, root: Path) -> Iterator[Path]:
    if path.suffix.lower() in IMAGE_SUFFIXES:
        raise InputError(f"{path} is an image; expected a folder of images or a text file that lists them")
    for line in _text(path, "list of images").splitlines():
        name = line.strip().replace("\\", "/")
        if not name:
            continue
        parts = _parts_to_search(name)
        # Relative to the list, to the data set, or a path of the machine that labelled.
        places = [path.parent / name, root / name, *(root.joinpath(*parts[start:]) for start in range(1, len(parts)))]
        image = Path(os.path.normpath(next((place for place in places if os.path.isfile(place)), places[0])))
        if os.path.isdir(image):
            raise InputError(f"{path} lists {name}, which is a folder; expected the path of an image a line")
        yield image


def _label_of(image: Path, root: Path, images: Path | None) -> Path:
    """Return where the label of an image is or, where it has none, should be."""
    base = images or root
    inside = image.relative_to(base) if image.is_relative_to(base) else Path(image.name)
    places = [image.with_suffix(".txt")]
    parts = image.parts
    if "images" in parts[:-1]:
        last = len(parts) - 2 - parts[-2::-1].index("images")
        places.insert(0, Path(*parts[:last], "labels", *parts[last + 1 :]).with_suffix(".txt"))
    name = Path(*_without_images(list(inside.parts))).with_suffix(".txt")
    places += [root / "labels" / name, root / name]
    return next((place for place in places if os.path.isfile(place)), places[0])


def _note_stray_labels(labels: Iterable[Path], notes: Notes) -> None:
    """Note label files that no image has: perhaps the image got lost."""
    used = set(labels)
    for folder in sorted({label.parent for label in used}):
        # Beside images, a text file may be anything; what is in a folder of labels is one.
        if folder.name == "labels" or "labels" in folder.parts:
            for path in sorted(folder.glob("*.txt")):
                if path not in used and path.name not in _NAME_FILES:
                    notes.add("label files not used, because there is no image of their name", str(path))


def _image_ids(files: Sequence[Path], base: Path, source: Path) -> list[str]:
    """Return the ids of image files: their paths in the data set, without `images` and suffix."""
    if not all(file.is_relative_to(base) for file in files):
        base = Path(os.path.commonpath([file.parent for file in files]))
    inside = [file.relative_to(base).as_posix() for file in files]
    short = ["/".join(_without_images(name.split("/"))) for name in inside]
    return image_ids_of(short if len(set(short)) == len(short) else inside, source)


def _without_images(parts: list[str]) -> list[str]:
    if "images" not in parts[:-1]:
        return parts
    last = len(parts) - 2 - parts[-2::-1].index("images")
    return [*parts[:last], *parts[last + 1 :]]


def _read(data: _DataSet, notes: Notes) -> BoxTable:
    """Return the objects of all labels."""
    places, image, numbers, shares, left_out = [], [], [], [], []
    for index, path in enumerate(data.labels.values()):
        try:
            text = _text(path, "label file")
        except InputError as error:
            notes.refuse(str(error))
            continue
        for line, words in enumerate((words.split() for words in text.splitlines()), 1):
            if not words:
                continue
            where = f"{path}, line {line}"
            number = _class_number(words[0], data, where, notes)
            area = _area(words, data, where, notes)
            if number is None or area is None:
                continue
            if not (area[2] > 0 and area[3] > 0):
                notes.add("objects left out, because their box is empty", f"{where}: {' '.join(words[1:9])}")
                left_out.append((index, number))
                continue
            places.append((index, line))
            image.append(index)
            numbers.append(number)
            shares.append(area)
    notes.check()
    names, label_of = _joined_names(data, {*numbers, *(number for _, number in left_out)}, notes)
    areas = np.array(shares, np.float64).reshape(-1, 4)
    labels = list(data.labels.values())

    def describe(row: int) -> str:
        index, line = places[row]
        area = " ".join(f"{name}={value:g}" for name, value in zip(_COLUMNS, areas[row], strict=True))
        return f"{labels[index]}, line {line} ({names[label_of[numbers[row]]]}): box {area}"

    return BoxTable(
        path=data.root,
        entries="lines",
        file_names=list(map(str, data.labels)),
        image_ids=list(data.image_ids.values()),
        names=names,
        image=np.array(image, np.int64),
        label=np.array([label_of[number] for number in numbers], np.int64),
        boxes=np.hstack([areas[:, :2] - areas[:, 2:] / 2, areas[:, :2] + areas[:, 2:] / 2]),
        difficult=np.zeros(len(areas), bool),
        describe=describe,
        notes=notes,
        left_out=[(index, names[label_of[number]]) for index, number in left_out],
        shares=True,
    )


def _joined_names(data: _DataSet, used: set[int], notes: Notes) -> tuple[list[str], dict[int, int]]:
    """Return the class names, each once, and the place of every number among them."""
    by_number = dict(enumerate(data.names)) if data.names is not None else {k: str(k) for k in sorted(used)}
    place: dict[str, int] = {}
    for number, name in by_number.items():
        if name in place:
            notes.add("class numbers of one name, joined", f"{name!r} with number {number} in {data.named_in}")
        place.setdefault(name, len(place))
    return list(place), {number: place[name] for number, name in by_number.items()}


def _class_number(word: str, data: _DataSet, where: str, notes: Notes) -> int | None:
    try:
        number = float(word)
    except ValueError:
        number = -1.0
    if not number.is_integer() or not 0 <= number < 1e6:
        notes.refuse(f"{where}: the class is {word!r}, expected a number from 0")
        return None
    if data.names is not None and number >= len(data.names):
        notes.refuse(
            f"{where}: the class is {int(number)}, and {data.named_in} names {len(data.names)}, 0 to "
            f"{len(data.names) - 1}; name all classes"
        )
        return None
    return int(number)


def _area(words: list[str], data: _DataSet, where: str, notes: Notes) -> list[float] | None:
    """Return centre, width and height of the box of a line, in shares, or None where it is refused."""
    count = len(words) - 1
    if data.keypoint_values and count == 4 + data.keypoint_values:
        words, count = words[:5], 4
    is_polygon = count >= 6 and count % 2 == 0
    if count != 4 and not is_polygon:
        more = ", as detections with a score have" if count == 5 else ""
        notes.refuse(
            f"{where} has {len(words)} columns{more}; expected 5 (class, x, y, width, height) or a class and the "
            "corners of a polygon"
        )
        return None
    values = []
    for column, word in enumerate(words[1:]):
        try:
            value = float(word)
        except ValueError:
            value = float("nan")
        if not -_SLACK <= value <= 1 + _SLACK:
            name = f"{'xy'[column % 2]} of corner {column // 2 + 1}" if is_polygon else _COLUMNS[column]
            notes.refuse(f"{where}: {name} is {word!r}, expected a share of the image, from 0 to 1")
            return None
        values.append(value)
    if not is_polygon:
        return values
    notes.add("polygons, read as the upright boxes around them", where)
    x1, x2, y1, y2 = min(values[::2]), max(values[::2]), min(values[1::2]), max(values[1::2])
    return [(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1]
