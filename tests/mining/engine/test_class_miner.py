"""One class, mined by hand, and in blocks of any size."""

from __future__ import annotations

import numpy as np
import pytest

from rcnn_svm.cache import FeatureCache
from rcnn_svm.mining.engine.budget import MemoryBudget
from rcnn_svm.mining.engine.class_miner import ClassMiner
from rcnn_svm.mining.rules import MiningRules
from tests.mining.engine.one_class import load, make_miner, scan, scan_blocks
from tests.toys import one_feature, toy_cache


def test_a_case_for_pencil_and_paper():
    """See test_reference.py; here all three images are one block."""
    cache = one_feature()
    miner = make_miner(cache)
    (block,) = scan_blocks(cache, None)
    assert scan(miner, block) == 4
    assert miner.history.table("added")[:, 2:].tolist() == [[0, 1], [0, 2], [1, 0], [2, 0]]
    assert miner.history.table("evicted").tolist() == [[0, 0, 2], [1, 0, 1], [1, 2, 0]]
    assert miner.cache.negatives.tolist() == [[1, 0]]
    assert (miner.weights[0], miner.bias) == pytest.approx((1, -3), abs=1e-3)
    assert (miner.cache.num_negatives, miner.num_added, miner.num_updates) == (1, 0, 2)
    keys, scores = miner.cache.support
    assert keys.tolist() == [[1, 0]] and scores == pytest.approx([-1], abs=1e-3)


OPTIONS = {"rules": MiningRules(retrain_limit=10), "svm_C": 0.05, "bias_mult": 10}


def mined(cache: FeatureCache, max_bytes: int | None, **options) -> ClassMiner:
    miner = make_miner(cache, 1, **{**OPTIONS, **options})
    for block in scan_blocks(cache, max_bytes, epochs=2):
        scan(miner, block)
    return miner


@pytest.mark.parametrize("capacity", [None, 20])
def test_blocks_of_many_images_give_what_single_images_give(capacity):
    cache = toy_cache([30, 25, 0, 40, 28, 33] * 3, seed=4)
    options = {"budget": MemoryBudget(capacity)}
    single, whole = mined(cache, 1, **options), mined(cache, None, **options)
    assert single.num_updates == whole.num_updates > 4
    for name in ("added", "scan", "updates", "evicted", "budget"):
        np.testing.assert_array_equal(single.history.table(name), whole.history.table(name), err_msg=name)
    np.testing.assert_allclose(single.weights, whole.weights, atol=1e-6)
    assert (len(whole.history.table("budget")) > 0) == (capacity is not None)


def test_what_is_saved_restores_the_class():
    cache = toy_cache([30, 25, 0, 40, 28, 33] * 3, seed=4)
    blocks = scan_blocks(cache, 1, epochs=2)
    whole, begun, resumed = (make_miner(cache, 1, **OPTIONS) for _ in range(3))
    for block in blocks[:7]:
        scan(whole, block)
        scan(begun, block)
    assert begun.cache.num_negatives and begun.num_updates
    resumed.restore(begun.state())
    load(resumed, cache)
    np.testing.assert_array_equal(resumed.cache.negatives, begun.cache.negatives)
    for block in blocks[7:]:
        scan(whole, block)
        scan(resumed, block)
    np.testing.assert_array_equal(resumed.cache.negatives, whole.cache.negatives)
    np.testing.assert_array_equal(resumed.weights, whole.weights)
    assert (resumed.num_added, resumed.num_updates) == (whole.num_added, whole.num_updates)
