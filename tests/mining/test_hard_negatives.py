"""The mining loop against a literal, slow transcription of its rules, and its surroundings."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.svm import LinearSVC

from rcnn_svm.cache import FeatureCache
from rcnn_svm.cache.importers import write_cache
from rcnn_svm.detection.detector import Detector, load_history
from rcnn_svm.errors import InputError
from rcnn_svm.mining import hard_negatives
from rcnn_svm.mining.hard_negatives import HardNegativeMiner


def make_cache(
    seed: int = 0, num_images: int = 14, num_boxes: int = 90, dim: int = 16, num_classes: int = 3, empty=(5,)
) -> FeatureCache:
    """A cache whose classes are learnable but not easy."""
    rng = np.random.default_rng(seed)
    prototypes = rng.random((num_classes, dim))
    parts = {name: [] for name in ("features", "boxes", "gt", "label", "overlap")}
    start = [0]
    for image in range(num_images):
        count = 0 if image in empty else num_boxes + int(rng.integers(0, 20))
        num_gt = min(count, 2)
        label = np.zeros(count, int)
        label[:num_gt] = 1 + (image + np.arange(num_gt)) % num_classes
        overlap = rng.random((count, num_classes)) * (rng.random((count, num_classes)) < 0.3)
        overlap[np.arange(num_gt), label[:num_gt] - 1] = 1
        features = np.maximum(0, 2 * overlap @ prototypes + 0.6 * rng.standard_normal((count, dim)) + 0.3)
        parts["features"].append(features.astype(np.float32))
        parts["boxes"].append(np.tile([0, 0, 9, 9], (count, 1)))
        parts["gt"].append(label > 0)
        parts["label"].append(label)
        parts["overlap"].append(overlap.astype(np.float32))
        start.append(start[-1] + count)
    joined = {name: np.concatenate(arrays) for name, arrays in parts.items()}
    return FeatureCache.from_arrays(
        **joined, image_start=start, classes=[f"class{c}" for c in range(num_classes)], name="toy"
    )


def mine_literally(cache, norm, *, C, weight, bias, limit, epochs, hard=-1.0001, evict=-1.2, neg=0.3):
    """rcnn_train.m's loop, one image and class at a time, with lists; returns every event."""
    scale = np.float32(20) / np.float32(norm)
    K = len(cache.classes)
    images = [cache.regions(i) for i in range(cache.num_images)]
    W, B = np.zeros((cache.dim, K), np.float32), np.zeros(K, np.float32)
    positives = [[(i, r) for i, im in enumerate(images) for r in np.flatnonzero(im.label == c + 1)] for c in range(K)]
    caches, pending = [[] for _ in range(K)], [0] * K
    added, evicted, schedule = [], [], []

    def row(key):
        return images[key[0]].features[key[1]] * scale

    for epoch in range(epochs):
        for i, image in enumerate(images):
            first, last = (epoch, i) == (0, 0), (epoch, i) == (epochs - 1, len(images) - 1)
            scores = image.features * scale @ W + B
            for c in range(K):
                for r in range(len(image)):
                    eligible = image.overlap[r, c] < np.float32(neg)
                    if eligible and (first or scores[r, c] > np.float32(hard)) and (i, r) not in caches[c]:
                        caches[c].append((i, r))
                        added.append((c, epoch, i, r))
                        pending[c] += 1
            for c in range(K):
                if not ((first and len(image)) or pending[c] > limit or last) or not caches[c]:
                    continue
                keys = positives[c] + caches[c]
                X = np.array([row(key) for key in keys], np.float64)
                y = np.array([1] * len(positives[c]) + [-1] * len(caches[c]))
                svm = LinearSVC(
                    C=C, loss="hinge", tol=1e-9, max_iter=10**7, intercept_scaling=bias, class_weight={1: weight}
                ).fit(X, y)
                W[:, c], B[c] = svm.coef_[0], svm.intercept_[0]
                kept = []
                before, fresh, pending[c] = len(caches[c]), pending[c], 0
                for key in caches[c]:
                    z = np.float32(row(key) @ W[:, c] + B[c])
                    if z < np.float32(evict):
                        evicted.append((len(schedule), *key))
                    else:
                        kept.append(key)
                caches[c] = kept
                schedule.append((c, epoch, i, len(positives[c]), before, len(kept), fresh))
    return W, B, added, evicted, schedule, caches


@pytest.mark.parametrize("solver", ["dcd", "liblinear"])
@pytest.mark.parametrize(("seed", "limit", "epochs"), [(0, 60, 1), (1, 25, 2), (2, 5000, 1), (3, 40, 3)])
def test_equals_the_literal_loop(solver, seed, limit, epochs):
    cache = make_cache(seed)
    parameters = {"C": 0.02, "weight": 2.0, "bias": 10.0}
    W, B, added, evicted, schedule, caches = mine_literally(cache, 4.0, limit=limit, epochs=epochs, **parameters)
    miner = HardNegativeMiner(
        svm_C=0.02,
        retrain_limit=limit,
        max_epochs=epochs,
        feat_norm_mean=4.0,
        solver=solver,
        tolerance={"dcd": 1e-11, "liblinear": 1e-9}[solver],
        n_jobs=1,
    ).fit(cache)
    history = miner.history_
    assert history.table("added").tolist() == [list(map(int, key)) for key in added]
    assert history.table("evicted").tolist() == [list(map(int, key)) for key in evicted]
    assert history.table("updates")[:, :7].tolist() == [list(map(int, entry)) for entry in schedule]
    assert miner.negatives_.tolist() == [[c, int(i), int(r)] for c, keys in enumerate(caches) for i, r in keys]
    np.testing.assert_allclose(miner.detector_.W, W, atol=1e-4 * np.abs(W).max())
    np.testing.assert_allclose(miner.detector_.B, B, atol=1e-4 * np.abs(B).max())
    assert evicted and len(schedule) >= 6, "the case exercises the rules"


def fit(cache, **options):
    parameters = {"svm_C": 0.02, "retrain_limit": 40, "feat_norm_mean": 4.0, "tolerance": 1e-9, "n_jobs": 1}
    return HardNegativeMiner(**{**parameters, **options}).fit(cache)


def assert_same_training(a: HardNegativeMiner, b: HardNegativeMiner, *, exact_weights: bool = True) -> None:
    for name, table in a.history_.tables().items():
        if name not in ("update_loss", "update_gap"):
            np.testing.assert_array_equal(table, b.history_.table(name), err_msg=name)
    np.testing.assert_array_equal(a.negatives_, b.negatives_)
    if exact_weights:
        np.testing.assert_array_equal(a.detector_.W, b.detector_.W)
    else:
        np.testing.assert_allclose(a.detector_.W, b.detector_.W, atol=1e-6)


@pytest.mark.parametrize("block_bytes", [1, 6 * 4 * 16 * 100, 1 << 30])
def test_scoring_blocks_of_images_changes_nothing(block_bytes):
    cache = make_cache(4)
    blocks = fit(cache, max_epochs=2, block_bytes=block_bytes)
    assert_same_training(fit(cache, max_epochs=2), blocks, exact_weights=False)


def test_threads_change_nothing():
    cache = make_cache(4)
    assert_same_training(fit(cache), fit(cache, n_jobs=4))


def test_a_folder_gives_what_arrays_give(tmp_path):
    cache = make_cache(5)
    write_cache(cache, tmp_path / "cache", shard_images=4)
    assert_same_training(fit(cache), fit(FeatureCache.open(tmp_path / "cache")), exact_weights=False)


def test_a_subset_of_classes_trains_as_among_all():
    cache = make_cache(6)
    everything, one = fit(cache), fit(cache, classes=["class2"])
    assert one.detector_.classes == ("class2",)
    np.testing.assert_allclose(one.detector_.W[:, 0], everything.detector_.W[:, 2], atol=1e-6)
    mine = everything.history_.table("added")[:, 0] == 2
    np.testing.assert_array_equal(one.history_.table("added")[:, 1:], everything.history_.table("added")[mine, 1:])


@pytest.mark.parametrize(("epochs", "stop_after"), [(1, 1), (1, 4), (2, 4), (2, 9)])
def test_resumes_from_a_checkpoint_to_the_same_result(tmp_path, monkeypatch, stop_after, epochs):
    cache = make_cache(7)
    options = {"max_epochs": epochs, "block_bytes": 4 * 16 * 250, "k_folds": 2}
    whole = fit(cache, **options)

    scanned = []
    scan = hard_negatives._Training._scan_run

    def stopping(self, *args, **options):
        if len(scanned) == stop_after:
            raise KeyboardInterrupt
        scanned.append(args)
        scan(self, *args, **options)

    miner = clone(whole)
    path = tmp_path / "train.checkpoint"
    monkeypatch.setattr(hard_negatives._Training, "_scan_run", stopping)
    with pytest.raises(KeyboardInterrupt):
        miner.fit(cache, checkpoint=path, checkpoint_seconds=0)
    assert path.exists()
    with pytest.raises(InputError, match="is the checkpoint of another training"):
        clone(miner).set_params(svm_C=0.5).fit(cache, checkpoint=path)
    with pytest.raises(InputError, match="is the checkpoint of another training"):
        clone(miner).fit(make_cache(8), checkpoint=path)

    monkeypatch.setattr(hard_negatives._Training, "_scan_run", scan)
    miner.fit(cache, checkpoint=path)
    assert_same_training(whole, miner)
    for a, b in zip(whole.fold_detectors_, miner.fold_detectors_, strict=True):
        np.testing.assert_array_equal(a.W, b.W)
    assert path.exists(), "kept until the caller has saved the result"
    assert_same_training(whole, clone(miner).fit(cache, checkpoint=path))


def test_resumes_with_blocks_of_another_size(tmp_path, monkeypatch):
    cache = make_cache(7)
    whole = fit(cache)
    scan = hard_negatives._Training._scan_run
    scanned = []

    def stopping(self, *args, **options):
        if len(scanned) == 6:
            raise KeyboardInterrupt
        scanned.append(args)
        scan(self, *args, **options)

    monkeypatch.setattr(hard_negatives._Training, "_scan_run", stopping)
    with pytest.raises(KeyboardInterrupt):
        clone(whole).set_params(block_bytes=1).fit(
            cache, checkpoint=tmp_path / "train.checkpoint", checkpoint_seconds=0
        )
    monkeypatch.setattr(hard_negatives._Training, "_scan_run", scan)
    resumed = clone(whole).fit(cache, checkpoint=tmp_path / "train.checkpoint")
    assert_same_training(whole, resumed, exact_weights=False)


@pytest.mark.filterwarnings("ignore:class 'class[12]' never had a negative")
def test_an_unreachable_tolerance_and_an_untrained_class_are_told(monkeypatch):
    monkeypatch.setattr(hard_negatives, "MIN_TOLERANCE", 1e-30)
    with pytest.warns(ConvergenceWarning, match="above the tolerance 1e-25"):
        fit(make_cache(0), tolerance=1e-25)
    with pytest.warns(UserWarning, match="class 'class0' never had a negative"):
        fit(make_cache(0), neg_overlap=0.0)


def test_fold_detectors_have_not_seen_their_fold():
    """Each equals a single SVM on the final cache without the fold's images."""
    cache = make_cache(9)
    miner = fit(cache, k_folds=3)
    assert sorted(np.concatenate(miner.folds_).tolist()) == list(range(cache.num_images))
    scale = 20 / 4.0
    for fold, detector in zip(miner.folds_, miner.fold_detectors_, strict=True):
        for c in range(3):
            keys = [(i, r) for k, i, r in miner.negatives_.tolist() if k == c and i not in fold]
            rows = [cache.regions(i).features[r] for i, r in keys]
            positives = [
                cache.regions(i).features[r]
                for i in range(cache.num_images)
                if i not in fold
                for r in np.flatnonzero(cache.regions(i).label == c + 1)
            ]
            svm = LinearSVC(
                C=0.02, loss="hinge", tol=1e-9, max_iter=10**7, intercept_scaling=10, class_weight={1: 2}
            ).fit(np.array(positives + rows) * scale, [1] * len(positives) + [-1] * len(rows))
            np.testing.assert_allclose(detector.W[:, c], svm.coef_[0], atol=1e-4)


def test_support_vectors_are_the_negatives_inside_the_margin():
    cache = make_cache(10)
    miner = fit(cache)
    keys, scores = miner.support_
    for (c, image, row), score in zip(keys.tolist(), scores, strict=True):
        found = miner.detector_.scores(cache.regions(image).features[row : row + 1])[0, c]
        assert found == pytest.approx(score, abs=1e-4)
        assert score > -1 - 1e-6
    assert len(keys) == len(scores) > 0


def test_parameters_follow_the_estimator_contract():
    miner = HardNegativeMiner(svm_C=0.5, classes=["class1"])
    assert clone(miner).get_params() == miner.get_params()
    paper = HardNegativeMiner().get_params()
    expected = {"svm_C": 1e-3, "pos_loss_weight": 2, "bias_mult": 10, "hard_thresh": -1.0001, "evict_thresh": -1.2}
    assert {name: paper[name] for name in expected} == expected
    assert (paper["retrain_limit"], paper["neg_overlap"], paper["max_epochs"]) == (2000, 0.3, 1)


def test_model_file_keeps_detector_record_and_provenance(tmp_path):
    cache = make_cache(11)
    miner = fit(cache, k_folds=2)
    miner.save(tmp_path / "model.h5")
    detector, history = Detector.load(tmp_path / "model.h5"), load_history(tmp_path / "model.h5")
    np.testing.assert_array_equal(detector.W, miner.detector_.W)
    np.testing.assert_array_equal(detector.B, miner.detector_.B)
    assert detector.training["identity"] == miner.identity(cache)
    assert detector.classes == cache.classes
    for name, table in miner.history_.tables().items():
        np.testing.assert_array_equal(history[name], table)
    np.testing.assert_array_equal(history["fold_W"][1], miner.fold_detectors_[1].W)
    assert history["image_ids"].tolist() == list(cache.image_ids)


def without_class(cache: FeatureCache, label: int) -> FeatureCache:
    parts = [cache.regions(i) for i in range(cache.num_images)]
    arrays = {
        name: np.concatenate([getattr(p, name) for p in parts])
        for name in ("features", "boxes", "gt", "label", "overlap")
    }
    gone = arrays["label"] == label
    arrays["label"] = np.where(gone, 0, arrays["label"])
    arrays["gt"] = arrays["gt"] & ~gone
    return FeatureCache.from_arrays(**arrays, image_start=cache.image_start, classes=cache.classes, name="toy")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"svm_C": 0}, "svm_C = 0 must be above 0"),
        ({"neg_overlap": 1.5}, r"neg_overlap = 1\.5 must be between"),
        ({"evict_thresh": float("nan")}, "evict_thresh = nan must be a number within"),
        ({"seed": -1}, "seed = -1 must be between 0"),
        ({"k_folds": -1}, "k_folds = -1 must be 0 or between 2"),
        ({"solver": "sgd"}, "solver 'sgd' is unknown; choose one of dcd, liblinear"),
        ({"classes": ["dog"]}, "class 'dog' is not in toy; it has class0, class1, class2"),
        ({"max_epochs": 0}, "max_epochs = 0"),
        ({"k_folds": 1}, "k_folds = 1 must be 0 or between 2"),
        ({"k_folds": 99}, "k_folds = 99"),
        ({"tolerance": -1}, "tolerance = -1 must be at least 1e-13"),
    ],
)
def test_bad_parameters_are_told(options, told):
    with pytest.raises(InputError, match=told):
        fit(make_cache(0), **options)


def test_a_class_without_ground_truth_is_told():
    with pytest.raises(InputError, match="class 'class1' has no ground truth in toy: none of its 14 images"):
        fit(without_class(make_cache(0), 2))


def test_features_that_are_all_zero_are_told():
    cache = make_cache(0)
    zero = FeatureCache.from_arrays(
        features=np.zeros((cache.num_rows, cache.dim), np.float32),
        boxes=np.zeros((cache.num_rows, 4)),
        gt=np.zeros(cache.num_rows, bool),
        label=np.zeros(cache.num_rows),
        overlap=np.zeros((cache.num_rows, 3)),
        image_start=cache.image_start,
        classes=cache.classes,
    )
    with pytest.raises(InputError, match="mean norm of 0"):
        fit(zero, feat_norm_mean=None)
