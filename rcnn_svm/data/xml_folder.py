"""A folder of annotation files in VOC's XML, as labelling tools write them, with images beside them or elsewhere."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rcnn_svm.data.box_table import TOLERANCE
from rcnn_svm.data.class_names import choose_classes, unwritable_character
from rcnn_svm.data.database import Annotation, ImageDatabase
from rcnn_svm.data.image_folder import IMAGE_SUFFIXES, check_folder, set_name
from rcnn_svm.data.voc_xml import object_names, read_voc_xml
from rcnn_svm.errors import InputError


def load_xml_folder(
    folder: str | os.PathLike,
    images: str | os.PathLike | None = None,
    *,
    ids: Sequence[str] | None = None,
    classes: Sequence[str] | None = None,
) -> ImageDatabase:
    """Open a folder of VOC XML files, without the other folders of a devkit.

    The image of `NAME.xml` is the one called NAME, whatever its suffix. Pixels count from 1 in these files, as in
    VOC; boxes that reach outside the image by up to 1 pixel are cut to it.

    Args:
        folder: holds the XML files; every one is read for its class names.
        images: the folder of the images; by default the same. Images without an XML file are not used.
        ids: restricts the database to these images, in this order; an id is the name of an XML file without suffix.
        classes: names that define the class indices, objects of all others being ignored; by default all names
            that occur, sorted.

    Returns:
        The database, named as the folder (plus a digest of `ids` where given), its images sorted by id.

    Raises:
        InputError: a folder or an image is missing, two images could be meant, a file's name cannot be written, an
            XML file is malformed, or (when read) contradictory.
    """
    folder = check_folder(folder, "annotation folder")
    images = check_folder(folder if images is None else images, "image folder")
    annotations = {path.stem: path for path in sorted(folder.glob("*.xml"))}
    if not annotations:
        raise InputError(f"{folder} holds no *.xml files; give the folder of the annotations")
    for path in annotations.values():
        unwritable = unwritable_character(path.name)
        if unwritable:
            raise InputError(f"{folder} holds the file {path.name!r}, whose name holds {unwritable!r}; rename it")
    image_path = _find_images(annotations, images)
    names = {image_id: object_names(path) for image_id, path in annotations.items()}
    total: Counter[str] = Counter()
    for counts in names.values():
        total += counts
    chosen = choose_classes(total, sorted(total), classes, folder)
    class_index = {name: index for index, name in enumerate(chosen)}

    def read_annotation(image_id: str) -> Annotation:
        return read_voc_xml(
            annotations[image_id],
            class_index,
            ignore_others=classes is not None,
            unknown="was not there when the folder was opened; start again",
            tolerance=TOLERANCE,
        )

    def count_names(image_ids: Sequence[str]) -> tuple[str, Counter[str]]:
        counts: Counter[str] = Counter()
        for image_id in image_ids:
            counts += names[image_id]
        return f"{len(image_ids)} annotation files", counts

    database = ImageDatabase(
        set_name(folder), chosen, tuple(annotations), image_path.__getitem__, read_annotation, count_names
    )
    return database if ids is None else database.subset(ids)


def _find_images(annotations: dict[str, Path], images: Path) -> dict[str, Path]:
    """Return the image file of every annotation file."""
    found: dict[str, list[Path]] = {}
    for path in sorted(images.iterdir()):
        if path.suffix.lower() in IMAGE_SUFFIXES:
            found.setdefault(path.stem, []).append(path)
    for image_id, annotation in annotations.items():
        candidates = found.get(image_id, [])
        if not candidates:
            raise InputError(
                f"there is no image {image_id}.* in {images} for {annotation}; add it, or give the folder with --images"
            )
        if len(candidates) > 1:
            raise InputError(
                f"{candidates[0]} and {candidates[1].name} could both be the image of {annotation}; rename one of them"
            )
    return {image_id: found[image_id][0] for image_id in annotations}
