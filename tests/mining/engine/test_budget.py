"""How a memory budget is shared out, and what it lets a class keep."""

from __future__ import annotations

import numpy as np
import pytest

from rcnn_svm.errors import InputError
from rcnn_svm.mining.engine.budget import MemoryBudget, easiest


def test_a_class_of_ten_negatives_at_most():
    budget = MemoryBudget(10)
    assert [budget.room(count) for count in (0, 7, 10, 12)] == [10, 3, 0, 0]
    # With seven cached there is room for 1 + 2 more; with the next image it would be four.
    assert [budget.num_fitting(7, np.array(counts)) for counts in ([1, 2, 1], [4], [0, 0], [])] == [2, 0, 2, 0]
    # After a training half of the space is to be free.
    assert [budget.excess(count) for count in (4, 5, 9)] == [0, 0, 4]
    assert budget.max_rows([2, 3], num_rows=1000) == 2 + 3 + 2 * 10
    assert budget.max_rows([2, 3], num_rows=20) == 20


def test_no_limit():
    budget = MemoryBudget.of_bytes(None, [2, 3], dim=7)
    assert budget == MemoryBudget()
    assert (budget.room(10**9), budget.excess(10**9), budget.max_rows([2, 3], 1000)) == (np.inf, 0, 1000)
    assert budget.num_fitting(10**9, np.array([10**9, 1])) == 2


def test_positives_come_first_and_negatives_share_the_rest():
    row = 4 * 7
    assert MemoryBudget.of_bytes(row * (5 + 2 * 4), [2, 3], dim=7) == MemoryBudget(4)
    assert MemoryBudget.of_bytes(row * (5 + 2 * 5) - 1, [2, 3], dim=7) == MemoryBudget(4)
    least = row * (5 + 2 * 2)
    assert MemoryBudget.of_bytes(least, [2, 3], dim=7) == MemoryBudget(2)
    with pytest.raises(InputError, match=f"no room for negatives beside their 5 positives .* give at least {least}"):
        MemoryBudget.of_bytes(least - 1, [2, 3], dim=7)


def test_the_easiest_score_lowest_and_of_equals_the_first_goes():
    assert easiest(np.array([3, 1, 1, 2]), 2).tolist() == [1, 2]
    assert easiest(np.array([3, 1, 1, 2]), 3).tolist() == [1, 2, 3]
    assert easiest(np.array([1.0]), 5).tolist() == [0]
