"""The test of whether another pass is worth it; test_hard_negatives.py has it in a mining."""

from __future__ import annotations

import numpy as np
import pytest

from rcnn_svm.mining.engine.convergence import has_converged, loss_of_negatives, objective_on_all_data


def test_two_classes_by_hand():
    scores = np.float32([[-2, 0.5], [0, -1], [0.5, -0.5]])
    negative = np.array([[True, False], [True, True], [False, True]])
    # Of the first class a negative at 0, of the second one at -0.5; what scores -1 or less costs nothing.
    losses = loss_of_negatives(scores, negative, svm_C=10)
    assert losses.tolist() == [10, 5]
    # Positives 1, negatives 6 in the cache and 10 in all images, regulariser 3.
    assert objective_on_all_data(np.array([1, 6, 3, 10.0]), losses[0]) == 14


@pytest.mark.parametrize(
    ("on_cache", "on_all_data", "converged"),
    [
        ([2, 2], [2.09, 2], True),
        ([2, 2], [2, 2.11], False),  # every class has to pass
        ([2, 2], [2, 4], False),
        ([2, 0], [2, 7], True),  # one that was never trained does not count
    ],
)
def test_all_data_may_cost_a_little_more_than_the_cache(on_cache, on_all_data, converged):
    assert has_converged(np.array(on_cache, float), np.array(on_all_data, float), 1.05) == converged


def test_equal_to_the_ratio_is_not_below_it():
    assert not has_converged(np.array([2.0]), np.array([3.0]), 1.5)
