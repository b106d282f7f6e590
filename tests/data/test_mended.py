"""What readers mend is counted by kind, with the first example; what is refused is said at once."""

from __future__ import annotations

import numpy as np
import pytest

from rcnn_svm.data import require_annotations
from rcnn_svm.data.database import Annotation, ImageDatabase
from rcnn_svm.data.mended import Notes
from rcnn_svm.errors import InputError


def test_a_line_for_each_kind_has_the_number_and_the_first_example():
    notes = Notes()
    for where in ("row 3", "row 5", "row 3"):
        notes.add("boxes cut to their image", where)
    notes.add("objects without a box left out", "row 4")
    assert notes.lines() == [
        "boxes cut to their image: 2, the first is row 3",
        "objects without a box left out: 1, the first is row 4",
    ]
    notes.check()
    with pytest.raises(InputError, match=r"3 things are wrong:\n  row 3 \(boxes cut to their image\)\n  row 5"):
        notes.check(strict=True)


def test_what_cannot_be_mended_is_said_at_once_the_first_ten_of_it():
    notes = Notes()
    notes.refuse("row 0 is wrong")
    with pytest.raises(InputError, match=r"^row 0 is wrong$"):
        notes.check()
    for number in range(1, 14):
        notes.refuse(f"row {number} is wrong")
    with pytest.raises(InputError, match=r"^14 things are wrong:\n  row 0 is(.|\n)*  row 9 is wrong\n  and 4 more$"):
        notes.check()


def test_every_annotation_is_read_before_any_is_refused(tmp_path):
    """A user with three damaged annotations hears of three, not of one in each of three runs."""
    notes, none = Notes(), np.zeros(0, bool)

    def read(image_id: str) -> Annotation:
        if image_id in "bc":
            raise InputError(f"{image_id} is damaged")
        notes.add("boxes cut to their image", image_id)
        return Annotation((9, 9), np.zeros((0, 4), np.float32), np.zeros(0, np.int64), none, none)

    database = ImageDatabase("toys", ["ball"], ["a", "b", "c", "d"], tmp_path.joinpath, read, notes=notes)
    with pytest.raises(InputError, match=r"2 things are wrong:\n  b is damaged\n  c is damaged"):
        require_annotations(database)
    good = database.subset(["a", "d"])
    require_annotations(good)
    assert good.notes.lines() == ["boxes cut to their image: 2, the first is a"]
    with pytest.raises(InputError, match=r"a \(boxes cut to their image\)"):
        require_annotations(good, strict=True)
