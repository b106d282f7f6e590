"""The four rules of hard negative mining, with the paper's numbers."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from rcnn_svm.mining.hard_negatives import HardNegativeMiner
from rcnn_svm.mining.rules import MiningRules, supports

paper = MiningRules()


def f32(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def test_the_numbers_are_those_of_the_original():
    assert paper == MiningRules(hard_thresh=-1.0001, evict_thresh=-1.2, neg_overlap=0.3, retrain_limit=2000)


def test_a_region_is_a_negative_below_the_overlap():
    assert paper.negative(f32(0, 0.29, 0.3, 0.31, 1)).tolist() == [True, True, False, False, False]


def test_a_negative_is_hard_above_the_margin():
    scores = f32(-3, -1.0002, -1.0001, -1, 0.5)
    assert paper.hard(scores, first_image=False).tolist() == [False, False, False, True, True]


def test_all_negatives_of_the_very_first_image_are_hard():
    scores = f32(-3, -1.0001, 0.5)
    assert paper.hard(scores, first_image=True).tolist() == [True, True, True]
    assert paper.hard(scores, first_image=np.array([False, True, False])).tolist() == [False, True, True]


def test_a_cached_negative_is_easy_further_below():
    assert paper.easy(f32(-3, -1.21, -1.2, -1.1, 0)).tolist() == [True, True, False, False, False]


@pytest.mark.parametrize(
    ("num_added", "first_image", "last_image", "due"),
    [
        (0, False, False, False),
        (2000, False, False, False),
        (2001, False, False, True),
        (1, True, False, True),
        (1, False, True, True),
    ],
)
def test_a_class_is_retrained_after_more_than_the_limit_and_at_both_ends(num_added, first_image, last_image, due):
    assert paper.must_retrain(num_added, first_image, last_image) == due


def test_the_rule_of_retraining_takes_many_images_at_once():
    due = paper.must_retrain(np.array([5, 2000, 2001, 9]), np.array([1, 0, 0, 0], bool), np.array([0, 0, 0, 1], bool))
    assert due.tolist() == [True, False, True, True]


@pytest.mark.parametrize("rule", ["negative", "hard", "easy"])
def test_values_are_compared_in_single_precision(rule):
    """One step of single precision on the right side decides; the threshold itself never does."""
    at = f32({"negative": 0.3, "hard": -1.0001, "easy": -1.2}[rule])
    towards = np.float32(np.inf if rule == "hard" else -np.inf)
    decide = partial(paper.hard, first_image=False) if rule == "hard" else getattr(paper, rule)
    assert (decide(at), decide(np.nextafter(at, towards)), decide(np.nextafter(at, -towards))) == (False, True, False)


def test_support_vectors_are_on_or_inside_the_margin():
    below = np.nextafter(np.float32(-1), np.float32(-2))
    assert supports(f32(-1.1, below, -1, 0.3)).tolist() == [False, False, True, True]


def test_a_miner_has_the_rules_of_its_parameters():
    assert HardNegativeMiner().rules == paper
    miner = HardNegativeMiner(hard_thresh=-1, evict_thresh=-1.5, neg_overlap=0.5, retrain_limit=10)
    assert miner.rules == MiningRules(-1, -1.5, 0.5, 10)
