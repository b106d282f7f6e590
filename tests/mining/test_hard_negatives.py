"""The mining loop against its definition (`reference.py`), and its surroundings."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.svm import LinearSVC

from rcnn_svm.artefacts.checkpoint import Checkpoint
from rcnn_svm.cache import FeatureCache
from rcnn_svm.cache.feature_norm import mean_feature_norm
from rcnn_svm.detection.detector import Detector
from rcnn_svm.errors import InputError
from rcnn_svm.mining.engine.class_miner import ClassMiner
from rcnn_svm.mining.hard_negatives import HardNegativeMiner
from rcnn_svm.mining.reference import ReferenceMiner
from rcnn_svm.mining.rules import MiningRules
from rcnn_svm.parameters import checks, real
from tests.toys import WatchedCache, arrays_of, one_feature, stored, toy_cache


def make_cache(seed: int = 0, num_images: int = 14, num_boxes: int = 90) -> FeatureCache:
    """A cache with an empty image among the others."""
    rows = np.random.default_rng(seed).integers(num_boxes, num_boxes + 20, num_images)
    rows[5] = 0
    return toy_cache(rows, classes=("class0", "class1", "class2"), dim=16, seed=seed)


def assert_equal(miner: HardNegativeMiner, reference: ReferenceMiner) -> None:
    """Every event and every key the same, and nearly the same detectors."""
    for name in ("added", "evicted", "budget"):
        np.testing.assert_array_equal(miner.history_.table(name), reference.history.table(name), err_msg=name)
    updates = reference.history.table("updates")[:, :7]  # all but the solver's passes
    np.testing.assert_array_equal(miner.history_.table("updates")[:, :7], updates)
    kept = [[c, *key] for c, keys in enumerate(reference.negatives) for key in keys]
    assert miner.negatives_.tolist() == kept
    np.testing.assert_allclose(miner.detector_.W, reference.W, atol=1e-4 * np.abs(reference.W).max())
    np.testing.assert_allclose(miner.detector_.B, reference.B, atol=1e-4 * np.abs(reference.B).max())


def test_a_case_for_pencil_and_paper():
    """See test_reference.py: the last detector is the line that is -1 at the negative at 2 and 1 at the object at 4."""
    miner = HardNegativeMiner(feat_norm_mean=20, svm_C=100, bias_mult=1000, n_jobs=1).fit(one_feature())
    assert miner.history_.table("added").tolist() == [[0, 0, 0, 1], [0, 0, 0, 2], [0, 0, 1, 0], [0, 0, 2, 0]]
    assert miner.history_.table("evicted").tolist() == [[0, 0, 2], [1, 0, 1], [1, 2, 0]]
    assert miner.negatives_.tolist() == [[0, 1, 0]]
    assert (miner.detector_.W[0, 0], miner.detector_.B[0]) == pytest.approx((1, -3), abs=1e-3)


@pytest.mark.parametrize("solver", ["dcd", "liblinear"])
@pytest.mark.parametrize(("seed", "limit", "epochs"), [(0, 60, 1), (1, 25, 2), (2, 5000, 1), (3, 40, 3)])
def test_equals_the_definition(solver, seed, limit, epochs):
    cache = make_cache(seed)
    parameters = {"svm_C": 0.02, "max_epochs": epochs, "feat_norm_mean": 4.0}
    reference = ReferenceMiner(cache, MiningRules(retrain_limit=limit), **parameters).mine()
    tolerance = {"dcd": 1e-11, "liblinear": 1e-9}[solver]
    miner = HardNegativeMiner(retrain_limit=limit, solver=solver, tolerance=tolerance, n_jobs=1, **parameters)
    assert_equal(miner.fit(cache), reference)
    np.testing.assert_array_equal(miner.history_.table("scan"), reference.history.table("scan"))
    losses = reference.history.table("update_loss")
    np.testing.assert_allclose(miner.history_.table("update_loss"), losses, atol=1e-6 * losses.max())
    assert len(reference.history.table("evicted")) and len(losses) >= 6, "the case exercises the rules"


class ReferenceWithBudget(ReferenceMiner):
    """The definition with the rules of `memory_budget`: no class holds more than `capacity` negatives."""

    def __init__(self, *args, capacity: int, **parameters):
        super().__init__(*args, **parameters)
        self.capacity = capacity

    def hard_negatives(self, c, epoch, image, scores):
        new = [key for key in super().hard_negatives(c, epoch, image, scores) if key not in self.negatives[c]]
        if len(self.negatives[c]) + len(new) > self.capacity and self.num_added[c]:
            self.train(c, epoch, image)
            scores = self.images[image].features * self.scale @ self.W[:, c] + self.B[c]
            return self.hard_negatives(c, epoch, image, scores)
        room = max(self.capacity - len(self.negatives[c]), 0)
        if len(new) > room:
            self.history.record("budget", [(c, epoch, image, len(new) - room, 0)])
        return sorted(sorted(new, key=lambda key: -scores[key[1]])[:room])

    def easy(self, c, epoch, image, scores):
        leaves = super().easy(c, epoch, image, scores)
        excess = max(len(scores) - leaves.sum() - self.capacity // 2, 0)
        spare = [n for n in range(len(scores)) if not leaves[n] and scores[n] < -1 - 1e-6]
        easiest = sorted(spare, key=scores.__getitem__)[:excess]
        if easiest:
            self.history.record("budget", [(c, epoch, image, 0, len(easiest))])
        leaves[easiest] = True
        return leaves


def capacity_bytes(cache: FeatureCache, capacity: int) -> int:
    """Return the memory budget that lets every class hold so many negatives."""
    count = sum(int((cache.regions(i).label > 0).sum()) for i in range(cache.num_images))
    return 4 * cache.dim * (count + capacity * len(cache.classes))


def fit(cache, **options):
    parameters = {"svm_C": 0.02, "retrain_limit": 40, "feat_norm_mean": 4.0, "tolerance": 1e-9, "n_jobs": 1}
    return HardNegativeMiner(**{**parameters, **options}).fit(cache)


def assert_same_training(a: HardNegativeMiner, b: HardNegativeMiner, *, exact_weights: bool = True) -> None:
    for name, table in a.history_.tables().items():
        if name == "convergence":  # objectives, which round as the weights do
            np.testing.assert_allclose(table, b.history_.table(name), rtol=0 if exact_weights else 1e-12)
        elif name not in ("update_loss", "update_gap"):
            np.testing.assert_array_equal(table, b.history_.table(name), err_msg=name)
    np.testing.assert_array_equal(a.negatives_, b.negatives_)
    if exact_weights:
        np.testing.assert_array_equal(a.detector_.W, b.detector_.W)
    else:
        np.testing.assert_allclose(a.detector_.W, b.detector_.W, atol=1e-6)


@pytest.mark.parametrize(("seed", "limit", "epochs", "capacity"), [(0, 60, 1, 70), (1, 25, 2, 70), (3, 900, 3, 120)])
def test_equals_the_definition_under_a_budget(seed, limit, epochs, capacity):
    cache = make_cache(seed)
    parameters = {"svm_C": 5e-4, "max_epochs": epochs, "feat_norm_mean": 4.0}
    reference = ReferenceWithBudget(cache, MiningRules(retrain_limit=limit), **parameters, capacity=capacity).mine()
    options = {"retrain_limit": limit, "memory_budget": capacity_bytes(cache, capacity)}
    miner = fit(cache, tolerance=1e-11, **options, **parameters)
    assert_equal(miner, reference)
    bound = miner.history_.table("budget")[:, 3:] > 0
    assert bound.any(axis=0).all(), "examples were left out and thrown out"


def test_a_budget_that_never_binds_changes_nothing():
    cache = make_cache(4)
    large = fit(cache, max_epochs=2, memory_budget=4 * cache.dim * cache.num_rows * 20)
    assert not len(large.history_.table("budget"))
    assert_same_training(fit(cache, max_epochs=2), large)


@pytest.mark.parametrize("capacity", [2, 30, 61, 150])
def test_caches_stay_within_the_budget(monkeypatch, capacity):
    cache = make_cache(4)
    pools, after = set(), []
    train = ClassMiner.train

    def training(self, *args):
        train(self, *args)
        held, negative = self.cache, ~self.cache.positive
        pools.add(held.pool)
        after.append((held.num_negatives, (held.alpha > 0)[negative] | (held.scores >= -1)[negative]))

    # Which examples a class needs, and how full its pool is, shows nowhere outside right after a training.
    monkeypatch.setattr(ClassMiner, "train", training)
    miner = fit(cache, svm_C=5e-4, max_epochs=2, memory_budget=capacity_bytes(cache, capacity))
    tables = miner.history_.tables()
    for negatives, needed in after:
        assert negatives <= capacity // 2 or needed.all()
    assert pools
    assert all(len(pool.rows) <= pool.max_rows for pool in pools)
    assert all(4 * cache.dim * pool.max_rows <= miner.memory_budget for pool in pools)

    for c in range(3):
        waiting = [tuple(key) for key in tables["added"][tables["added"][:, 0] == c, 2:].tolist()]
        held: set[tuple[int, int]] = set()
        for number, update in enumerate(tables["updates"].tolist()):
            if update[0] != c:
                continue
            fresh, waiting = set(waiting[: update[6]]), waiting[update[6] :]
            assert len(fresh) == update[6] and not fresh & held
            held |= fresh
            assert len(held) == update[4] <= capacity
            gone = set(map(tuple, tables["evicted"][tables["evicted"][:, 0] == number, 1:].tolist()))
            assert gone <= held
            held -= gone
            assert len(held) == update[5]
        assert not waiting
        assert held == set(map(tuple, miner.negatives_[miner.negatives_[:, 0] == c, 1:].tolist()))
    assert set(map(tuple, miner.support_[0].tolist())) <= set(map(tuple, miner.negatives_.tolist()))

    assert (tables["budget"][:, 3:].max(axis=1) > 0).all() and len(tables["budget"])
    left_out = {tuple(row[:3]): row[3] for row in tables["budget"].tolist() if row[3]}
    assert left_out
    for c, epoch, image, hard, added in tables["scan"].tolist():
        missing = left_out.get((c, epoch, image), 0)
        # Only after the first pass can a hard negative be in the cache already.
        assert missing == hard - added if epoch == 0 else missing <= hard - added


def objective(cache: FeatureCache, miner: HardNegativeMiner, c: int, keys: set[tuple[int, int]] | None) -> float:
    """Return a class's objective on its positives and the negatives `keys`, or all eligible ones."""
    detector, total = miner.detector_, 0.0
    for i in range(cache.num_images):
        regions = cache.regions(i)
        scores = detector.scores(regions.features)[:, c].astype(np.float64)
        total += miner.pos_loss_weight * np.maximum(0, 1 - scores[regions.label == c + 1]).sum()
        negative = regions.overlap[:, c] < np.float32(miner.neg_overlap)
        if keys is not None:
            negative = np.array([(i, r) in keys for r in range(len(regions))], bool)
        total += np.maximum(0, 1 + scores[negative]).sum()
    weights = np.append(detector.W[:, c], detector.B[c] / miner.bias_mult).astype(np.float64)
    return miner.svm_C * total + weights @ weights / 2


def test_a_tight_budget_still_learns():
    """Over several passes it comes close to the best detector on all data."""
    cache = make_cache(4)
    free = fit(cache, svm_C=2e-3, max_epochs=6)
    held = fit(cache, svm_C=2e-3, max_epochs=6, memory_budget=capacity_bytes(cache, 70))
    assert len(held.history_.table("budget"))
    for c in range(3):
        best = objective(cache, free, c, None)
        assert 0.999 * best < objective(cache, held, c, None) < 1.02 * best


def cached_keys(miner: HardNegativeMiner, c: int) -> set[tuple[int, int]]:
    return set(map(tuple, miner.negatives_[miner.negatives_[:, 0] == c, 1:].tolist()))


@pytest.mark.parametrize("capacity", [None, 100])
@pytest.mark.parametrize("n_jobs", [1, 2])
@pytest.mark.parametrize("ratio", [1.0005, 1.02, 1.5])
def test_mining_stops_after_the_first_pass_that_is_close_enough(ratio, n_jobs, capacity):
    cache = make_cache(4)
    options = {"svm_C": 2e-3, "stop_ratio": ratio, "n_jobs": n_jobs, "retrain_limit": 200}
    if capacity:
        options["memory_budget"] = capacity_bytes(cache, capacity)
    miner = fit(cache, max_epochs=6, **options)
    table = miner.history_.table("convergence")
    passes = int(table[-1, 1]) + 1
    assert table[:, :2].tolist() == [[c, epoch] for epoch in range(passes) for c in range(3)]
    assert miner.history_.table("scan")[:, 1].max() == passes - 1
    close = [(table[table[:, 1] == e, 3] < ratio * table[table[:, 1] == e, 2]).all() for e in range(passes)]
    assert close[:-1] == [False] * (passes - 1)
    assert close[-1] or passes == 6
    for c in range(3):
        assert table[-3 + c, 2] == pytest.approx(objective(cache, miner, c, cached_keys(miner, c)), rel=1e-5)
        assert table[-3 + c, 3] == pytest.approx(objective(cache, miner, c, None), rel=1e-5)


def test_a_looser_stop_ratio_never_takes_more_passes():
    cache = make_cache(4)
    passes = [
        int(fit(cache, max_epochs=6, stop_ratio=ratio, retrain_limit=200).history_.table("convergence")[-1, 1]) + 1
        for ratio in (1.0005, 1.02, 1.5, 10)
    ]
    assert all(a >= b for a, b in pairwise(passes)) and 1 == passes[-1] < passes[0] < 6


@pytest.mark.parametrize("limit", [8, 15])
def test_checkpoints_leave_the_order_of_the_last_trainings(tmp_path, limit):
    cache = make_cache(3)
    whole = fit(cache, svm_C=0.1, retrain_limit=limit, max_epochs=3, stop_ratio=1.0001, block_bytes=4 * 16 * 250)
    saving = clone(whole).fit(cache, checkpoint=tmp_path / "train.checkpoint", checkpoint_seconds=0)
    assert_same_training(whole, saving)


@pytest.mark.parametrize("stop_after", [1, 7, 9, 16])
def test_a_training_that_stops_early_resumes_to_the_same_result(tmp_path, stop_after):
    cache = make_cache(4)
    whole = fit(cache, max_epochs=6, stop_ratio=1.0005, retrain_limit=200, block_bytes=4 * 16 * 250, n_jobs=2)
    assert 1 < len(whole.history_.table("convergence")) // 3 < 6
    path = tmp_path / "train.checkpoint"
    with pytest.raises(KeyboardInterrupt):
        clone(whole).fit(WatchedCache(cache, "scan", stop_after), checkpoint=path, checkpoint_seconds=0)
    assert_same_training(whole, clone(whole).fit(cache, checkpoint=path), exact_weights=False)
    watched = WatchedCache(cache)
    assert_same_training(whole, clone(whole).fit(watched, checkpoint=path), exact_weights=False)
    assert not watched.read["scan"], "a training that is done scans nothing"


@pytest.mark.filterwarnings("ignore:class 'class[012]' never had a negative")
def test_a_class_without_negatives_does_not_keep_the_mining_going():
    miner = fit(make_cache(0), neg_overlap=0.0, max_epochs=3, stop_ratio=1.05)
    assert miner.history_.table("convergence")[:, 1].max() == 0


@pytest.mark.parametrize("block_bytes", [1, 6 * 4 * 16 * 100, 1 << 30])
def test_scoring_blocks_of_images_changes_nothing(block_bytes):
    cache = make_cache(4)
    blocks = fit(cache, max_epochs=2, block_bytes=block_bytes)
    assert_same_training(fit(cache, max_epochs=2), blocks, exact_weights=False)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("capacity", [None, 70])
def test_threads_change_nothing(tmp_path, dtype, capacity):
    cache = stored(make_cache(4), tmp_path / "cache", shard_images=4, dtype=dtype)
    budget = None if capacity is None else capacity_bytes(cache, capacity)
    assert cache.dtype == dtype
    options = {"svm_C": 1e-3, "max_epochs": 3, "block_bytes": 4 * 16 * 150, "k_folds": 2, "memory_budget": budget}
    one = fit(cache, **options)
    assert (len(one.history_.table("budget")) > 0) == (budget is not None)
    for n_jobs in (2, 3):
        # A thread of one class multiplies with another routine, which rounds otherwise.
        many = fit(cache, n_jobs=n_jobs, **options)
        assert_same_training(one, many, exact_weights=False)
        for a, b in zip(one.fold_detectors_, many.fold_detectors_, strict=True):
            np.testing.assert_allclose(a.W, b.W, atol=1e-6)


def test_half_precision_trains_as_its_values_in_single(tmp_path):
    half = stored(make_cache(4), tmp_path / "half", shard_images=4, dtype="float16")
    single = FeatureCache.from_arrays(**arrays_of(half), image_start=half.image_start, classes=half.classes)
    assert_same_training(fit(half, max_epochs=2), fit(single, max_epochs=2), exact_weights=False)


def test_a_folder_gives_what_arrays_give(tmp_path):
    cache = make_cache(5)
    folder = stored(cache, tmp_path / "cache", shard_images=4)
    assert_same_training(fit(cache), fit(folder), exact_weights=False)


def test_a_subset_of_classes_trains_as_among_all():
    cache = make_cache(6)
    everything, one = fit(cache), fit(cache, classes=["class2"])
    assert one.detector_.classes == ("class2",)
    np.testing.assert_allclose(one.detector_.W[:, 0], everything.detector_.W[:, 2], atol=1e-6)
    mine = everything.history_.table("added")[:, 0] == 2
    np.testing.assert_array_equal(one.history_.table("added")[:, 1:], everything.history_.table("added")[mine, 1:])


@pytest.mark.parametrize(("epochs", "stop_after"), [(1, 1), (1, 4), (2, 4), (2, 9)])
def test_resumes_from_a_checkpoint_to_the_same_result(tmp_path, stop_after, epochs):
    cache = make_cache(7)
    options = {"max_epochs": epochs, "block_bytes": 4 * 16 * 250, "k_folds": 2}
    whole = fit(cache, **options)

    miner = clone(whole)
    path = tmp_path / "train.checkpoint"
    with pytest.raises(KeyboardInterrupt):
        miner.fit(WatchedCache(cache, "scan", stop_after), checkpoint=path, checkpoint_seconds=0)
    assert path.exists()
    with pytest.raises(InputError, match="is the checkpoint of another training"):
        clone(miner).set_params(svm_C=0.5).fit(cache, checkpoint=path)
    with pytest.raises(InputError, match="is the checkpoint of another training"):
        clone(miner).fit(make_cache(8), checkpoint=path)

    miner.fit(cache, checkpoint=path)
    assert_same_training(whole, miner)
    for a, b in zip(whole.fold_detectors_, miner.fold_detectors_, strict=True):
        np.testing.assert_array_equal(a.W, b.W)
    assert path.exists(), "kept until the caller has saved the result"
    assert_same_training(whole, clone(miner).fit(cache, checkpoint=path))


@pytest.mark.parametrize(
    "name", ["added", "class/0/keys", "class/0/alpha", "class/0/scores", "class/0/support", "class/0/weights"]
)
def test_a_checkpoint_with_an_array_of_another_shape_is_one_sentence(tmp_path, name):
    cache, path = make_cache(3), tmp_path / "train.checkpoint"
    miner = HardNegativeMiner(svm_C=0.1, retrain_limit=30, block_bytes=1)
    with pytest.raises(KeyboardInterrupt):
        miner.fit(WatchedCache(cache, "scan", 6), checkpoint=path, checkpoint_seconds=0)
    kept = Checkpoint(path, miner.identity(cache))
    done, arrays = kept.load()
    kept.save(done, {**arrays, name: arrays[name].reshape(-1)[:-1]})
    with pytest.raises(InputError, match=r"damaged .*; delete it to start anew"):
        miner.fit(cache, checkpoint=path)


def test_resumes_with_blocks_of_another_size(tmp_path):
    cache = make_cache(7)
    whole = fit(cache)
    miner, path = clone(whole).set_params(block_bytes=1), tmp_path / "train.checkpoint"
    with pytest.raises(KeyboardInterrupt):
        miner.fit(WatchedCache(cache, "scan", 6), checkpoint=path, checkpoint_seconds=0)
    resumed = clone(whole).fit(cache, checkpoint=path)
    assert_same_training(whole, resumed, exact_weights=False)


class AnyTolerance(HardNegativeMiner):
    """Accepts a tolerance that no solver reaches."""

    PARAMETER_CHECKS = checks(**{**HardNegativeMiner.PARAMETER_CHECKS, "tolerance": real(above=0)})


@pytest.mark.filterwarnings("ignore:class 'class[12]' never had a negative")
def test_an_unreachable_tolerance_and_an_untrained_class_are_told():
    with pytest.warns(ConvergenceWarning, match="above the tolerance 1e-25"):
        AnyTolerance(svm_C=0.02, feat_norm_mean=4.0, tolerance=1e-25, n_jobs=1).fit(make_cache(0))
    with pytest.warns(UserWarning, match="class 'class0' never had a negative"):
        miner = fit(make_cache(0), neg_overlap=0.0)
    keys, scores = miner.support_
    assert (keys.shape, scores.shape) == ((0, 3), (0,))


def test_threads_do_not_change_the_scale():
    cache = make_cache(0, num_images=6, num_boxes=250)  # more regions an image than are drawn
    assert mean_feature_norm(cache, 7) != mean_feature_norm(cache, 8)
    norms = [fit(cache, feat_norm_mean=None, n_jobs=n_jobs, seed=7).detector_.feat_norm_mean for n_jobs in (1, 2)]
    assert norms == [mean_feature_norm(cache, 7)] * 2


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
    detector, history = Detector.load(tmp_path / "model.h5"), Detector.load_history(tmp_path / "model.h5")
    np.testing.assert_array_equal(detector.W, miner.detector_.W)
    np.testing.assert_array_equal(detector.B, miner.detector_.B)
    assert detector.training["identity"] == miner.identity(cache)
    assert detector.classes == cache.classes
    for name, table in miner.history_.tables().items():
        np.testing.assert_array_equal(history[name], table)
    np.testing.assert_array_equal(history["fold_W"][1], miner.fold_detectors_[1].W)
    assert history["image_ids"].tolist() == list(cache.image_ids)


def without_class(cache: FeatureCache, label: int) -> FeatureCache:
    """Return a cache whose objects of a class are of the class before it."""
    arrays = arrays_of(cache)
    gone = arrays["label"] == label
    arrays["label"][gone] = label - 1
    arrays["overlap"][gone, label - 2] = 1
    return FeatureCache.from_arrays(**arrays, image_start=cache.image_start, classes=cache.classes, name="toy")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"svm_C": 0}, "svm_C = 0 must be a number above 0"),
        ({"neg_overlap": 1.5}, r"neg_overlap = 1\.5 must be a number between"),
        ({"evict_thresh": float("nan")}, "evict_thresh = nan must be a number between"),
        ({"seed": -1}, "seed = -1 must be a whole number between 0"),
        ({"k_folds": -1}, "k_folds = -1 must be a whole number of at least 0"),
        ({"solver": "sgd"}, "solver = 'sgd' must be one of dcd, liblinear"),
        ({"classes": ["dog"]}, "class 'dog' is not in toy; it has class0, class1, class2"),
        ({"max_epochs": 0}, "max_epochs = 0"),
        ({"n_jobs": 0}, "n_jobs = 0 must be a number of threads"),
        ({"k_folds": 1}, "k_folds = 1 must be 0 or between 2"),
        ({"k_folds": 99}, "k_folds = 99"),
        ({"tolerance": -1}, "tolerance = -1 must be a number of at least 1e-13"),
        ({"stop_ratio": 1}, "stop_ratio = 1 must be a number above 1, such as 1.05"),
        ({"stop_ratio": float("nan")}, "stop_ratio = nan must be a number above 1"),
        ({"memory_budget": capacity_bytes(make_cache(0), 2) - 1}, "leaves 3 classes no room for negatives beside"),
        ({"memory_budget": 0}, f"give at least {capacity_bytes(make_cache(0), 2)}, better"),
    ],
)
def test_bad_parameters_are_told(options, told):
    with pytest.raises(InputError, match=told):
        fit(make_cache(0), **options)


def test_classes_without_ground_truth_are_told_all_at_once():
    with pytest.raises(InputError, match="class 'class1' has no ground truth in toy: none of its 14 images"):
        fit(without_class(make_cache(0), 2))
    with pytest.raises(InputError, match="classes 'class1', 'class2' have no ground truth in toy"):
        fit(without_class(without_class(make_cache(0), 3), 2))


def test_features_that_are_all_zero_are_told():
    zero = toy_cache([3, 5], features=np.zeros((8, 4)))
    with pytest.raises(InputError, match="mean norm of 0"):
        fit(zero, feat_norm_mean=None)


@pytest.mark.parametrize("n_jobs", [1, 2])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e38])
@pytest.mark.parametrize(("image", "row"), [(0, 0), (0, 5), (7, 0), (7, 30)])
def test_features_that_are_not_finite_are_refused_by_image_and_row(value, image, row, n_jobs):
    """An object or a proposal, in the first image or a later one: the model was NaN, or finite and wrong."""
    features = arrays_of(toy_cache([40] * 9))["features"].copy()
    features[40 * image + row, 3] = value
    cache = toy_cache([40] * 9, features=features)
    with pytest.raises(InputError, match=f"row {row} of image {image} of toy has features that are not finite"):
        HardNegativeMiner(feat_norm_mean=2.0, n_jobs=n_jobs, block_bytes=2000).fit(cache)


@pytest.mark.parametrize(("n_jobs", "threads"), [(1, 1), (3, 3), (-1, 8), (-2, 7), (-8, 1), (-20, 1)])
def test_numbers_of_threads_below_0_are_counted_from_all_cores(monkeypatch, n_jobs, threads):
    monkeypatch.setattr("rcnn_svm.mining.hard_negatives.cpu_count", lambda: 8)
    assert HardNegativeMiner(n_jobs=n_jobs)._num_threads == threads
