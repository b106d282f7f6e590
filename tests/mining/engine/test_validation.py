"""The stop by held-out average precision: where a class stops, what it keeps, and what cannot judge."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import clone

from rcnn_svm.cache import FeatureCache
from rcnn_svm.detection.detector import Detector
from rcnn_svm.errors import InputError
from rcnn_svm.evaluation.voc import evaluate_in_cache
from rcnn_svm.mining.engine.validation import Validation, best_pass
from rcnn_svm.mining.hard_negatives import HardNegativeMiner
from rcnn_svm.reports.mining import mining_table
from rcnn_svm.tuning.svm_C import SvmCSearch
from tests.toys import WatchedCache, arrays_of, few_objects, one_feature

TRAIN, HELD_OUT = few_objects(0, 14), few_objects(100, 14)
OPTIONS = {"svm_C": 0.02, "retrain_limit": 60, "feat_norm_mean": 8.0, "tolerance": 1e-9, "n_jobs": 1}
OPTIONS |= {"max_epochs": 8, "patience": 2, "k_folds": 2}


def fit(**options) -> HardNegativeMiner:
    return HardNegativeMiner(**{**OPTIONS, **options}).fit(TRAIN, validate=HELD_OUT)


@pytest.fixture(scope="module")
def validated() -> HardNegativeMiner:
    return fit()


def precisions_of(miner: HardNegativeMiner, c: int) -> np.ndarray:
    table = miner.history_.table("validation")
    rows = table[table[:, 0] == c]
    assert rows[:, 1].tolist() == list(range(len(rows))), "a class is judged after every pass until it stops"
    return rows[:, 2]


def assert_same(a: HardNegativeMiner, b: HardNegativeMiner, *, atol: float = 0) -> None:
    for name in ("added", "evicted", "scan", "budget", "validation"):
        np.testing.assert_array_equal(a.history_.table(name), b.history_.table(name), err_msg=name)
    np.testing.assert_array_equal(a.history_.table("updates")[:, :7], b.history_.table("updates")[:, :7])
    np.testing.assert_array_equal(a.negatives_, b.negatives_)
    for one, other in zip([a.detector_, *a.fold_detectors_], [b.detector_, *b.fold_detectors_], strict=True):
        np.testing.assert_allclose(one.W, other.W, rtol=0, atol=atol)


def test_the_rule_by_hand():
    once, twice = Validation(HELD_OUT, 1), Validation(HELD_OUT, 2)
    assert [once.is_over(np.array(p)) for p in ([0.3], [0.3, 0.4], [0.3, 0.3])] == [False, False, True]
    assert [twice.is_over(np.array(p)) for p in ([0.3, 0.2], [0.3, 0.2, 0.4], [0.3, 0.2, 0.3])] == [False, False, True]
    assert best_pass(np.array([0.3, 0.5, 0.4, 0.5])) == 1, "the first of equals"
    assert not once.is_over(np.empty(0))


def test_a_class_stops_when_its_precision_no_longer_rises(validated):
    lengths = []
    for c in range(3):
        precisions = precisions_of(validated, c)
        lengths.append(len(precisions))
        assert len(precisions) == best_pass(precisions) + 1 + 2
        assert precisions[-2:].max() <= precisions.max()
    assert len(set(lengths)) > 1, "classes stop each for itself"
    assert max(lengths) < 8


@pytest.mark.parametrize("c", range(3))
def test_a_class_ends_as_if_mining_had_ended_with_its_best_pass(validated, c):
    best = best_pass(precisions_of(validated, c))
    name = TRAIN.classes[c]
    judge = HELD_OUT if best else None  # a single pass needs none
    alone = HardNegativeMiner(**{**OPTIONS, "max_epochs": best + 1, "classes": [name]}).fit(TRAIN, validate=judge)
    assert len(alone.history_.table("validation")) == (best + 1 if best else 0), "it is the last pass"
    for table in ("added", "scan"):
        mine = validated.history_.table(table)
        np.testing.assert_array_equal(mine[mine[:, 0] == c, 1:], alone.history_.table(table)[:, 1:])
    mine = validated.negatives_
    np.testing.assert_array_equal(mine[mine[:, 0] == c, 1:], alone.negatives_[:, 1:])
    np.testing.assert_allclose(validated.detector_.W[:, c], alone.detector_.W[:, 0], atol=1e-5)
    for one, other in zip(validated.fold_detectors_, alone.fold_detectors_, strict=True):
        np.testing.assert_allclose(one.W[:, c], other.W[:, 0], atol=1e-5)


def test_the_kept_detectors_have_the_precision_that_was_best(validated):
    found = evaluate_in_cache(HELD_OUT, validated.detector_)
    best = [precisions_of(validated, c).max() for c in range(3)]
    assert [result.ap_area for result in found.classes] == pytest.approx(best, abs=1e-12)
    assert any(best_pass(precisions_of(validated, c)) == 0 for c in range(3)), "a class went back"


def test_the_history_leads_to_what_is_kept(validated):
    tables = validated.history_.tables()
    assert len(tables["update_loss"]) == len(tables["update_gap"]) == len(tables["updates"])
    for c in range(3):
        held = [tuple(key) for key in tables["added"][tables["added"][:, 0] == c, 2:].tolist()]
        of_class = tables["updates"][tables["evicted"][:, 0], 0] == c
        for key in tables["evicted"][of_class, 1:].tolist():
            held.remove(tuple(key))
        kept = validated.negatives_[validated.negatives_[:, 0] == c, 1:].tolist()
        assert sorted(held) == sorted(map(tuple, kept))
        assert tables["updates"][tables["updates"][:, 0] == c][-1, 5] == len(kept)


@pytest.mark.parametrize("options", [{}, {"stop_ratio": 1.0001}, {"memory_budget": 4 * 24 * (45 + 3 * 80)}])
def test_threads_change_nothing(options):
    one = fit(**options)
    for n_jobs in (2, 3):
        # A thread of one class multiplies with another routine, which rounds otherwise.
        assert_same(one, fit(n_jobs=n_jobs, **options), atol=1e-6)


@pytest.mark.parametrize("stop_after", [1, 5, 9, 14, 17])
def test_a_training_that_is_interrupted_resumes_to_the_same_result(validated, tmp_path, stop_after):
    path, small = tmp_path / "train.checkpoint", {"block_bytes": 4 * 24 * 300}
    whole = fit(**small)
    with pytest.raises(KeyboardInterrupt):
        clone(whole).fit(
            WatchedCache(TRAIN, "scan", stop_after), validate=HELD_OUT, checkpoint=path, checkpoint_seconds=0
        )
    assert_same(whole, clone(whole).fit(TRAIN, validate=HELD_OUT, checkpoint=path))
    watched = WatchedCache(TRAIN)
    assert_same(whole, clone(whole).fit(watched, validate=HELD_OUT, checkpoint=path))
    with pytest.raises(InputError, match="is the checkpoint of another training"):
        clone(whole).fit(TRAIN, checkpoint=path)
    assert_same(whole, validated, atol=1e-6)


def test_without_validation_nothing_is_new(validated):
    plain = HardNegativeMiner(**OPTIONS)
    identity = plain.identity(TRAIN)
    assert "validate" not in identity and "patience" not in identity["parameters"]
    assert plain.set_params(patience=5).identity(TRAIN) == identity
    assert not len(plain.set_params(max_epochs=1).fit(TRAIN).history_.table("validation"))
    assert validated.detector_.training["identity"] == validated.identity(TRAIN, HELD_OUT)
    assert validated.identity(TRAIN, HELD_OUT)["validate"] == HELD_OUT.fingerprint


def test_the_model_file_tells_every_pass_and_which_was_kept(validated, tmp_path):
    validated.save(tmp_path / "model.h5")
    history = Detector.load_history(tmp_path / "model.h5")
    np.testing.assert_array_equal(history["validation"], validated.history_.table("validation"))
    text = mining_table(tmp_path / "model.h5")
    assert text.count("kept") == 3
    (row,) = [line.split() for line in text.splitlines() if line.startswith("middling") and "kept" in line]
    assert row[1:3] == ["1", f"{100 * precisions_of(validated, 1)[0]:.1f}"]


def test_a_search_for_C_stops_too():
    miner = HardNegativeMiner(**{**OPTIONS, "k_folds": 0})
    found = SvmCSearch(miner).fit(TRAIN, validate=HELD_OUT).miner_
    plain = clone(miner).set_params(svm_C=found.svm_C).fit(TRAIN, validate=HELD_OUT)
    assert_same(found, plain)
    assert found.detector_.training["identity"]["validate"] == HELD_OUT.fingerprint


def changed(cache: FeatureCache = HELD_OUT, **arrays) -> FeatureCache:
    arrays = {**arrays_of(cache), "classes": cache.classes, **arrays}
    return FeatureCache.from_arrays(**arrays, image_start=cache.image_start, name="held out")


@pytest.mark.parametrize(
    ("validate", "told"),
    [
        (
            changed(classes=("rare", "middling", "cup")),
            "class 'common' is not in held out; it has rare, middling, cup",
        ),
        (changed(difficult=arrays_of(HELD_OUT)["label"] > 1), "no object, difficult ones aside, of 'middling', 'comm"),
        (changed(features=np.ones((HELD_OUT.num_rows, 5))), "expects 24-d .*the validation cache held out holds 5-d"),
        (TRAIN.subset(range(10)), "has images that are trained on, '1', '2', '3' and 6 more; validate on others"),
        (one_feature(), "expects 24-d"),
    ],
)
def test_a_cache_that_cannot_judge_is_refused(validate, told):
    with pytest.raises(InputError, match=told):
        HardNegativeMiner(**OPTIONS).fit(TRAIN, validate=validate)


def test_a_cache_without_proposals_and_a_single_pass_are_refused():
    objects = {name: array[HELD_OUT_OBJECTS] for name, array in arrays_of(HELD_OUT).items()}
    counts = [int(HELD_OUT.regions(image).gt.sum()) for image in range(HELD_OUT.num_images)]
    bare = FeatureCache.from_arrays(**objects, image_start=np.cumsum([0, *counts]), classes=HELD_OUT.classes)
    with pytest.raises(InputError, match="has objects but no proposals"):
        HardNegativeMiner(**OPTIONS).fit(TRAIN, validate=bare)
    with pytest.raises(InputError, match="max_epochs = 1 leaves no pass that validation could spare"):
        fit(max_epochs=1)
    with pytest.raises(InputError, match="patience = 0 must be a whole number of at least 1"):
        fit(patience=0)


HELD_OUT_OBJECTS = arrays_of(HELD_OUT)["gt"]
