"""A test of an image set in parts: what joins them is the test of all images, whatever the limits and the cuts."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rcnn_svm.detection import parts
from rcnn_svm.detection.detections import Detections
from rcnn_svm.detection.detector import Detector
from rcnn_svm.detection.image_set import (
    ScoredImage,
    candidates,
    detect_in_cache,
    join_candidates,
    keep_best,
    run_settings,
)
from rcnn_svm.detection.parts import TestParts
from rcnn_svm.errors import InputError
from tests.toys import toy_cache

CLASSES = ("cat", "dog")


def assert_same(found, expected):
    for name in ("image", "cls", "box", "score", "row", "thresh", "box_counts"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), name)
    assert (found.image_ids, found.classes, found.settings) == (expected.image_ids, expected.classes, expected.settings)


@given(
    # Few different scores, so that many are equal.
    scores=st.lists(st.lists(st.tuples(*[st.integers(-3, 3)] * 2), max_size=7), min_size=1, max_size=9),
    cuts=st.sets(st.integers(1, 8)),
    max_per_image=st.integers(1, 4),
    max_per_set=st.integers(1, 12),
)
def test_any_cut_and_any_limit_give_what_one_pass_gives(scores, cuts, max_per_image, max_per_set):
    def scored(number):
        z = np.array(scores[number], np.float32).reshape(-1, 2)
        boxes = np.tile(np.arange(len(z), dtype=np.float32)[:, None], (1, 4))
        return ScoredImage(f"{number}", z, lambda rows, cls: boxes[rows], first_row=2)

    numbers, settings = range(len(scores)), {"max_per_image": max_per_image, "max_per_set": max_per_set}
    image_ids = [str(number) for number in numbers]
    expected = keep_best(map(scored, numbers), image_ids, CLASSES, settings)
    ends = [0, *sorted(cut for cut in cuts if cut < len(scores)), len(scores)]
    found = []
    for begin, end in pairwise(ends):
        found.append(candidates(map(scored, range(begin, end)), image_ids[begin:end], CLASSES, settings))
    assert_same(join_candidates(found, image_ids, settings), expected)


@pytest.fixture
def test_of(monkeypatch, tmp_path):
    """A cache of 7 images, a detector, and their test in parts of two images."""
    monkeypatch.setattr(parts, "IMAGES", 2)
    cache = toy_cache([9] * 7, classes=CLASSES, dim=4)
    rng = np.random.default_rng(0)
    W = rng.normal(size=(4, 2)).astype(np.float32)
    detector = Detector(CLASSES, W, np.zeros(2, np.float32), 1.0, cache.settings)
    settings = run_settings(cache, detector, max_per_image=3)
    return cache, detector, TestParts(tmp_path / "parts", cache, detector, settings)


def test_parts_of_a_cache_make_its_detections(test_of):
    cache, detector, shared = test_of
    for index in (1, 0):
        shared.compute((index, 2))
    assert len(list(shared.folder.iterdir())) == 4
    assert_same(shared.join(), detect_in_cache(cache, detector, max_per_image=3))
    shared.remove()
    assert not shared.folder.parent.exists()


def test_a_part_that_is_damaged_or_missing_is_made_again(test_of):
    cache, detector, shared = test_of
    shared.compute((0, 1))
    first, second, *_ = sorted(shared.folder.iterdir())
    first.write_bytes(first.read_bytes()[:-100])
    second.unlink()
    with pytest.raises(InputError, match="was removed while it was made"):
        shared.join()
    shared.compute((0, 1))
    assert_same(shared.join(), detect_in_cache(cache, detector, max_per_image=3))
    assert Detections.load(first).image_ids == cache.image_ids[:2]
