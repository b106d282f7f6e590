"""The pool of feature rows against dictionaries, through random histories."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rcnn_svm.mining.engine import feature_pool
from rcnn_svm.mining.engine.feature_pool import FeaturePool

NUM_REGIONS, DIM, NUM_CLASSES = 60, 3, 3
FEATURES = np.random.default_rng(0).standard_normal((NUM_REGIONS, DIM)).astype(np.float32)
SCALE = np.float32(1.7)


@pytest.fixture(autouse=True, scope="module")
def pools_that_grow():
    """Reserve almost nothing, so that a small pool has to grow."""
    with pytest.MonkeyPatch.context() as patch:
        # Growing beyond what is reserved would take gigabytes.
        patch.setattr(feature_pool, "RESERVED_BYTES", 4 * DIM * 2)
        yield


def assert_holds(pool: FeaturePool, slots: list[dict[int, int]]) -> None:
    """Compare with the places of every class's regions."""
    holders = Counter(region for held in slots for region in held)
    assert len(pool) == len(holders)
    assert len(pool.rows) == len(pool.norms) == len(pool.regions) == len(pool.holders) <= pool.max_rows
    assert sorted(pool.regions[pool.regions >= 0].tolist()) == sorted(holders)
    for held in slots:
        for region, slot in held.items():
            expected = FEATURES[region] * SCALE
            assert (pool.regions[slot], pool.holders[slot]) == (region, holders[region])
            np.testing.assert_array_equal(pool.rows[slot], expected)
            assert pool.norms[slot] == pytest.approx(float(expected.astype(np.float64) @ expected), rel=1e-6)


def test_a_row_of_two_classes_is_kept_once_until_both_let_go():
    pool = FeaturePool(DIM, SCALE, NUM_REGIONS)
    pool.open_block(10, 5)
    first, second = (pool.put(np.array([2]), FEATURES[10:15]) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    pool.release(first)
    assert len(pool) == 1
    pool.release(second)
    assert len(pool) == 0


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), capacity=st.integers(1, 30))
def test_any_history_leaves_the_rows_that_some_class_holds(seed, capacity):
    rng = np.random.default_rng(seed)
    max_rows = min(NUM_REGIONS, NUM_CLASSES * capacity)
    pool = FeaturePool(DIM, SCALE, max_rows)
    slots: list[dict[int, int]] = [{} for _ in range(NUM_CLASSES)]
    for _ in range(25):
        first = int(rng.integers(NUM_REGIONS))
        count = int(rng.integers(1, NUM_REGIONS - first + 1))
        block = FEATURES[first : first + count]
        pool.open_block(first, count)
        for _ in range(int(rng.integers(1, 4))):
            held = slots[rng.integers(NUM_CLASSES)]
            new = [i for i in rng.permutation(count) if first + i not in held][: capacity - len(held)]
            indices = np.array(new[: rng.integers(len(new) + 1)], np.int64)
            gathered = bool(rng.integers(2))
            found = pool.put(indices, block[indices] if gathered else block, gathered=gathered)
            held.update(zip((indices + first).tolist(), found.tolist(), strict=True))
            assert_holds(pool, slots)
            held = slots[rng.integers(NUM_CLASSES)]
            gone = [region for region in held if rng.random() < 0.4]
            pool.release(np.array([held.pop(region) for region in gone], np.int64))
            assert_holds(pool, slots)


def test_a_place_is_used_again_before_the_pool_grows():
    pool = FeaturePool(DIM, SCALE, NUM_REGIONS)
    pool.open_block(0, NUM_REGIONS)
    pool.put(np.arange(20), FEATURES)
    size = len(pool.rows)
    for first in range(20, 60, 10):
        pool.release(np.flatnonzero(pool.regions >= 0)[:10])
        pool.put(np.arange(first, first + 10), FEATURES)
    assert len(pool.rows) == size and len(pool) == 20
