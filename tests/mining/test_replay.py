"""A mining repeated for its scores, against the definition, which is asked for them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from rcnn_svm.artefacts.model_file import load_model
from rcnn_svm.detection.detector import Detector
from rcnn_svm.errors import InputError
from rcnn_svm.mining.hard_negatives import HardNegativeMiner
from rcnn_svm.mining.random_negatives import RandomNegativeTrainer
from rcnn_svm.mining.reference import ReferenceMiner
from rcnn_svm.mining.replay import HARDEST, histogram_edges, replay_mining
from rcnn_svm.mining.rules import MiningRules
from rcnn_svm.tuning.svm_C import SvmCSearch
from tests.toys import few_objects, toy_cache

PARAMETERS = {"svm_C": 0.02, "max_epochs": 2, "feat_norm_mean": 4.0}
LIMIT = 12


@pytest.fixture(scope="module")
def cache():
    return toy_cache([90, 0, 110, 95, 100, 90, 105], classes=("cat", "cow", "dog"), dim=16, seed=1)


@pytest.fixture
def mined(cache, tmp_path):
    """The function that mines, saves, and returns detector and record."""

    def mine(trainer=None, on=cache, **options):
        trainer = trainer or HardNegativeMiner(retrain_limit=LIMIT, tolerance=1e-11, n_jobs=1, **PARAMETERS)
        trainer.fit(on, **options).save(tmp_path / "model.h5")
        return load_model(tmp_path / "model.h5"), Detector.load_history(tmp_path / "model.h5")

    return mine


class ScoredReference(ReferenceMiner):
    """The definition, which notes every negative's score when it comes, and before and after a training."""

    def mine(self):
        self.came = [[] for _ in self.classes]
        self.left = [[] for _ in self.classes]
        self.scores = [[] for _ in self.classes]
        self.latest = [{} for _ in self.classes]
        self.waiting = [[] for _ in self.classes]
        return super().mine()

    def hard_negatives(self, c, epoch, image, scores):
        keys = super().hard_negatives(c, epoch, image, scores)
        for key in keys:
            if key not in self.negatives[c]:
                self.latest[c][key] = scores[key[1]]
                self.waiting[c].append(key)
        return keys

    def easy(self, c, epoch, image, scores):
        leaves = super().easy(c, epoch, image, scores)
        before, after = self.latest[c], dict(zip(self.negatives[c], scores.tolist(), strict=True))
        number = len(self.scores[c])
        self.came[c] += [(number, *key, before[key], after[key]) for key in sorted(self.waiting[c])]
        gone = [key for key, easy in zip(self.negatives[c], leaves, strict=True) if easy]
        self.left[c] += [(number, *key, before[key], after[key]) for key in gone]
        self.scores[c].append(scores)
        self.latest[c], self.waiting[c] = dict(after), []
        return leaves


def rows(scored):
    return np.column_stack([scored.update, scored.keys, scored.before, scored.after])


def test_scores_are_those_of_the_definition(cache, mined):
    rules = MiningRules(retrain_limit=LIMIT)
    reference = ScoredReference(cache, rules, tolerance=1e-11, **PARAMETERS).mine()
    replay = replay_mining(*mined(), cache, n_jobs=2)
    assert replay.rules == rules
    for c, found in enumerate(replay.classes):
        np.testing.assert_allclose(rows(found.entered), reference.came[c], atol=1e-4)
        np.testing.assert_allclose(rows(found.left), reference.left[c], atol=1e-4)
        assert len(found.updates) == len(reference.scores[c]) > 3 and len(found.left)
        for number, scores in enumerate(reference.scores[c]):
            hardest = found.hardest.after[found.hardest.update == number]
            np.testing.assert_allclose(hardest, np.sort(scores)[::-1][:HARDEST], atol=1e-4)
            assert found.negatives[number].sum() == len(scores)
            assert found.positives[number].sum() == len(reference.positives[c])
            # Away from the margin, where half of the support vectors are a rounding error from an edge.
            bins, edge = replay.edges[:-1], -1.3
            assert found.negatives[number][bins < edge - 1e-6].sum() == (scores < edge).sum()
        assert not found.entered.before[found.entered.update == 0].any()


def test_the_rows_of_the_record_are_named(cache, mined):
    detector, record = mined()
    for index, found in enumerate(replay_mining(detector, record, cache).classes):
        assert (record["updates"][found.updates, 0] == index).all()
        added = record["added"][record["added"][:, 0] == index]
        # Of one training the engine has the order of images, and so has the record.
        np.testing.assert_array_equal(found.entered.keys, added[:, 2:])


def test_bins_hold_the_thresholds_and_all_scores():
    edges = histogram_edges(MiningRules())
    for value in (-3, -1.2, -1, 0, 1, 3):
        assert np.isclose(edges, value).sum() == 1
    far = histogram_edges(MiningRules(hard_thresh=5, evict_thresh=-8))
    assert (far[0], far[-1]) == pytest.approx((-9, 6))


def test_a_memory_budget_and_a_chosen_C_are_replayed(cache, mined):
    some = HardNegativeMiner(retrain_limit=LIMIT, memory_budget=4 * 16 * 200, **PARAMETERS)
    detector, record = mined(some)
    assert len(record["budget"])
    assert sum(len(found.left) for found in replay_mining(detector, record, cache).classes) == len(record["evicted"])
    few = few_objects(0, 12)
    detector, record = mined(SvmCSearch(HardNegativeMiner(retrain_limit=100)), on=few)
    assert detector.training["identity"]["parameters"]["svm_C"] == "auto"
    assert sum(len(found.entered) for found in replay_mining(detector, record, few).classes) == len(record["added"])


def test_passes_after_the_best_are_left_out(mined):
    few, held_out = few_objects(0, 12), few_objects(1, 10)
    miner = HardNegativeMiner(svm_C=0.05, retrain_limit=60, max_epochs=4, patience=2)
    detector, record = mined(miner, on=few, validate=held_out)
    replay = replay_mining(detector, record, few, validate=held_out)
    assert len(record["validation"]) > len({*record["updates"][:, 0]})
    assert sum(len(found.updates) for found in replay.classes) == len(record["updates"])
    with pytest.raises(InputError, match=r"was validated on the feature cache of fingerprint .*, not on none"):
        replay_mining(detector, record, few)


def test_what_cannot_be_replayed_is_refused_in_a_sentence(cache, mined):
    detector, record = mined()
    other = toy_cache([90, 20], classes=("cat", "cow", "dog"), dim=16)
    with pytest.raises(InputError, match=r"mymodel was mined on the feature cache of fingerprint \w+, not on toy"):
        replay_mining(detector, record, other, name="mymodel")
    with pytest.raises(InputError, match="has no record of a mining"):
        replay_mining(detector, {}, cache)
    with pytest.raises(InputError, match="has no record of a mining"):
        replay_mining(*mined(RandomNegativeTrainer(num_negatives=50)), cache)
    identity = detector.training["identity"]
    later = {**detector.training, "identity": {**identity, "parameters": {**identity["parameters"], "new": 1}}}
    with pytest.raises(InputError, match="by another version of rcnn-svm"):
        replay_mining(replace(detector, training=later), record, cache)


@pytest.mark.parametrize("table", ["added", "updates", "evicted"])
@pytest.mark.parametrize("shorter", [False, True])
def test_other_keys_are_refused(cache, mined, table, shorter):
    detector, record = mined()
    place = len(record[table]) // 2
    changed = record[table][:-1].copy() if shorter else record[table].copy()
    if not shorter:
        changed[place, 2] += 1
    with pytest.raises(InputError, match=r"takes other regions than its record has .first for class '.*' at image"):
        replay_mining(detector, {**record, table: changed}, cache)
