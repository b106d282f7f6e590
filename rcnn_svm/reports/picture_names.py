"""Names of the files that pictures go to."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

from rcnn_svm.artefacts.files import file_name


def picture_names(images: Iterable[str], taken: Iterable[str] = ()) -> list[str]:
    """Return a file name for the picture of each image, by `file_name`; numbered where another has the name already.

    Names that differ in upper and lower case only are the same: on some file systems they are.

    Args:
        images: names of the images, without suffix.
        taken: file names without suffix that none of them may have.
    """
    used = {name.casefold() for name in taken}
    names: list[str] = []
    for image in images:
        stem = file_name(image)
        candidates = itertools.chain([stem], (f"{stem}-{number}" for number in itertools.count(2)))
        names.append(next(name for name in candidates if name.casefold() not in used))
        used.add(names[-1].casefold())
    return [f"{name}.jpg" for name in names]
