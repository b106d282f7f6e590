"""The weight of a positive from the numbers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rcnn_svm.svm.class_weights import balanced_weight

MANY = 10**6


def test_two_roots_by_hand():
    """Twice the root of negatives over positives: of 4000 over 40, of the 100 regions there are over 4, of 1."""
    assert balanced_weight(40, 2000, MANY) == 20
    assert balanced_weight(4, 2000, 100) == 10
    assert balanced_weight(4000, 2000, MANY) == 2


def test_few_positives_weigh_about_twenty_and_thousands_two():
    assert 15 < balanced_weight(60, 2000, MANY) < balanced_weight(40, 2000, MANY) < balanced_weight(20, 2000, MANY) < 30
    assert balanced_weight(40, 2000, MANY) == pytest.approx(20)
    assert 2 < balanced_weight(2000, 2000, MANY) < 3
    assert balanced_weight(4000, 2000, MANY) == balanced_weight(50000, 2000, MANY) == 2


@given(st.integers(1, 10**6), st.integers(1, 10**4), st.integers(1, 10**8))
def test_it_lies_between_the_published_weight_and_equal_shares(positives, limit, regions):
    weight = balanced_weight(positives, limit, regions)
    negatives = min(2 * limit, regions)
    assert 2 <= weight <= max(2, 2 * negatives / positives) * (1 + 1e-12)
    assert weight >= balanced_weight(positives + 1, limit, regions)
