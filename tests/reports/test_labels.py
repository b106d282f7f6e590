"""What a terminal shows of findings about labels, and the sheet of labelled images."""

from __future__ import annotations

import numpy as np
import pytest

from rcnn_svm.data import load_csv
from rcnn_svm.data.findings import Finding, LabelFindings, SideCounts
from rcnn_svm.reports.labels import _with_every_class, findings_line, findings_text, labels_sheet

COUNTS = SideCounts(images=1234, without_objects=2, objects=(12345, 3), images_with=(999, 2))
TWICE = Finding("duplicates", "object labelled twice", "objects labelled twice", tuple(f"{k}: cat" for k in range(7)))
PIXEL = Finding("pixel", "box of one pixel", "boxes of one pixel", ("x" * 200,))


@pytest.mark.parametrize("recall", [None, [(12345, 100), (0, 0)]])
@pytest.mark.parametrize("sides", [("all",), ("train", "test")])
def test_a_screen_has_80_columns(sides, recall):
    found = LabelFindings(
        ("a class of a very long name, longer than usual", "dog"), dict.fromkeys(sides, COUNTS), (TWICE, PIXEL)
    )
    text = findings_text(found, recall)
    assert max(map(len, text.splitlines())) <= 80
    assert "1,234 images, 2 of them without objects" in text and "7 objects labelled twice\n    0: cat" in text
    assert "    and 2 more\n" in text and "1 box of one pixel\n" in text
    assert ("0.8" in text and "-" in text) if recall else "missed" not in text


def test_findings_in_a_line():
    found = LabelFindings(("cat",), {"all": COUNTS}, (TWICE, PIXEL))
    assert findings_line(found) == "7 objects labelled twice, 1 box of one pixel"
    assert findings_line(LabelFindings(("cat",), {"all": COUNTS}, ())) == "nothing odd"


def test_shown_images_have_every_class():
    rng = np.random.default_rng(0)
    classes = [rng.integers(0, 3, 2) for _ in range(60)]
    classes[17] = np.array([0, 5])  # the only one of its class
    for count in (6, 12, 100):
        shown = _with_every_class(classes, count)
        assert len(shown) == min(count, 60) == len(set(shown)) and shown == sorted(shown)
        assert {0, 1, 2, 5} <= {cls for image in shown for cls in classes[image].tolist()}
    assert _with_every_class([np.zeros(0, int)] * 3, 2) == [0, 2]


def test_the_sheet_has_a_place_for_every_image(own_data):
    database = load_csv(own_data.csv, own_data.images)
    few, all_of_them = (labels_sheet([database], count=count) for count in (2, 48))
    assert few.width < all_of_them.width and few.height < all_of_them.height
    assert len(np.unique(np.asarray(few).reshape(-1, 3), axis=0)) > 1000
