"""What a stage does when the file it is to write is there already."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rcnn_svm.artefacts.identity import first_difference
from rcnn_svm.errors import InputError


def check_same_training(path: Path, found: Any, wanted: Any) -> None:
    """Tell that a training is done already, if what decides its result is the same.

    Args:
        path: what it wrote.
        found: JSON-able, what decided the result.
        wanted: JSON-able, what would decide it now.

    Raises:
        InputError: they differ.
    """
    if found != wanted:
        raise InputError(
            f"{path} was trained otherwise ({first_difference(found, wanted)}); "
            "give another --out, or delete it to train it again"
        )
    print(f"{path} is trained already with these settings")
