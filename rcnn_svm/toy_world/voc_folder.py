"""The synthetic database of the demo and the tests: a toy world on disk, in the layout of PASCAL VOC."""

from __future__ import annotations

import io
import json
import os
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from rcnn_svm.artefacts.files import READ_ERRORS, atomic_folder
from rcnn_svm.artefacts.identity import already_done
from rcnn_svm.errors import InputError
from rcnn_svm.toy_world.objects import CLASSES
from rcnn_svm.toy_world.scenes import SceneObject, render_scene

SYNTHETIC_CLASSES = tuple(CLASSES)

_GENERATOR_VERSION = 1  # to be raised whenever the same seed gives other pictures
_SETTINGS_FILE = "synthetic.json"
_SAYS = {"kind": "synthetic images", "schema": 1}  # the settings themselves have the version of the generator
_EMPTY_SHARE = 0.08


def write_synthetic_voc(
    root: str | os.PathLike,
    *,
    num_train: int = 60,
    num_test: int = 30,
    seed: int = 0,
    year: str = "2007",
    overwrite: bool = False,
) -> None:
    """Draw textured toy scenes and write them as `root/VOC<year>`, to be read with `load_voc`.

    The five classes are `SYNTHETIC_CLASSES`. Scenes also hold toys that resemble them and are not annotated,
    some objects are `difficult`, and about one scene in twelve has no object. The folder takes its name when it
    is complete. Where it is there, made with the same settings, nothing is done. The n-th image of a
    split depends only on `seed` and n.

    Args:
        root: the VOCdevkit folder; created if missing.
        num_train: images in the split `trainval`.
        num_test: images in the split `test`.
        seed: another seed, other scenes; the same one gives the same bytes with the same library versions.
        year: four digits, for the folder's name.
        overwrite: replace a folder that this function wrote with other settings; any other is left alone.

    Raises:
        InputError: a count below 1, a negative seed, a folder of that name that holds something else, or a
            disk that cannot be written.
    """
    if num_train < 1 or num_test < 1:
        raise InputError(f"cannot make {num_train} training and {num_test} test images; both must be at least 1")
    if seed < 0:
        raise InputError(f"the seed of the synthetic images is {seed}; it must be 0 or more")
    settings = {"version": _GENERATOR_VERSION, "num_train": num_train, "num_test": num_test, "seed": seed}
    folder = Path(root) / f"VOC{year}"
    if folder.exists():
        found = _read_settings(folder)
        if already_done(folder, lambda: found, settings, overwrite=overwrite):
            return
    try:
        with atomic_folder(folder, overwrite=overwrite) as temporary:
            _write_folder(temporary, settings)
    except OSError as error:
        # Another process may have finished the same folder meanwhile.
        if not (folder.exists() and _read_settings(folder) == settings):
            raise InputError(
                f"cannot write the synthetic images to {folder}: {error.strerror or error}; choose another place"
            ) from error


def _read_settings(folder: Path) -> dict[str, Any]:
    """Return the settings of a database that was written here; InputError if `folder` holds anything else."""
    try:
        found = json.loads((folder / _SETTINGS_FILE).read_text(encoding="utf-8"))
        return {name: value for name, value in found.items() if name not in _SAYS}
    except READ_ERRORS as error:
        raise InputError(
            f"{folder} exists and was not written by the synthetic generator; choose another folder"
        ) from error


def _write_folder(folder: Path, settings: dict[str, Any]) -> None:
    """Write images, annotations, splits and settings."""
    for name in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (folder / name).mkdir(parents=True)
    first = 1
    counts = {"trainval": settings["num_train"], "test": settings["num_test"]}
    for index, (split, count) in enumerate(counts.items()):
        scenes: dict[str, list[SceneObject]] = {}
        for number in range(count):
            image_id = f"{first + number:06d}"
            rng = np.random.default_rng([settings["seed"], index, number])
            num_objects = 0 if rng.random() < _EMPTY_SHARE else int(rng.integers(1, 6))
            image, scenes[image_id] = render_scene(rng, num_objects)
            encoded = io.BytesIO()  # Pillow does not see that a disk is full
            Image.fromarray(image).save(encoded, "JPEG", quality=90)
            (folder / "JPEGImages" / f"{image_id}.jpg").write_bytes(encoded.getvalue())
            _write_annotation(folder / "Annotations" / f"{image_id}.xml", image, scenes[image_id])
        first += count
        _write_lists(folder / "ImageSets" / "Main", split, scenes)
    (folder / _SETTINGS_FILE).write_text(json.dumps({**_SAYS, **settings}) + "\n", encoding="utf-8")


def _write_lists(folder: Path, split: str, scenes: dict[str, list[SceneObject]]) -> None:
    """Write the list of a split and, as VOC does, one per class: 1 present, 0 only difficult ones, -1 absent."""
    (folder / f"{split}.txt").write_text("".join(f"{i}\n" for i in scenes), encoding="utf-8")
    for name in SYNTHETIC_CLASSES:
        lines = []
        for image_id, objects in scenes.items():
            difficult = [o.difficult for o in objects if o.name == name]
            flag = -1 if not difficult else int(not all(difficult))
            lines.append(f"{image_id} {flag:2d}\n")
        (folder / f"{name}_{split}.txt").write_text("".join(lines), encoding="utf-8")


def _write_annotation(path: Path, image: np.ndarray, objects: list[SceneObject]) -> None:
    """Write one annotation file; VOC counts pixels from 1."""
    height, width, depth = image.shape
    root = ElementTree.Element("annotation")
    ElementTree.SubElement(root, "filename").text = f"{path.stem}.jpg"
    _add_fields(ElementTree.SubElement(root, "size"), width=width, height=height, depth=depth)
    for item in objects:
        element = ElementTree.SubElement(root, "object")
        _add_fields(element, name=item.name, truncated=int(item.truncated), difficult=int(item.difficult))
        x1, y1, x2, y2 = item.box
        _add_fields(ElementTree.SubElement(element, "bndbox"), xmin=x1 + 1, ymin=y1 + 1, xmax=x2 + 1, ymax=y2 + 1)
    ElementTree.indent(root, "\t")
    path.write_bytes(ElementTree.tostring(root) + b"\n")


def _add_fields(element: ElementTree.Element, **fields: str | int) -> None:
    for tag, value in fields.items():
        ElementTree.SubElement(element, tag).text = str(value)
