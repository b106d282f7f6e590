"""Which regions a page shows, and what it knows of them."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from rcnn_svm.reports.html.album import Album, Picks
from tests.toys import toy_cache

PICK = st.tuples(st.integers(-1, 3), st.integers(0, 2), st.integers(0, 4))


def picks(rows):
    table = np.array(rows, np.int64).reshape(-1, 3)
    return Picks(table[:, 0], table[:, 1:])


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(PICK, max_size=8), max_size=4), st.integers(0, 10))
def test_the_most_wanted_come_first_and_once(parts, limit):
    joined = [row for part in parts for row in part]
    best = {}
    for place, (rank, *key) in enumerate(joined):
        best[tuple(key)] = min(best.get(tuple(key), (9, 0)), (rank, place))
    wanted = sorted(best, key=best.get)[:limit]
    assert [tuple(key) for key in Picks.joined(list(map(picks, parts))).most_wanted(limit).tolist()] == wanted


def test_an_album_knows_the_nearest_object_of_any_class():
    overlap = np.zeros((6, 3), np.float32)
    overlap[[0, 3]] = [[1, 0, 0], [0, 0, 1]]
    overlap[1] = [0.2, 0.5, 0.3]
    overlap[5] = [0, 0, 0.25]
    boxes = np.arange(6)[:, None] + [0, 0, 5, 5]
    cache = toy_cache([3, 3], label=[1, 0, 0, 3, 0, 0], overlap=overlap, boxes=boxes)
    album = Album.of_cache(cache, np.array([[1, 2], [0, 1], [0, 2]]))
    assert (album.nearest.tolist(), album.overlap.tolist()) == ([2, 1, -1], [0.25, 0.5, 0])
    np.testing.assert_array_equal(album.boxes[:, 0], [5, 1, 2])
    assert album.numbers(np.array([[0, 2], [0, 0], [1, 2], [0, 1], [7, 1]])).tolist() == [2, -1, 0, 1, -1]
    nothing = Album.of_cache(cache, np.empty((0, 2), np.int64))
    assert len(nothing) == 0 and nothing.numbers(np.array([[0, 1]])).tolist() == [-1]
