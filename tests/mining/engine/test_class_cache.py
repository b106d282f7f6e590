"""The cache of one class: what enters, what leaves, and what is saved."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from rcnn_svm.mining.engine.block import ScanBlock
from rcnn_svm.mining.engine.budget import MemoryBudget
from rcnn_svm.mining.engine.class_cache import ClassCache
from tests.mining.engine.one_class import make_miner, scan_blocks
from tests.toys import one_feature


def f32(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def make_cache(capacity: int | None = None) -> tuple[ClassCache, ScanBlock]:
    """Return the cache of the class in `one_feature`, with its positive, and the block of all images."""
    (block,) = scan_blocks(one_feature(), None)
    return make_miner(one_feature(), budget=MemoryBudget(capacity)).cache, block


def test_a_key_enters_once_and_leaves_when_it_is_easy():
    cache, block = make_cache()
    assert (cache.keys.tolist(), cache.num_negatives) == ([[0, 0]], 0)
    added = cache.add(block, np.array([1, 2, 4]), f32(-0.5, -3, -1.1))
    assert added.tolist() == cache.negatives.tolist() == [[0, 1], [0, 2], [1, 0]]
    assert cache.positive.tolist() == [True, False, False, False]
    np.testing.assert_array_equal(cache.scores[1:], f32(-0.5, -3, -1.1))
    assert cache.pool.rows[cache.slots, 0].tolist() == [4, 1, 0, 2]

    hard = np.isin(np.arange(8), [1, 2, 5])
    second_pass = replace(block, epoch=1)
    assert np.flatnonzero(cache.new(second_pass, hard)).tolist() == [5], "rows 1 and 2 are there already"

    cache.scores = f32(-2, -1, -1.3, -1.1)
    evicted, num_spare = cache.evict()
    assert (evicted.tolist(), num_spare) == ([[0, 2]], 0)
    assert cache.keys.tolist() == [[0, 0], [0, 1], [1, 0]], "a positive stays at any score"
    assert (len(cache), len(cache.pool)) == (3, 3)
    keys, scores = cache.support
    assert keys.tolist() == [[0, 1]] and scores.tolist() == [-1]
    assert np.flatnonzero(cache.new(second_pass, hard)).tolist() == [2, 5], "what has left may come again"


def test_in_the_first_pass_everything_is_new():
    cache, block = make_cache()
    hard = np.ones(8, bool)
    assert cache.new(block, hard) is hard


def test_a_budget_takes_the_easiest_but_no_support_vector():
    cache, block = make_cache(4)
    cache.add(block, np.array([1, 2, 4, 5, 7]), np.zeros(5, np.float32))
    # One is easy. Of the other four half are to leave: not the one at -1, nor the one with a dual variable.
    cache.scores, cache.alpha = f32(1, -1.1, -1.15, -1, -1.05, -1.3), np.array([0, 0, 0.1, 0, 0, 0])
    evicted, num_spare = cache.evict()
    assert (evicted.tolist(), num_spare) == ([[0, 1], [1, 1], [2, 0]], 2)
    assert cache.keys.tolist() == [[0, 0], [0, 2], [1, 0]]
    assert cache.alpha.tolist() == [0, 0.1, 0]


def test_what_is_saved_restores_the_cache():
    cache, block = make_cache()
    cache.add(block, np.array([1, 2, 4]), np.zeros(3, np.float32))
    cache.scores, cache.alpha = f32(2, -0.5, -3, -1.1), np.array([0.1, 0.2, 0, 0])
    cache.evict()
    restored, _ = make_cache()
    restored = ClassCache(
        np.array([0]), rules=cache.rules, budget=cache.budget, image_start=cache.image_start, pool=restored.pool
    )
    restored.restore(cache.state())
    for part in one_feature().blocks(16):  # an image a block; of the second, the first region is cached
        restored.pool.open_block(part.first_region, len(part))
        restored.load(part)
    for name in ("keys", "alpha", "scores", "positive"):
        np.testing.assert_array_equal(getattr(restored, name), getattr(cache, name), err_msg=name)
    for found, expected in zip(restored.support, cache.support, strict=True):
        np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(restored.pool.rows[restored.slots], cache.pool.rows[cache.slots])
