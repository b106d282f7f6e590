"""Numbers, sizes and names in words."""

from __future__ import annotations

import pytest

from rcnn_svm.words import counted, names_in_words, shortened, size_in_words, spread_in_words


@pytest.mark.parametrize(
    ("number", "words"), [(7, "7 bytes"), (1, "1 byte"), (2000, "2.0 kB"), (3.25e6, "3.2 MB"), (4e12, "4,000.0 GB")]
)
def test_sizes(number, words):
    assert size_in_words(int(number)) == words


def test_numbers_and_names():
    assert (counted(1, "box", "boxes"), counted(2000, "box", "boxes")) == ("1 box", "2,000 boxes")
    assert [spread_in_words(values) for values in ([], [3, 3], [1, 2, 9])] == ["-", "3", "1 to 9, median 2"]
    assert names_in_words(["a", "b", "c"], 2) == "a, b and 1 more"
    assert shortened("0123456789", 7) == "01...89" and shortened("0123456789", 7, 1) == "012...9"
    assert shortened("short", 7) == "short"
