"""How far arrays differ and which rows belong together, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from rcnn_svm.reports.difference.arrays import how_far, match_rows, numbers_step


def test_how_far_two_arrays_differ():
    a = np.float32([[1, 2, np.nan], [4, -8, 6]])
    b = np.float32([[1, 2.5, np.nan], [4, -7, 6.25]])
    assert how_far(a, b) == {
        "values": 6,
        "differing": 3,
        "largest": 1.0,
        "median": 0.5,
        "relative": pytest.approx(1 / 8),
        "first": [0, 1],
        "first_a": 2.0,
        "first_b": 2.5,
    }
    assert how_far(a, a.copy()) == {"values": 6, "differing": 0}


def test_a_number_in_one_and_none_in_the_other_differ():
    found = how_far(np.float32([0, np.nan]), np.float32([0, 1]))
    assert (found["differing"], found["first"]) == (1, [1])


def test_rows_that_belong_together():
    a = np.array([[1, 1], [2, 2], [1, 1], [3, 3], [1, 1]])
    b = np.array([[1, 1], [4, 4], [3, 3], [1, 1]])
    rows_a, rows_b = match_rows(a, b)
    assert (rows_a.tolist(), rows_b.tolist()) == ([0, 2, 3], [0, 3, 2])
    assert [len(rows) for rows in match_rows(a[:0], b)] == [0, 0]


@pytest.mark.parametrize("seed", range(5))
def test_as_many_rows_are_matched_as_two_multisets_share(seed):
    rng = np.random.default_rng(seed)
    a, b = rng.integers(0, 3, (40, 2)), rng.integers(0, 3, (30, 2))
    rows_a, rows_b = match_rows(a, b)
    assert (a[rows_a] == b[rows_b]).all() and len(set(rows_b)) == len(rows_b)
    counts = [{tuple(row): int((table == row).all(axis=1).sum()) for row in table} for table in (a, b)]
    assert len(rows_a) == sum(min(number, counts[1].get(row, 0)) for row, number in counts[0].items())


def test_named_arrays():
    a = {"W": np.ones((2, 3)), "B": np.zeros(3)}
    assert numbers_step("weights", a, {name: array.copy() for name, array in a.items()}).equal
    other = numbers_step("weights", a, {**a, "B": np.float64([0, 0.5, 0])})
    assert not other.equal and other.says.startswith("B: 1 of 3 numbers differ") and "at (1)" in other.says
    shape = numbers_step("weights", a, {**a, "W": np.ones((2, 4))})
    assert shape.says == "W is 2 x 3 in A, 2 x 4 in B"
    assert numbers_step("weights", a, {"W": a["W"]}).says == "B only in A"
