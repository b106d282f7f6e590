"""C chosen by cross-validation, and a training with it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.svm import LinearSVC

from rcnn_svm.boxes import nms
from rcnn_svm.detection.detector import Detector
from rcnn_svm.errors import InputError
from rcnn_svm.evaluation.voc import evaluate_class
from rcnn_svm.mining.hard_negatives import HardNegativeMiner
from rcnn_svm.reports.mining import mining_table
from rcnn_svm.svm.class_weights import balanced_weight
from rcnn_svm.tuning.svm_C import C_PATH, BestDetections, SvmCSearch, best_C, cross_validate_C, selection_folds
from tests.toys import WatchedCache

OPTIONS = {"retrain_limit": 300, "n_jobs": 1, "pos_loss_weight": "auto"}


def test_the_best_is_chosen_and_the_smaller_of_equals():
    assert best_C(np.array([[1e-4, 0.2, 1], [1e-3, 0.5, 1], [1e-2, 0.5, 1], [1e-1, 0.4, 1]])) == 1e-3


@given(
    st.lists(st.lists(st.integers(0, 99), max_size=12), max_size=12),
    st.integers(1, 8),
)
@settings(deadline=None)
def test_the_best_detections_are_kept_whatever_came_before(images, capacity):
    best, everything = BestDetections(capacity), []
    for image, scores in enumerate(images):
        scores = np.unique(scores).astype(np.float32) + np.float32(image / 64)  # no ties
        boxes = np.array([[20 * i, 0, 20 * i + 9, 9] for i in range(len(scores))], np.float32).reshape(-1, 4)
        best.add(image, boxes, scores)
        everything += zip(scores.tolist(), [image] * len(scores), boxes[:, 0].tolist(), strict=True)
    image, box, score = best.arrays()
    assert list(zip(score, image, box[:, 0], strict=True)) == sorted(everything, reverse=True)[:capacity]


def test_detections_are_those_that_survive_suppression():
    best = BestDetections(10)
    best.add(4, np.array([[0, 0, 9, 9], [1, 0, 10, 9], [30, 0, 39, 9]], np.float32), np.array([0.2, 0.5, -0.1], "f4"))
    assert [array.tolist() for array in best.arrays()[:2]] == [[4, 4], [[1, 0, 10, 9], [30, 0, 39, 9]]]


def test_cross_validation_equals_one_training_for_every_fold_and_C(few):
    """Literally: LinearSVC on the mined examples without a fold, its detections in the fold's images."""
    trial = HardNegativeMiner(**OPTIONS).fit(few)
    folds = selection_folds(few.num_images, 0, seed=3)
    assert len(folds) == 5
    scale = np.float32(20) / np.float32(trial.detector_.feat_norm_mean)
    images = [few.regions(i) for i in range(few.num_images)]
    table = cross_validate_C(trial, few, folds)
    for step in (0, 3, 5):
        precisions = []
        for c in range(3):
            keys = [tuple(key) for key in trial.negatives_[trial.negatives_[:, 0] == c, 1:]]
            objects = [(i, r) for i, im in enumerate(images) for r in np.flatnonzero(im.label == c + 1)]
            weight = {1: balanced_weight(len(objects), 300, few.num_rows)}
            found = []
            for fold in folds:
                used = [(key, y) for keys_of, y in ((objects, 1), (keys, -1)) for key in keys_of if key[0] not in fold]
                X = np.array([images[i].features[r] for (i, r), _ in used], np.float64) * scale
                svm = LinearSVC(
                    C=C_PATH[step], loss="hinge", tol=1e-6, max_iter=10**6, intercept_scaling=10, class_weight=weight
                ).fit(X, [y for _, y in used])
                for i in fold:
                    rows = np.flatnonzero(~images[i].gt)
                    scores = svm.decision_function(images[i].features[rows].astype(float) * scale)
                    kept = nms(images[i].boxes[rows], scores, 0.3)
                    found += [(i, images[i].boxes[rows[j]], scores[j]) for j in kept]
            image, box, score = map(np.array, zip(*found, strict=True))
            own = np.array([images[i].boxes[r] for i, r in objects])
            nothing = np.zeros(len(own), bool)
            of_image = np.array([i for i, _ in objects])
            precisions.append(evaluate_class(image, box, score, of_image, own, nothing).ap_area)
        assert table[step, 1] == pytest.approx(np.mean(precisions), abs=0.01)
    assert table[:, 0] == pytest.approx(C_PATH)
    assert np.ptp(table[:, 1]) > 0.02, "C matters in this case"


def assert_same(one: SvmCSearch, other: SvmCSearch) -> None:
    a, b = one.miner_, other.miner_
    np.testing.assert_array_equal(a.detector_.W, b.detector_.W)
    np.testing.assert_array_equal(a.history_.table("added"), b.history_.table("added"))
    np.testing.assert_array_equal(a.history_.table("selection")[:, :2], b.history_.table("selection")[:, :2])


@pytest.fixture(scope="module")
def chosen(few) -> SvmCSearch:
    return SvmCSearch(HardNegativeMiner(k_folds=3, **OPTIONS)).fit(few)


def test_the_result_is_that_of_a_training_with_the_chosen_C(few, chosen, tmp_path):
    table = chosen.miner_.history_.table("selection")
    best = best_C(table)
    assert len(table) == len(C_PATH) and best in C_PATH
    assert chosen.svm_C_ == chosen.miner_.svm_C == best
    plain = HardNegativeMiner(svm_C=best, k_folds=3, **OPTIONS).fit(few)
    np.testing.assert_array_equal(plain.detector_.W, chosen.miner_.detector_.W)
    np.testing.assert_array_equal(plain.fold_detectors_[2].W, chosen.miner_.fold_detectors_[2].W)
    assert not len(plain.history_.table("selection"))

    chosen.save(tmp_path / "model.h5")
    training = Detector.load(tmp_path / "model.h5").training
    assert training["svm_C"] == best
    assert training["identity"]["parameters"]["svm_C"] == "auto"
    counts = [sum((few.regions(i).label == c + 1).sum() for i in range(few.num_images)) for c in range(3)]
    expected = [balanced_weight(int(count), 300, few.num_rows) for count in counts]
    assert training["pos_loss_weight"] == pytest.approx(expected) and len(set(expected)) == 3
    np.testing.assert_array_equal(Detector.load_history(tmp_path / "model.h5")["selection"], table)

    text = mining_table(tmp_path / "model.h5")
    (line,) = [line for line in text.splitlines() if "chosen" in line]
    assert line.split()[0] == f"{best:.2g}"
    assert f"weight of a positive: rare {expected[0]:.1f}, middling" in text


@pytest.mark.parametrize(
    ("where", "method", "after"), [("trial", "scan", 2), ("selection", "gather", 0), ("training", "scan", 7)]
)
def test_an_interrupted_training_goes_on(few, chosen, tmp_path, where, method, after):
    path, search = tmp_path / "train.checkpoint", clone(chosen).set_params(miner__block_bytes=4 * 24 * 500)
    whole = clone(search).fit(few)
    with pytest.raises(KeyboardInterrupt):
        clone(search).fit(WatchedCache(few, method, after), checkpoint=path, checkpoint_seconds=0)
    assert path.exists()
    with pytest.raises(InputError, match="is the checkpoint of another training"):
        clone(search.miner).set_params(svm_C=1e-3).fit(few, checkpoint=path)
    watched = WatchedCache(few)
    assert_same(whole, clone(search).fit(watched, checkpoint=path))
    scanned = watched.read["scan"]
    if where == "selection":
        assert scanned[0] == 0 and scanned.count(0) == 1, "the trial is not mined again"
    if where == "training":
        assert scanned[0] > 0, "neither the trial nor what was scanned with the chosen C"
    done = WatchedCache(few)
    assert_same(whole, clone(search).fit(done, checkpoint=path))
    assert not done.read["scan"] and not done.read["gather"], "done already"


def test_threads_choose_the_same(few, chosen):
    table = clone(chosen).set_params(miner__n_jobs=2).fit(few).miner_.history_.table("selection")
    np.testing.assert_allclose(table[:, :2], chosen.miner_.history_.table("selection")[:, :2], atol=1e-6)


def test_a_class_in_one_image_has_no_say_and_too_few_images_are_told(few):
    labels = [set(few.regions(i).label) for i in range(few.num_images)]
    rare = next(i for i, found in enumerate(labels) if 1 in found)
    common = next(i for i, found in enumerate(labels) if 3 in found)
    without = [i for i, found in enumerate(labels) if 1 not in found]
    neither = next(i for i, found in enumerate(labels) if 3 not in found)
    search = SvmCSearch(HardNegativeMiner(**OPTIONS))
    assert len(search.fit(few.subset([rare, *without])).miner_.history_.table("selection")) == len(C_PATH)
    search.set_params(miner__classes=["common"])
    with pytest.raises(InputError, match="needs at least 2 images to hold some out, the cache has 1"):
        search.fit(few.subset([common]))
    with pytest.raises(InputError, match="no class has objects in two of the 2 folds of its 2 images; give a number"):
        search.fit(few.subset([common, neither]))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"svm_C": "best"}, "svm_C = 'best' must be a number above 0 and at most 1000000000"),
        ({"svm_C": "auto"}, r"svm_C = 'auto' must be a number above 0 and at most 1000000000 \(SvmCSearch chooses one"),
        ({"pos_loss_weight": "many"}, "pos_loss_weight = 'many' must be a number above 0"),
        ({"bias_mult": "auto"}, "bias_mult = 'auto' must be a number above 0 and at most 1000000000$"),
    ],
)
def test_other_words_are_told(few, options, told):
    with pytest.raises(InputError, match=told):
        HardNegativeMiner(**options).fit(few)


def test_a_search_needs_a_miner(few):
    with pytest.raises(InputError, match="miner = 1 must be a HardNegativeMiner"):
        SvmCSearch(1).fit(few)
    with pytest.raises(InputError, match="n_jobs = 0 must be a number of threads"):
        SvmCSearch(HardNegativeMiner(n_jobs=0)).fit(few)
