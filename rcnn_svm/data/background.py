"""Images that show none of the objects, as a set, and beside another set."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rcnn_svm.data.database import Annotation, ImageDatabase
from rcnn_svm.data.image_folder import image_ids_of, images_at
from rcnn_svm.data.images import image_size


def background_images(folder: str | os.PathLike, classes: Sequence[str], name: str) -> ImageDatabase:
    """Return the images of a folder and of those in it, none with an object.

    Args:
        folder: the folder.
        classes: K class names.
        name: name of the set.

    Raises:
        InputError: there is no image, or two have one name.
    """
    files = {path.relative_to(folder).as_posix(): path for path in images_at([folder])}
    path_of = dict(zip(image_ids_of(files, folder), files.values(), strict=True))

    def annotation(image_id: str) -> Annotation:
        none = np.zeros(0, bool)
        boxes = np.empty((0, 4), np.float32)
        return Annotation(image_size(path_of[image_id]), boxes, np.empty(0, np.int64), none, none)

    return ImageDatabase(name, classes, list(path_of), path_of.__getitem__, annotation)


def joined_images(first: ImageDatabase, others: Sequence[ImageDatabase]) -> ImageDatabase:
    """Return the images of several sets as one, with the names and the ids that `join_caches` gives them.

    Args:
        first: a set, whose ids stay.
        others: sets of the same classes; their ids begin with the names of the sets.
    """
    place = {image_id: (first, index) for index, image_id in enumerate(first.image_ids)}
    for other in others:
        place |= {f"{other.name}/{image_id}": (other, index) for index, image_id in enumerate(other.image_ids)}

    def path(image_id: str) -> Path:
        database, index = place[image_id]
        return database.image_path(index)

    def annotation(image_id: str) -> Annotation:
        database, index = place[image_id]
        return database.annotation(index)

    return ImageDatabase(
        first.name, first.classes, list(place), path, annotation, notes=first.notes, ignore_exif=first.ignore_exif
    )
