"""Training of R-CNN's SVMs by hard negative mining, key by key like rcnn_train.m.

The original opens one image after the other, scores its regions with the detectors of that moment, adds the
hard negatives to the caches of their classes and retrains a class once enough have come together. Here many
images are scored by one matrix product; when a class is retrained after image i, only its column of the
images after i is out of date and is computed again. Keys, order and results stay those of the sequential
algorithm.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from joblib import Parallel, delayed
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import ThreadpoolController

from rcnn_svm.cache.feature_cache import FeatureCache
from rcnn_svm.cache.shards import ShardArrays
from rcnn_svm.detection.detector import Detector, feature_scale
from rcnn_svm.errors import InputError
from rcnn_svm.mining.checkpoint import Checkpoint
from rcnn_svm.mining.example_pool import ExamplePool
from rcnn_svm.mining.folds import split_folds
from rcnn_svm.mining.history import MiningHistory
from rcnn_svm.mining.statistics import mean_feature_norm
from rcnn_svm.progress import progress_bar
from rcnn_svm.svm.dual_coordinate_descent import DualCoordinateDescent
from rcnn_svm.svm.liblinear import Liblinear
from rcnn_svm.svm.problem import SvmProblem, SvmSolution, SvmSolver

# Beyond this, products with features leave the range of single precision.
LARGEST = 1e9
# A smaller relative gap drowns in the rounding of the objective.
MIN_TOLERANCE = 1e-13

SOLVERS = {"dcd": DualCoordinateDescent, "liblinear": Liblinear}


@dataclass
class ClassState:
    """One class's detector and examples.

    Attributes:
        slots: (N,) int64, places in the pool: the positives, then the negatives in the order they came.
        alpha: (N,) float64, dual variables at the last training, 0 for examples that came later.
        num_positives: of the first rows in `slots`.
        num_added: negatives added since the last training.
        num_updates: trainings so far.
        support: (S, 2) int32 image and row, and their scores (S,) float32: the negatives on or inside the
            margin at the last training.
    """

    slots: np.ndarray
    alpha: np.ndarray
    num_positives: int
    num_added: int = 0
    num_updates: int = 0
    support: tuple[np.ndarray, np.ndarray] = field(
        default_factory=lambda: (np.empty((0, 2), np.int32), np.empty(0, np.float32))
    )

    @property
    def positive(self) -> np.ndarray:
        """(N,) bool, which examples are positives."""
        return np.arange(len(self.slots)) < self.num_positives

    @property
    def num_negatives(self) -> int:
        """Negatives in the cache."""
        return len(self.slots) - self.num_positives


class HardNegativeMiner(BaseEstimator):
    """Linear SVMs of all classes, trained on cached features by hard negative mining.

    Args:
        svm_C: weight of the hinge loss against the regulariser.
        pos_loss_weight: weight of a positive's loss relative to a negative's.
        bias_mult: value of the feature that carries the bias, which is regularised like the weights.
        hard_thresh: a negative is hard when it scores strictly above this.
        evict_thresh: a cached negative leaves when it scores strictly below this after a training.
        neg_overlap: a region is a negative of a class when its IoU with every object of the class is
            strictly below this.
        retrain_limit: a class is trained when strictly more negatives were added since its last training.
        max_epochs: passes over the images.
        k_folds: also train this many detectors per class that each leave out one fold of the images; 0: none.
        solver: `dcd`, our warm-started dual coordinate descent, or `liblinear` through scikit-learn.
        tolerance: where the solver stops: the relative duality gap of `dcd` (default 1e-6), liblinear's own
            measure for `liblinear` (default 0.1, as published). Below about 1e-10 and 1e-8 the optimum is
            reached to the last digit of a score and both find the same keys.
        classes: train only these (names of the cache's classes); all where None.
        feat_norm_mean: mean norm of the features; measured on a seeded sample where None.
        n_jobs: classes trained at once in threads; -1 for every core.
        seed: of the sample, of the folds and of the solver.
        block_bytes: bytes of features scored at once.

    Attributes set by `fit`:
        detector_: the trained `Detector`.
        history_: `MiningHistory`, with keys of everything added and evicted.
        negatives_: (N, 3) int32, class, image, row of the negatives in the caches at the end.
        support_: (S, 3) int32 and (S,) float32, class, image, row and score of the negatives on or inside the
            margin at the last training.
        image_ids_: identifiers of the images that keys count.
        folds_: the image indices of every fold.
        fold_detectors_: one `Detector` per fold.

    Source: `rcnn_train.m`. It differs in that liblinear there stops at tolerance 0.1 with a random order,
    which leaves the result uncertain by some percent; with a tight tolerance both give the same keys.
    """

    def __init__(
        self,
        *,
        svm_C: float = 1e-3,
        pos_loss_weight: float = 2.0,
        bias_mult: float = 10.0,
        hard_thresh: float = -1.0001,
        evict_thresh: float = -1.2,
        neg_overlap: float = 0.3,
        retrain_limit: int = 2000,
        max_epochs: int = 1,
        k_folds: int = 0,
        solver: str = "dcd",
        tolerance: float | None = None,
        classes: Sequence[str] | None = None,
        feat_norm_mean: float | None = None,
        n_jobs: int = -1,
        seed: int = 3,
        block_bytes: int = 32 << 20,
    ):
        self.svm_C = svm_C
        self.pos_loss_weight = pos_loss_weight
        self.bias_mult = bias_mult
        self.hard_thresh = hard_thresh
        self.evict_thresh = evict_thresh
        self.neg_overlap = neg_overlap
        self.retrain_limit = retrain_limit
        self.max_epochs = max_epochs
        self.k_folds = k_folds
        self.solver = solver
        self.tolerance = tolerance
        self.classes = classes
        self.feat_norm_mean = feat_norm_mean
        self.n_jobs = n_jobs
        self.seed = seed
        self.block_bytes = block_bytes

    def fit(
        self,
        cache: FeatureCache,
        y: None = None,
        *,
        folds: Sequence[np.ndarray] | None = None,
        checkpoint: str | Path | None = None,
        checkpoint_seconds: float = 60.0,
    ) -> HardNegativeMiner:
        """Train on a feature cache.

        Args:
            cache: regions and features of the training images.
            y: not used; labels are in the cache.
            folds: image indices of every fold, instead of `k_folds` random ones.
            checkpoint: file where progress is kept, the end included; a training that finds one of its own goes
                on from there and ends with the same result. To be deleted when the result is safe.
            checkpoint_seconds: shortest time between two checkpoints.

        Raises:
            InputError: a parameter is out of range, a class is unknown or has no ground truth, or the
                checkpoint is of another training.
        """
        _Training(self, cache, folds, checkpoint, checkpoint_seconds).run()
        return self

    def identity(self, cache: FeatureCache) -> dict[str, Any]:
        """Return what decides the result of a training on `cache`: parameters, classes and the cache itself."""
        parameters = {k: v for k, v in self.get_params().items() if k not in ("n_jobs", "block_bytes")}
        parameters["classes"] = list(cache.classes if self.classes is None else self.classes)
        return {"parameters": parameters, "cache": cache.fingerprint}

    def save(self, path: str | Path) -> None:
        """Write the detector with the whole record of its training; `Detector.load` reads it."""
        keys, scores = self.support_
        record = {
            **self.history_.tables(),
            "negatives": self.negatives_,
            "support": keys,
            "support_scores": scores,
            "image_ids": np.array(self.image_ids_, h5py.string_dtype()),
        }
        if self.fold_detectors_:
            record["fold_W"] = np.stack([detector.W for detector in self.fold_detectors_])
            record["fold_B"] = np.stack([detector.B for detector in self.fold_detectors_])
            record["fold_of_image"] = np.empty(len(self.image_ids_), np.int32)
            for number, fold in enumerate(self.folds_):
                record["fold_of_image"][fold] = number
        self.detector_.save(path, record)

    def _validate(self) -> None:
        """Check the parameters' ranges."""
        for name in ("svm_C", "pos_loss_weight", "bias_mult"):
            if not 0 < getattr(self, name) <= LARGEST:
                raise InputError(f"{name} = {getattr(self, name)} must be above 0 and at most {LARGEST:g}")
        if not 0 <= self.neg_overlap <= 1:
            raise InputError(f"neg_overlap = {self.neg_overlap} must be between 0 and 1")
        if self.max_epochs < 1:
            raise InputError(f"max_epochs = {self.max_epochs} must be at least 1")
        for name in ("hard_thresh", "evict_thresh"):
            if not abs(getattr(self, name)) <= LARGEST:
                raise InputError(f"{name} = {getattr(self, name)} must be a number within +-{LARGEST:g}")
        if not 0 <= self.seed < 2**31:
            raise InputError(f"seed = {self.seed} must be between 0 and {2**31 - 1}")
        if self.solver not in SOLVERS:
            raise InputError(f"solver {self.solver!r} is unknown; choose one of {', '.join(SOLVERS)}")
        if self.tolerance is not None and not self.tolerance >= MIN_TOLERANCE:
            raise InputError(
                f"tolerance = {self.tolerance} must be at least {MIN_TOLERANCE:g}, what double precision can show"
            )

    def _make_solver(self) -> SvmSolver:
        options = {} if self.tolerance is None else {"tolerance": self.tolerance}
        return SOLVERS[self.solver](**options)


class _Training:
    """The state of one run of `HardNegativeMiner.fit`."""

    def __init__(self, miner, cache, folds, checkpoint, checkpoint_seconds):
        miner._validate()
        self.miner = miner
        self.cache = cache
        self.solver = miner._make_solver()
        self.columns = _class_columns(cache, miner.classes)
        self.names = [cache.classes[c] for c in self.columns]
        self.folds = split_folds(cache.num_images, miner.k_folds, miner.seed) if folds is None else list(folds)
        self.threshold = np.float32(miner.hard_thresh)
        self.history = MiningHistory()
        self.identity = miner.identity(cache)
        self.checkpoint = None if checkpoint is None else Checkpoint(checkpoint, self.identity)
        self.checkpoint_seconds = checkpoint_seconds

    def run(self) -> None:
        """Mine, train the folds, and set the miner's fitted attributes."""
        miner = self.miner
        norm = miner.feat_norm_mean
        self.norm = mean_feature_norm(self.cache, miner.seed) if norm is None else float(norm)
        self.scale = feature_scale(self.norm)
        self.W = np.zeros((self.cache.dim, len(self.columns)), np.float32)
        self.B = np.zeros(len(self.columns), np.float32)
        self.libraries = ThreadpoolController()
        self.pool = ExamplePool(self.cache.dim, len(self.columns))
        self._collect_positives()
        with Parallel(n_jobs=miner.n_jobs, require="sharedmem") as self.parallel:
            self._mine()
            fold_detectors = self._train_folds()
        for name, state in zip(self.names, self.states, strict=True):
            if not state.num_updates:
                warnings.warn(
                    f"class {name!r} never had a negative and is not trained: every region scores 0", stacklevel=2
                )
        miner.detector_ = self._detector(self.W, self.B)
        miner.history_ = self.history
        miner.negatives_ = self._cached_negatives()
        miner.support_ = self._support_vectors()
        miner.image_ids_ = self.cache.image_ids
        miner.folds_ = self.folds
        miner.fold_detectors_ = fold_detectors

    def _collect_positives(self) -> None:
        """Give every class all its ground-truth rows of all images, which it keeps to the end."""
        slots = [[] for _ in self.columns]
        for image in range(self.cache.num_images):
            regions = self.cache.regions(image)
            for c, column in enumerate(self.columns):
                rows = np.flatnonzero(regions.gt & (regions.label == column + 1))
                if len(rows):
                    places = self.pool.put(image, rows, regions.features, self.scale)
                    self.pool.hold(places, c)
                    slots[c].append(places)
        for name, found in zip(self.names, slots, strict=True):
            if not found:
                raise InputError(
                    f"class {name!r} has no ground truth in {self.cache.name}: none of its {self.cache.num_images} "
                    f"images shows one; leave the class out or add images that do"
                )
        joined = [np.concatenate(found) for found in slots]
        self.states = [ClassState(s, np.zeros(len(s)), len(s)) for s in joined]

    def _mine(self) -> None:
        """Pass over the images, adding hard negatives and retraining."""
        epochs, num_images = self.miner.max_epochs, self.cache.num_images
        done = self._resume()
        saved = time.monotonic()
        with progress_bar(epochs * num_images, "mining", "image", initial=done) as bar:
            for epoch in range(epochs):
                for images, arrays, rows in self.cache.runs(self.miner.block_bytes):
                    before = epoch * num_images + images.start
                    if before + len(images) <= done:
                        continue
                    self._scan_run(epoch, images, arrays, rows, skip=max(0, done - before))
                    bar.set_postfix(hard=self.history.num_added, updates=self.history.num_updates, refresh=False)
                    bar.update(before + len(images) - max(done, before))
                    if self.checkpoint and time.monotonic() - saved > self.checkpoint_seconds:
                        self._save_checkpoint(before + len(images))
                        saved = time.monotonic()
        if self.checkpoint and done < epochs * num_images:
            self._save_checkpoint(epochs * num_images)

    def _scan_run(self, epoch: int, images: range, arrays: ShardArrays, rows: slice, skip: int) -> None:
        """Mine consecutive images that lie in one piece, but the first `skip`, with the effects of one by one."""
        features = arrays.features[rows].astype(np.float32, copy=False)
        eligible = arrays.overlap[rows][:, self.columns] < np.float32(self.miner.neg_overlap)
        hard = eligible & (self._score(features) > self.threshold)
        origin = self.cache.image_start[images.start]
        for image in images[skip:]:
            first, last = (self.cache.image_start[[image, image + 1]] - origin).tolist()
            # The very first image of the run gives all its negatives, as no detector exists to judge them.
            very_first = epoch == 0 and image == 0
            chosen = eligible if very_first else hard
            self._add(epoch, image, chosen[first:last], features[first:last])
            due = self._due(epoch, image, very_first)
            if due:
                self._train(epoch, image, due)
                rest = slice(last, None)
                hard[rest, due] = eligible[rest, due] & (self._score(features[rest], due) > self.threshold)

    def _score(self, features, classes=slice(None)) -> np.ndarray:
        """Return (n, classes) float32 scores of unscaled features under the present detectors."""
        return features @ (self.W[:, classes] * self.scale) + self.B[classes]

    def _add(self, epoch, image, chosen, features) -> None:
        """Append the chosen rows of an image to the classes' caches, except those that are there already."""
        rows = np.flatnonzero(chosen.any(axis=1))
        places = self.pool.put(image, rows, features, self.scale)
        candidates = chosen[rows]
        fresh = candidates & ~self.pool.member[places]
        for c in np.flatnonzero(fresh.any(axis=0)):
            mine = fresh[:, c]
            state = self.states[c]
            self.pool.hold(places[mine], c)
            state.slots = np.concatenate([state.slots, places[mine]])
            state.alpha = np.concatenate([state.alpha, np.zeros(mine.sum())])
            state.num_added += int(mine.sum())
            self.history.record("added", [(c, epoch, image, row) for row in rows[mine]])
        counts = zip(candidates.sum(axis=0).tolist(), fresh.sum(axis=0).tolist(), strict=True)
        self.history.record("scan", [(c, epoch, image, *count) for c, count in enumerate(counts)])

    def _due(self, epoch, image, very_first) -> list[int]:
        """Return the classes to train after an image."""
        final = epoch == self.miner.max_epochs - 1 and image == self.cache.num_images - 1
        return [
            c
            for c, state in enumerate(self.states)
            if (very_first or final or state.num_added > self.miner.retrain_limit) and state.num_negatives
        ]

    def _train(self, epoch, image, due) -> None:
        """Train some classes on their caches, then evict what has become easy."""
        states = [self.states[c] for c in due]
        jobs = [(self._problem(s), s.alpha, self._solver_seed(c)) for c, s in zip(due, states, strict=True)]
        for c, solution in zip(due, self._solve(jobs), strict=True):
            self._update(epoch, image, c, solution)

    def _solve(self, jobs: list[tuple[SvmProblem, np.ndarray, int]]) -> list[SvmSolution]:
        """Solve some problems at once, each in one thread: theirs and those of the matrix library add up."""
        with self.libraries.limit(limits=1 if len(jobs) > 1 else None, user_api="blas"):
            return self.parallel(delayed(self.solver.solve)(*job) for job in jobs)

    def _problem(self, state: ClassState, keep: np.ndarray | None = None) -> SvmProblem:
        """Return the SVM problem of a class's cache, or of the part of it that `keep` says."""
        positive, slots = state.positive, state.slots
        if keep is not None:
            positive, slots = positive[keep], slots[keep]
        C, weight = self.miner.svm_C, self.miner.pos_loss_weight
        return SvmProblem(
            rows=self.pool.rows,
            slots=slots,
            y=np.where(positive, 1.0, -1.0),
            upper=np.where(positive, C * weight, C),
            bias_mult=self.miner.bias_mult,
            norms=self.pool.norms,
        )

    def _solver_seed(self, c: int) -> int:
        return self.miner.seed + c + len(self.columns) * self.states[c].num_updates

    def _update(self, epoch, image, c, solution: SvmSolution) -> None:
        """Take over a class's new detector, record it, and evict."""
        state, history = self.states[c], self.history
        self.W[:, c] = solution.weights[:-1]
        self.B[c] = solution.weights[-1] * self.miner.bias_mult
        scores = solution.scores.astype(np.float32)
        negative = ~state.positive
        trained_on = state.num_negatives

        inside = negative & (scores > -1 - np.finfo(np.float32).eps)
        state.support = (self._keys(state.slots[inside]), scores[inside])

        easy = negative & (scores < np.float32(self.miner.evict_thresh))
        evicted = self._keys(state.slots[easy])
        history.record("evicted", [(history.num_updates, *key) for key in evicted])
        self.pool.release(state.slots[easy], c)
        state.slots = state.slots[~easy]
        state.alpha = (solution.alpha if solution.alpha is not None else state.alpha)[~easy]

        if solution.relative_gap > getattr(self.solver, "tolerance", np.inf):
            warnings.warn(
                f"class {self.names[c]!r}: the solver stopped at a relative gap of {solution.relative_gap:.1e}, "
                f"above the tolerance {self.solver.tolerance:g}",
                ConvergenceWarning,
                stacklevel=2,
            )
        counts = (state.num_positives, trained_on, state.num_negatives, state.num_added, solution.iterations)
        history.record("updates", [(c, epoch, image, *counts)])
        history.record("update_loss", [solution.loss])
        history.record("update_gap", [solution.relative_gap])
        state.num_added = 0
        state.num_updates += 1

    def _keys(self, slots) -> np.ndarray:
        """Return (n, 2) int32 image and row of pool places."""
        return np.stack([self.pool.images[slots], self.pool.indices[slots]], axis=1)

    def _train_folds(self) -> list[Detector]:
        """Train every class again on its final cache without each fold's images."""
        jobs = []
        for fold in self.folds:
            for state in self.states:
                outside = ~np.isin(self.pool.images[state.slots], fold)
                # A fold that holds all positives or all negatives of a class cannot be left out.
                for part in (state.positive, ~state.positive):
                    if not outside[part].any():
                        outside |= part
                jobs.append((self._problem(state, outside), state.alpha[outside], self.miner.seed))
        solutions = self._solve(jobs)
        detectors = []
        for f in range(len(self.folds)):
            part = solutions[f * len(self.states) : (f + 1) * len(self.states)]
            weights = np.stack([solution.weights for solution in part], axis=1)
            detectors.append(
                self._detector(weights[:-1].astype(np.float32), (weights[-1] * self.miner.bias_mult).astype(np.float32))
            )
        return detectors

    def _detector(self, W, B) -> Detector:
        return Detector(
            classes=tuple(self.names),
            W=W,
            B=B,
            feat_norm_mean=self.norm,
            feature_settings=self.cache.settings,
            training={
                "identity": self.identity,
                "image_set": self.cache.name,
                "num_images": self.cache.num_images,
                "num_regions": self.cache.num_rows,
            },
        )

    def _cached_negatives(self) -> np.ndarray:
        parts = [
            np.insert(self._keys(state.slots[state.num_positives :]), 0, c, axis=1)
            for c, state in enumerate(self.states)
        ]
        return np.concatenate(parts).astype(np.int32)

    def _support_vectors(self) -> tuple[np.ndarray, np.ndarray]:
        keys = [np.insert(state.support[0], 0, c, axis=1) for c, state in enumerate(self.states)]
        scores = [state.support[1] for state in self.states]
        return np.concatenate(keys).astype(np.int32), np.concatenate(scores)

    def _save_checkpoint(self, done: int) -> None:
        arrays = {"W": self.W, "B": self.B, **self.history.tables()}
        for c, state in enumerate(self.states):
            negatives = slice(state.num_positives, None)
            arrays[f"class/{c}/keys"] = self._keys(state.slots[negatives])
            arrays[f"class/{c}/alpha"] = state.alpha
            arrays[f"class/{c}/counters"] = np.array([state.num_added, state.num_updates])
            arrays[f"class/{c}/support"], arrays[f"class/{c}/support_scores"] = state.support
        self.checkpoint.save(done, arrays)

    def _resume(self) -> int:
        """Restore the last checkpoint, if there is one; return the images already done, over all epochs."""
        if self.checkpoint is None or not self.checkpoint.exists():
            return 0
        done, arrays = self.checkpoint.load()
        self.W, self.B = arrays["W"], arrays["B"]
        for name, parts in self.history.parts.items():
            parts.append(arrays[name])
        wanted: dict[int, list] = {}
        for c, state in enumerate(self.states):
            keys = arrays[f"class/{c}/keys"]
            state.alpha = arrays[f"class/{c}/alpha"]
            state.num_added, state.num_updates = arrays[f"class/{c}/counters"].tolist()
            state.support = (arrays[f"class/{c}/support"], arrays[f"class/{c}/support_scores"])
            state.slots = np.concatenate([state.slots, np.full(len(keys), -1)])
            for position, (image, row) in enumerate(keys.tolist(), start=state.num_positives):
                wanted.setdefault(image, []).append((c, position, row))
        for image, entries in wanted.items():
            features = self.cache.regions(image).features
            rows = np.array([row for _, _, row in entries])
            unique, inverse = np.unique(rows, return_inverse=True)
            places = self.pool.put(image, unique, features, self.scale)[inverse]
            for (c, position, _), place in zip(entries, places, strict=True):
                self.states[c].slots[position] = place
                self.pool.hold(place, c)
        return done


def _class_columns(cache: FeatureCache, names: Sequence[str] | None) -> list[int]:
    """Return the cache's column of every class to train.

    Raises:
        InputError: a name is not among the cache's classes.
    """
    if names is None:
        return list(range(len(cache.classes)))
    for name in names:
        if name not in cache.classes:
            raise InputError(f"class {name!r} is not in {cache.name}; it has {', '.join(cache.classes)}")
    return [cache.classes.index(name) for name in names]
