"""Checks of a database before hours are spent on it."""

from __future__ import annotations

import numpy as np

from rcnn_svm.data.database import ImageDatabase
from rcnn_svm.data.mended import all_at_once
from rcnn_svm.errors import InputError


def require_annotations(database: ImageDatabase, *, strict: bool = False) -> None:
    """Read every annotation, so that what is wrong with any of them is said at once, before anything is computed.

    Args:
        database: the images; its `notes` then count what was mended or left out.
        strict: refuse that too.

    Raises:
        InputError: annotations cannot be read, or `strict` refuses what was mended; the first ten are listed.
    """
    wrong = []
    for index in range(len(database)):
        try:
            database.annotation(index)
        except InputError as error:
            wrong.append(str(error))
    if wrong:
        raise InputError(all_at_once(wrong))
    database.notes.check(strict=strict)


def require_two_images(database: ImageDatabase) -> None:
    """Check that every class can be held out for calibration: it has objects in two images. Reads every annotation.

    Raises:
        InputError: a class has none.
    """
    images = np.zeros(len(database.classes), np.int64)
    for i in range(len(database)):
        images[np.unique(database.annotation(i).classes)] += 1
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
    counts = np.zeros(len(database.classes), np.int64)
    for i in range(len(database)):
        counts += np.bincount(database.annotation(i).classes, minlength=len(counts))
    empty = [repr(c) for c, n in zip(database.classes, counts, strict=True) if n == 0]
    if not empty:
        return
    read, names = database.count_names()
    present = ", ".join(f"{name} ({count})" for name, count in names.most_common())
    subject, pronoun = ("class", "it") if len(empty) == 1 else ("classes", "them")
    verb = "has" if len(empty) == 1 else "have"
    raise InputError(
        f"{subject} {', '.join(empty)} {verb} no ground truth in {database.name}: none of {read} names {pronoun}; "
        f"they name {present or 'nothing'}; pass --classes with the ones you want"
    )
