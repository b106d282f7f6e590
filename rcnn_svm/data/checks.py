"""Checks of image sets before hours are spent on them."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from joblib import Parallel, cpu_count, delayed

from rcnn_svm.data.database import ImageDatabase
from rcnn_svm.data.images import ImageHeader, load_image, read_header
from rcnn_svm.data.mended import Notes, all_at_once
from rcnn_svm.errors import InputError
from rcnn_svm.progress import progress_bar

# What of image sets is read: annotations, also the headers of images, also all pixels.
Reading = Literal["annotations", "headers", "pixels"]
# Seconds without a progress bar.
_QUIET = 2.0


def require_annotations(database: ImageDatabase, *, strict: bool = False) -> None:
    """Read every annotation, so that what is wrong with any of them is said at once, before anything is computed.

    Args:
        database: the images; its `notes` then count what was mended or left out.
        strict: refuse that too.

    Raises:
        InputError: annotations cannot be read, or `strict` refuses what was mended; the first ten are listed.
    """
    require_usable([database], "annotations", strict=strict)


def require_usable(
    databases: Sequence[ImageDatabase],
    read: Reading = "pixels",
    *,
    strict: bool = False,
    switch: str = "",
) -> Notes:
    """Read what stages will read of image sets, so that what is wrong with any of it is said at once.

    Args:
        databases: image sets; their `notes` then count what was mended or left out.
        read: all annotations; also the headers of all images, which have their sizes (some 0.2 ms each); also their
            pixels, every image decoded once (some 4 ms each, in as many threads as there are cores).
        strict: refuse what was mended too.
        switch: the option that leaves out images that cannot be used, if the user has one, for the message.

    Returns:
        What is to be known of the images, if they are read.

    Raises:
        InputError: annotations or images cannot be used, or `strict` refuses what was mended; the message has their
            number and the first ten.
    """
    notes = Notes()
    boxes: list[str] = []
    images: list[str] = []
    for database in databases:
        of_annotations = _wrong_annotations(database)
        of_images = wrong_images(database, notes, decode=read == "pixels") if read != "annotations" else {}
        if of_images and not any(os.path.exists(database.image_path(index)) for index in range(len(database))):
            first = database.image_path(0)
            one = f"none of the {len(database)} images of {database.name} is there; the first is looked for at {first}"
            raise InputError(f"{one}, so give the folder of the images, which is --images for all but devkits")
        # A reader that takes sizes from images says the same of them.
        boxes += [sentence for index, sentence in of_annotations.items() if sentence != of_images.get(index)]
        images += of_images.values()
    if not boxes and not images:
        for database in databases:
            database.notes.check(strict=strict)
        return notes
    advice = f", or leave {'it' if len(images) == 1 else 'them'} out with {switch}" if switch and images else ""
    if len(boxes) + len(images) == 1:
        raise InputError(f"{boxes[0] if boxes else images[0]}{advice}")
    if boxes:
        what = f"things are wrong{f', {len(images)} of them with images: correct them{advice}' if images else ''}"
    else:
        what = f"of {sum(map(len, databases))} images cannot be used; correct them{advice}"
    raise InputError(all_at_once([*boxes, *images], what))


def without_bad_images(database: ImageDatabase, notes: Notes) -> ImageDatabase:
    """Return the images that can be used, under the same name; every one is decoded once.

    Args:
        database: the images.
        notes: counts those left out: missing, damaged, no images, or not of the size that is annotated.

    Raises:
        InputError: no image can be used.
    """
    wrong = wrong_images(database, Notes(), decode=True)
    if len(wrong) == len(database):
        raise InputError(all_at_once(wrong.values(), f"images are all that {database.name} has, and none can be used"))
    for sentence in wrong.values():
        notes.add(f"images left out of {len(database)}, because they cannot be used", sentence)
    return database.subset([i for k, i in enumerate(database.image_ids) if k not in wrong], database.name)


def _wrong_annotations(database: ImageDatabase) -> dict[int, str]:
    """Return what is wrong with annotations, by the index of the image."""
    wrong = {}
    for index in range(len(database)):
        try:
            database.annotation(index)
        except InputError as error:
            wrong[index] = str(error)
    return wrong


def wrong_images(database: ImageDatabase, notes: Notes, *, decode: bool) -> dict[int, str]:
    """Return what is wrong with images, by their index.

    Args:
        database: the images.
        notes: counts images whose boxes may be of the upright or of the stored pixels, as their sizes do not tell.
        decode: decode every image; otherwise only headers are read.
    """
    wrong: dict[int, str] = {}
    paths = [database.image_path(index) for index in range(len(database))]
    # Threads: Pillow decodes outside the interpreter's lock. Images are not kept, so that memory is bounded.
    looks = Parallel(cpu_count(), backend="threading", return_as="generator")(
        delayed(_look)(path, decode) for path in paths
    )
    with progress_bar(len(paths), "checking images", "image", delay=_QUIET) as bar:
        for index, found in enumerate(looks):
            bar.update()
            if isinstance(found, InputError):
                wrong[index] = str(found)
                continue
            try:
                truth = database.annotation(index)
            except InputError:  # said by those who ask for annotations
                continue
            try:
                database.check_size(index, found.size(ignore_exif=database.ignore_exif))
            except InputError as error:
                wrong[index] = str(error)
            same = found.size(ignore_exif=True) == found.size(ignore_exif=False)
            if found.orientation != 1 and same and len(truth.boxes) and not database.ignore_exif:
                notes.add(
                    "images that their EXIF orientation turns or mirrors, taken for labelled upright (if not, read "
                    "them with --ignore-exif)",
                    f"{paths[index]} with orientation {found.orientation}",
                )
    return wrong


def _look(path: Path, decode: bool) -> ImageHeader | InputError:
    try:
        status = path.stat() if os.path.exists(path) else None
        return _header(path, status and (status.st_mtime_ns, status.st_size), decode)
    except InputError as error:
        return error


# Not again in the next stage of the same process.
@functools.lru_cache(maxsize=1 << 18)
def _header(path: Path, version: tuple[int, int] | None, decode: bool) -> ImageHeader:
    if decode:
        load_image(path)
    return read_header(path)


def count_classes(database: ImageDatabase) -> tuple[np.ndarray, np.ndarray]:
    """Return how many objects, and how many images with objects, each class has; (K,) int64 each."""
    objects, images = np.zeros((2, len(database.classes)), np.int64)
    for index in range(len(database)):
        here = np.bincount(database.annotation(index).classes, minlength=len(objects))
        objects += here
        images += here > 0
    return objects, images


def require_two_images(database: ImageDatabase) -> None:
    """Check that every class can be held out for calibration: it has objects in two images. Reads every annotation.

    Raises:
        InputError: a class has none.
    """
    _, images = count_classes(database)
    for name, count in zip(database.classes, images, strict=True):
        if count < 2:
            raise InputError(
                f"class {name!r} cannot be calibrated: {count} of the {len(database)} images of {database.name} shows "
                "it, expected 2 at least, to hold one out; go without --calibrate, add images, or name the other "
                "classes with --classes"
            )


def require_ground_truth(database: ImageDatabase) -> None:
    """Check that every class has something to learn from. Reads every annotation.

    Args:
        database: the images to train on.

    Raises:
        InputError: a class has no ground truth (objects marked `difficult` count as ground truth, as in
            training); the sentence says how much was read, and which names how often.
    """
    objects, _ = count_classes(database)
    empty = [name for name, count in zip(database.classes, objects, strict=True) if count == 0]
    if not empty:
        return
    read, names = database.count_names()
    present = ", ".join(f"{name} ({count})" for name, count in names.most_common())
    one = len(empty) == 1
    subject = f"{'class' if one else 'classes'} {', '.join(map(repr, empty))} {'has' if one else 'have'}"
    reasons = [
        f"all {names[name]} objects called {name!r} were left out, as notes say" for name in empty if names[name]
    ]
    unnamed = [repr(name) for name in empty if not names[name]]
    if unnamed:
        pronoun = ", ".join(unnamed) if reasons else "it" if one else "them"
        reasons.insert(0, f"none of {read} names {pronoun}")
    raise InputError(
        f"{subject} no ground truth in {database.name}: {', and '.join(reasons)}; they name {present or 'nothing'}; "
        "pass --classes with the ones you want"
    )
