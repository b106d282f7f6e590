"""A folder of annotation files in VOC's XML, as labelling tools write them, with images beside them or elsewhere."""

from __future__ import annotations

import functools
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rcnn_svm.data.box_table import note_case
from rcnn_svm.data.class_names import choose_classes, unwritable_character
from rcnn_svm.data.database import Annotation, ImageDatabase
from rcnn_svm.data.image_folder import IMAGE_SUFFIXES, check_folder, named_files, only_file, set_name
from rcnn_svm.data.images import image_size
from rcnn_svm.data.mended import Notes, all_at_once
from rcnn_svm.data.other_formats import foreign_format
from rcnn_svm.data.voc_xml import AnnotationHead, read_head, read_voc_xml
from rcnn_svm.errors import InputError


def load_xml_folder(
    folder: str | os.PathLike,
    images: str | os.PathLike | None = None,
    *,
    ids: Sequence[str] | None = None,
    classes: Sequence[str] | None = None,
    ignore_exif: bool = False,
) -> ImageDatabase:
    """Open a folder of VOC XML files, without the other folders of a devkit.

    The image of `NAME.xml` is the one called NAME, whatever its suffix; NAME may end with that suffix too. If there is
    none, it is the one that the file names, or the only one called NAME in a sub-folder. An image that is missing is
    missed when it is read. Pixels count from 1 in these
    files, as in VOC. Hidden files are not read. Where the folder has no XML files, those in its sub-folders are read.

    Args:
        folder: holds the XML files; every one is read for its class names.
        images: the folder of the images; by default the same. Images without an XML file are not used.
        ids: restricts the database to these images, in this order; an id is the name of an XML file without suffix.
        classes: names that define the class indices, objects of all others being ignored; by default all names
            that occur, sorted.
        ignore_exif: the boxes are of the pixels as they are stored: images are not turned by their EXIF orientation.

    Returns:
        The database, named as the folder (plus a digest of `ids` where given), its images sorted by id. Its `notes`
        count the XML files that are no annotations, and what is mended or left out when annotations are read.

    Raises:
        InputError: a folder is missing, two files could be meant, a file's name cannot be written, an
            XML file is malformed, or no file is an annotation, such as those of other formats.
    """
    if Path(folder).is_file() and foreign_format(Path(folder)):
        raise InputError(f"{folder} is no folder of VOC's XML files: {foreign_format(Path(folder))}")
    folder = check_folder(folder, "annotation folder")
    images = check_folder(folder if images is None else images, "image folder")
    notes = Notes()
    files = named_files(folder, (".xml",)) or named_files(folder, (".xml",), below=True)
    annotations, heads, wrong = {}, {}, []
    for image_id, found in files.items():
        path = only_file(found, image_id, "the annotation of")
        unwritable = unwritable_character(image_id)
        if unwritable:
            raise InputError(f"{folder} holds the file {path.name!r}, whose name holds {unwritable!r}; rename it")
        try:
            head = read_head(path)
        except InputError as error:
            wrong.append(str(error))
            continue
        if head is None:
            notes.add("XML files left out, because they are no annotations", str(path))
            continue
        annotations[image_id], heads[image_id] = path, head
    if wrong:
        raise InputError(all_at_once(wrong))
    if not annotations:
        advice = foreign_format(folder)
        raise InputError(
            f"{folder} holds no {'annotations among its ' if files else ''}*.xml files; "
            f"{f'for a file in it: {advice}' if advice else 'give the folder of the annotations'}"
        )
    image_path = _find_images(annotations, heads, images)
    names = {image_id: head.names for image_id, head in heads.items()}
    total: Counter[str] = Counter()
    for counts in names.values():
        total += counts
    chosen = choose_classes(total, sorted(total), classes, folder)
    note_case(sorted(total), folder, notes)
    class_index = {name: index for index, name in enumerate(chosen)}

    def read_annotation(image_id: str) -> Annotation:
        return read_voc_xml(
            annotations[image_id],
            class_index,
            ignore_others=classes is not None,
            unknown="was not there when the folder was opened; start again",
            image_size=lambda: image_size(image_path[image_id], ignore_exif=ignore_exif),
            notes=notes,
        )

    def count_names(image_ids: Sequence[str]) -> tuple[str, Counter[str]]:
        counts: Counter[str] = Counter()
        for image_id in image_ids:
            counts += names[image_id]
        return f"{len(image_ids)} annotation files", counts

    database = ImageDatabase(
        set_name(folder),
        chosen,
        tuple(annotations),
        image_path.__getitem__,
        read_annotation,
        count_names,
        notes=notes,
        ignore_exif=ignore_exif,
    )
    return database if ids is None else database.subset(ids)


def _find_images(annotations: dict[str, Path], heads: dict[str, AnnotationHead], images: Path) -> dict[str, Path]:
    """Return the image file of every annotation file."""
    beside = named_files(images, IMAGE_SUFFIXES)

    @functools.cache
    def below() -> dict[str, list[Path]]:
        return named_files(images, IMAGE_SUFFIXES, below=True)

    @functools.cache
    def by_name() -> dict[str, list[Path]]:
        found: dict[str, list[Path]] = {}
        for path in (path for paths in below().values() for path in paths):
            found.setdefault(path.name, []).append(path)
            found.setdefault(path.stem, []).append(path)
        return found

    def find(image_id: str) -> list[Path]:
        stated, name = heads[image_id].file_name, annotations[image_id].stem
        if found := beside.get(image_id):
            # `a.jpg` and `a.png`: the file says which.
            return [path for path in found if len(found) > 1 and path.name == stated] or found
        return below().get(image_id) or by_name().get(name) or by_name().get(stated) or []

    found = {image_id: find(image_id) for image_id in annotations}
    # One that is missing is looked for where it should be, like any other file that is.
    return {
        image_id: only_file(files, str(annotations[image_id]), "the image of")
        if files
        else images / (heads[image_id].file_name or f"{image_id}.jpg")
        for image_id, files in found.items()
    }
