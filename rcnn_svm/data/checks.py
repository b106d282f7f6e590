"""Checks of a database before hours are spent on it."""

from __future__ import annotations

import numpy as np

from rcnn_svm.data.database import ImageDatabase
from rcnn_svm.errors import InputError


def require_ground_truth(database: ImageDatabase) -> None:
    """Check that every class has something to learn from. Reads every annotation.

    Args:
        database: the images to train on.

    Raises:
        InputError: a class has no ground truth (objects marked `difficult` count as ground truth, as in
            training); the sentence tells which classes have how much.
    """
    counts = np.zeros(len(database.classes), np.int64)
    for i in range(len(database)):
        counts += np.bincount(database.annotation(i).classes, minlength=len(counts))
    empty = [repr(c) for c, n in zip(database.classes, counts, strict=True) if n == 0]
    if not empty:
        return
    order = np.argsort(-counts, kind="stable")
    present = [f"{database.classes[k]} ({counts[k]})" for k in order if counts[k]]
    subject, pronoun = ("class", "it") if len(empty) == 1 else ("classes", "them")
    verb = "has" if len(empty) == 1 else "have"
    raise InputError(
        f"{subject} {', '.join(empty)} {verb} no ground truth in {database.name}: none of {len(database)} "
        f"annotation files names {pronoun}; they name {', '.join(present) or 'none of the classes asked for'}; "
        "pass --classes with the ones you want"
    )
