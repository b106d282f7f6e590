"""Background and mined regions are negatives like others: the rules of mining find the same keys as the definition."""

from __future__ import annotations

import json

import numpy as np
import pytest

from rcnn_svm.errors import InputError
from rcnn_svm.mining import HardNegativeMiner, MiningRules, ReferenceMiner
from rcnn_svm.mining.background import with_negatives
from rcnn_svm.mining.mined_regions import FEATURES, MANIFEST
from tests.toys import CLASSES, stored, toy_cache


@pytest.fixture
def labelled(tmp_path):
    return stored(toy_cache([20] * 6), tmp_path / "labelled", shard_images=4, dtype="float32")


@pytest.fixture
def background(tmp_path):
    """Images without objects, as a cache that knows no class of the training."""
    cache = toy_cache([15] * 5, classes=("none",), objects=0, seed=3)
    return stored(cache, tmp_path / "background", shard_images=2, dtype="float32")


@pytest.fixture
def manifest(tmp_path):
    """A folder of mined regions, on which the classes fire in turn."""
    rows = np.arange(14)
    overlap = np.ones((14, 3), np.float32)
    overlap[rows, rows % 3] = 0
    cache = toy_cache([5, 9], label=np.zeros(14, int), overlap=overlap, seed=4)
    stored(cache, tmp_path / "mined" / FEATURES, dtype="float32")
    lines = [
        {"id": row, "source": "a.mp4", "box": [0, 0, 9, 9], "class": CLASSES[row % 3], "score": 0.5}
        for row in rows.tolist()
    ]
    (tmp_path / "mined" / MANIFEST).write_text("\n".join(map(json.dumps, lines)))
    return tmp_path / "mined" / MANIFEST


def test_keys_are_those_of_the_definition(labelled, background, manifest):
    cache = with_negatives(labelled, [background], [manifest])
    assert cache.num_images == 6 + 5 + 2
    reference = ReferenceMiner(cache, MiningRules(retrain_limit=25), feat_norm_mean=3.0, svm_C=0.05).mine()
    miner = HardNegativeMiner(retrain_limit=25, feat_norm_mean=3.0, svm_C=0.05, tolerance=1e-10, n_jobs=2).fit(cache)
    expected, found = reference.history.tables(), miner.history_.tables()
    for name in ("scan", "added", "evicted"):
        one, other = (tables[name][np.lexsort(tables[name].T)] for tables in (found, expected))
        np.testing.assert_array_equal(one, other, name)
    assert sorted(map(tuple, miner.negatives_.tolist())) == sorted(
        (c, *key) for c, keys in enumerate(reference.negatives) for key in keys
    )
    np.testing.assert_allclose(miner.detector_.W, reference.W, atol=1e-4)
    # Negatives come from all three parts, and from what was mined only those of the class that fired.
    added = found["added"]
    assert {*np.searchsorted([6, 11], added[:, 2], side="right").tolist()} == {0, 1, 2}
    mined = added[added[:, 2] >= 11]
    first_row = cache.image_start[mined[:, 2]] - cache.image_start[11]
    np.testing.assert_array_equal((first_row + mined[:, 3]) % 3, mined[:, 0])


def test_without_more_negatives_nothing_changes(labelled):
    assert with_negatives(labelled).fingerprint == labelled.fingerprint


def test_features_of_another_kind_are_refused(labelled, tmp_path):
    other = toy_cache([3], objects=0, dim=9)
    with pytest.raises(InputError, match=r"the negatives of toy have other features than toy \(9-d\)"):
        with_negatives(labelled, [other])
    settings = {"backbone": {"name": "lite0"}}
    with pytest.raises(InputError, match=r"have other features than toy .*backbone"):
        with_negatives(labelled, [toy_cache([3], objects=0, settings=settings)])


def test_background_with_an_object_of_a_class_is_refused(labelled):
    with pytest.raises(InputError, match="is not background"):
        with_negatives(labelled, [toy_cache([3])])
