"""Training of R-CNN's SVMs by hard negative mining, key by key like rcnn_train.m.

The original opens one image after the other, scores its regions with the detectors of that moment, adds the
hard negatives to the caches of their classes and retrains a class once enough have come together. Here blocks
of images are read once and handed to groups of classes, each with a thread of its own (`class_group.py`).
"""

from __future__ import annotations

import time
import warnings
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from joblib import cpu_count
from sklearn.base import BaseEstimator, clone
from threadpoolctl import ThreadpoolController
from tqdm import tqdm

from rcnn_svm import paper
from rcnn_svm.artefacts.checkpoint import Checkpoint
from rcnn_svm.cache.feature_cache import FeatureCache
from rcnn_svm.cache.feature_norm import feature_scale, mean_feature_norm
from rcnn_svm.cache.folds import split_folds
from rcnn_svm.cache.shards import as_float32
from rcnn_svm.detection.detector import Detector
from rcnn_svm.errors import InputError
from rcnn_svm.mining.engine.class_miner import Block, ClassGroup, phase
from rcnn_svm.mining.engine.example_pool import ExamplePool
from rcnn_svm.mining.engine.history import MiningHistory, training_record
from rcnn_svm.mining.engine.scan import BLOCKS_AHEAD, GroupThreads
from rcnn_svm.mining.examples import class_columns, class_positives
from rcnn_svm.mining.rules import MiningRules
from rcnn_svm.parameters import NAMES, NONE, SEED, THREADS, check_parameters, checks, one_of, real, whole
from rcnn_svm.progress import progress_bar
from rcnn_svm.svm.class_weights import AUTO
from rcnn_svm.svm.solvers import SOLVERS, make_solver
from rcnn_svm.tuning.svm_C import best_C, cross_validate_C, selection_folds

# Beyond this, products with features leave the range of single precision.
LARGEST = 1e9
# A smaller relative gap drowns in the rounding of the objective.
MIN_TOLERANCE = 1e-13


class HardNegativeMiner(BaseEstimator):
    """Linear SVMs of all classes, trained on cached features by hard negative mining.

    Args:
        svm_C: weight of the hinge loss against the regulariser. Where `auto`, the classes are mined at the paper's
            1e-3 first, C is chosen by cross-validation on what was found (`model_selection.py`), and they are mined
            again with it.
        pos_loss_weight: weight of a positive's loss relative to a negative's. Where `auto`, every class has its own,
            larger the fewer positives there are (`class_weights.py`).
        bias_mult: value of the feature that carries the bias, which is regularised like the weights.
        hard_thresh, evict_thresh, neg_overlap, retrain_limit: the numbers in the four rules (`rules.py`).
        max_epochs: passes over the images, at most.
        stop_ratio: after every pass, compare each class's objective over all negatives of all images with that over
            its cache; stop when the ratio is below this for all (voc-dpm: 1.05). No such test where None.
        memory_budget: bytes for the examples of all classes. Every class has an equal share for its negatives; it
            is retrained before the share is full, and then gives up its easiest examples, but no support vectors,
            until half of its share is free (voc-dpm's policy). No limit where None. Its table `budget` in the history
            tells whenever it bound; results then differ from the original's.
        k_folds: also train this many detectors per class that each leave out one fold of the images; 0: none.
        solver: `dcd`, our warm-started dual coordinate descent, or `liblinear` through scikit-learn.
        tolerance: where the solver stops: the relative duality gap of `dcd` (default 1e-6), liblinear's own
            measure for `liblinear` (default 0.1, as published). Below about 1e-10 and 1e-8 the optimum is
            reached to the last digit of a score and both find the same keys.
        classes: train only these (names of the cache's classes); all where None.
        feat_norm_mean: mean norm of the features; measured on a seeded sample where None.
        n_jobs: threads that share the classes among them; -1 for every core.
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
        seconds_: time by phase: prepare, read (by the calling thread), score, select, solve, evict (summed over
            threads).

    Source: `rcnn_train.m`. It differs in that liblinear there stops at tolerance 0.1 with a random order,
    which leaves the result uncertain by some percent; with a tight tolerance both give the same keys.
    """

    PARAMETER_CHECKS = checks(
        svm_C=real(above=0, at_most=LARGEST) | one_of([AUTO]),
        pos_loss_weight=real(above=0, at_most=LARGEST) | one_of([AUTO]),
        bias_mult=real(above=0, at_most=LARGEST),
        hard_thresh=real(at_least=-LARGEST, at_most=LARGEST),
        evict_thresh=real(at_least=-LARGEST, at_most=LARGEST),
        neg_overlap=real(at_least=0, at_most=1),
        retrain_limit=whole(at_least=0),
        max_epochs=whole(at_least=1),
        stop_ratio=real(above=1, hint=", such as 1.05") | NONE,
        memory_budget=whole(at_least=0) | NONE,
        k_folds=whole(at_least=0),
        solver=one_of(SOLVERS),
        tolerance=real(at_least=MIN_TOLERANCE, hint=", what double precision can show") | NONE,
        classes=NAMES | NONE,
        feat_norm_mean=real(above=0) | NONE,
        n_jobs=THREADS,
        seed=SEED,
        block_bytes=whole(at_least=1),
    )

    def __init__(
        self,
        *,
        svm_C: float | str = paper.SVM_C,
        pos_loss_weight: float | str = paper.POS_LOSS_WEIGHT,
        bias_mult: float = paper.BIAS_MULT,
        hard_thresh: float = paper.HARD_THRESH,
        evict_thresh: float = paper.EVICT_THRESH,
        neg_overlap: float = paper.NEG_OVERLAP,
        retrain_limit: int = paper.RETRAIN_LIMIT,
        max_epochs: int = paper.MAX_EPOCHS,
        stop_ratio: float | None = None,
        memory_budget: int | None = None,
        k_folds: int = 0,
        solver: str = "dcd",
        tolerance: float | None = None,
        classes: Sequence[str] | None = None,
        feat_norm_mean: float | None = None,
        n_jobs: int = -1,
        seed: int = paper.SEED,
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
        self.stop_ratio = stop_ratio
        self.memory_budget = memory_budget
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
            folds: image indices of every fold, instead of `k_folds` random ones; C is cross-validated on them too.
            checkpoint: file where progress is kept, the end included; a training that finds one of its own goes
                on from there and ends with the same result. To be deleted when the result is safe.
            checkpoint_seconds: shortest time between two checkpoints.

        Raises:
            InputError: a parameter is out of range, a class is unknown or has no ground truth, or the
                checkpoint is of another training.
        """
        check_parameters(self)
        chosen, selection = self.svm_C, None
        if self.svm_C == AUTO:
            selection = self._select_C(cache, folds, checkpoint, checkpoint_seconds)
            chosen = best_C(selection)
        training = _Training(self, cache, folds, checkpoint, checkpoint_seconds, chosen)
        if selection is not None and checkpoint is None:  # a checkpoint holds it already
            training.history.record("selection", selection)
        training.run()
        return self

    def _select_C(
        self,
        cache: FeatureCache,
        folds: Sequence[np.ndarray] | None,
        checkpoint: str | Path | None,
        checkpoint_seconds: float,
    ) -> np.ndarray:
        """Mine at the paper's C and return the table of `cross_validate_C`, or the one that a checkpoint holds."""
        saved = None if checkpoint is None else Checkpoint(checkpoint, self.identity(cache))
        if saved and saved.exists():
            table = saved.load()[1]["selection"]
            if len(table):
                return table
        if folds is None:
            folds = selection_folds(cache.num_images, self.k_folds, self.seed)
        trial = clone(self)
        _Training(trial, cache, [], checkpoint, checkpoint_seconds, paper.SVM_C).run()
        table = cross_validate_C(trial, cache, folds)
        if saved:
            history = MiningHistory()
            history.record("selection", table)
            saved.save(0, history.tables())
        return table

    def identity(self, cache: FeatureCache) -> dict[str, Any]:
        """Return what decides the result of a training on `cache`: parameters, classes and the cache itself."""
        parameters = {k: v for k, v in self.get_params().items() if k not in ("n_jobs", "block_bytes")}
        parameters["classes"] = list(cache.classes if self.classes is None else self.classes)
        return {"parameters": parameters, "cache": cache.fingerprint}

    @property
    def rules(self) -> MiningRules:
        """What is a negative, what is hard or easy, and when a class is retrained."""
        return MiningRules(self.hard_thresh, self.evict_thresh, self.neg_overlap, self.retrain_limit)

    def save(self, path: str | Path) -> None:
        """Write the detector with the whole record of its training; `Detector.load` reads it."""
        record = training_record(self.history_, self.negatives_, self.support_, self.image_ids_)
        if self.fold_detectors_:
            record["fold_W"] = np.stack([detector.W for detector in self.fold_detectors_])
            record["fold_B"] = np.stack([detector.B for detector in self.fold_detectors_])
            record["fold_of_image"] = np.empty(len(self.image_ids_), np.int32)
            for number, fold in enumerate(self.folds_):
                record["fold_of_image"][fold] = number
        self.detector_.save(path, record)


class _Training:
    """The state of one run of `HardNegativeMiner.fit`."""

    def __init__(self, miner, cache, folds, checkpoint, checkpoint_seconds, svm_C):
        self.miner = miner
        self.svm_C = svm_C
        self.cache = cache
        self.columns = class_columns(cache, miner.classes)
        self.names = [cache.classes[c] for c in self.columns]
        self.folds = split_folds(cache.num_images, miner.k_folds, miner.seed) if folds is None else list(folds)
        self.history = MiningHistory()
        self.identity = miner.identity(cache)
        self.checkpoint = None if checkpoint is None else Checkpoint(checkpoint, self.identity)
        self.checkpoint_seconds = checkpoint_seconds
        self.seconds: dict[str, float] = defaultdict(float)

    def run(self) -> None:
        """Mine, train the folds, and set the miner's fitted attributes."""
        miner = self.miner
        with phase(self.seconds, "prepare"):
            norm = miner.feat_norm_mean
            self.norm = mean_feature_norm(self.cache, miner.seed, self._num_threads) if norm is None else float(norm)
            positives = class_positives(self.cache, self.columns)
            self.groups = self._make_groups(positives)
            done = self._load(positives)
        # Every group has a thread of its own; those of the matrix library would come on top, and slow small products.
        blas = ThreadpoolController().limit(limits=1, user_api="blas")
        with blas, GroupThreads(self.groups) as self.threads:
            # Blocks being worked on, and the one that is read meanwhile.
            count = BLOCKS_AHEAD + 1 if len(self.groups) > 1 else 1
            self.buffers = deque([np.empty((0, self.cache.dim), np.float32)] * count)
            self._mine(done)
            fold_detectors = [self._detector(self.threads.all("train_without", fold)) for fold in self.folds]
        for group in self.groups:
            for name, seconds in group.seconds.items():
                self.seconds[name] += seconds
        self._take_over_histories()
        for name, (group, k) in zip(self.names, self._places(), strict=True):
            if not group.states[k].num_updates:
                warnings.warn(
                    f"class {name!r} never had a negative and is not trained: every region scores 0", stacklevel=2
                )
        miner.detector_ = self._detector([(group.W, group.B) for group in self.groups])
        miner.history_ = self.history
        miner.negatives_ = self._with_class([group.negatives_of(k) for group, k in self._places()])
        support = [group.states[k].support for group, k in self._places()]
        miner.support_ = self._with_class([keys for keys, _ in support]), np.concatenate([s for _, s in support])
        miner.image_ids_ = self.cache.image_ids
        miner.folds_ = self.folds
        miner.fold_detectors_ = fold_detectors
        miner.seconds_ = dict(self.seconds)

    def _make_groups(self, positives: list[np.ndarray]) -> list[ClassGroup]:
        """Share the classes out, neighbours to different groups."""
        count = len(self.columns)
        number = min(self._num_threads, count)
        capacity = self._capacity(positives)
        groups = []
        for g in range(number):
            mine = range(g, count, number)
            max_rows = self.cache.num_rows
            if capacity is not None:
                max_rows = min(max_rows, sum(len(positives[c]) + capacity for c in mine))
            groups.append(
                ClassGroup(
                    self.miner,
                    make_solver(self.miner.solver, self.miner.tolerance),
                    mine,
                    [self.columns[c] for c in mine],
                    [self.names[c] for c in mine],
                    image_start=self.cache.image_start,
                    pool=ExamplePool(self.cache.dim, feature_scale(self.norm), max_rows),
                    svm_C=self.svm_C,
                    capacity=capacity,
                )
            )
        return groups

    @property
    def _num_threads(self) -> int:
        jobs = self.miner.n_jobs
        return jobs if jobs > 0 else max(cpu_count() + 1 + jobs, 1)

    def _capacity(self, positives: list[np.ndarray]) -> int | None:
        """Return how many negatives every class may hold under the memory budget; None without one.

        Raises:
            InputError: that would be fewer than two.
        """
        budget = self.miner.memory_budget
        if budget is None:
            return None
        row_bytes, count = 4 * self.cache.dim, sum(map(len, positives))
        capacity = (budget // row_bytes - count) // len(positives)
        if capacity < 2:
            least = (count + 2 * len(positives)) * row_bytes
            raise InputError(
                f"memory_budget = {budget} bytes leaves {len(positives)} classes no room for negatives beside their "
                f"{count} positives of {row_bytes} bytes; give at least {least}, better some hundred times "
                f"{len(positives) * row_bytes} more"
            )
        return capacity

    def _places(self) -> Iterator[tuple[ClassGroup, int]]:
        """Yield group and position within it of every class, in the order of classes."""
        for c in range(len(self.columns)):
            k, g = divmod(c, len(self.groups))
            yield self.groups[g], k

    def _load(self, positives: list[np.ndarray]) -> int:
        """Fill the example caches as they were at the last checkpoint; return the images done, over all passes."""
        done, arrays = 0, {}
        if self.checkpoint and self.checkpoint.exists():
            done, arrays = self.checkpoint.load()
            for name, parts in self.history.parts.items():
                parts.append(arrays[name])
        for c, (group, k) in enumerate(self._places()):
            prefix = f"class/{c}/"
            saved = {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
            group.expect(k, positives[c], saved or None)
        for _, first, shard in self.cache.shards():
            for group in self.groups:
                group.load(first, shard.features)
        return done

    def _mine(self, done: int) -> None:
        """Pass over the images, adding hard negatives and retraining, until the passes are over or bring no more."""
        miner, num_images = self.miner, self.cache.num_images
        with progress_bar(miner.max_epochs * num_images, "mining", "image", initial=done) as bar:
            for epoch in range(miner.max_epochs):
                if done < (epoch + 1) * num_images:
                    self._scan(epoch, max(done - epoch * num_images, 0), bar)
                    done = (epoch + 1) * num_images
                if miner.stop_ratio is not None and self._has_converged(epoch):
                    break
        if self.checkpoint:
            self._save_checkpoint(done)

    def _scan(self, epoch: int, done: int, bar: tqdm) -> None:
        """Mine all images but the first `done`."""
        saved = time.monotonic()
        for block in self._blocks(epoch, done):
            self.threads.begin("scan", block)
            self._tell(bar)
            bar.update(len(block.images) - block.skip)
            if self.checkpoint and time.monotonic() - saved > self.checkpoint_seconds:
                self.threads.wait()
                self._save_checkpoint(epoch * self.cache.num_images + block.images.stop)
                saved = time.monotonic()
        self.threads.wait()
        self._tell(bar)

    def _tell(self, bar: tqdm) -> None:
        counts = {"hard": "num_added", "updates": "num_updates"}
        told = {name: sum(getattr(group, attribute) for group in self.groups) for name, attribute in counts.items()}
        bar.set_postfix(told, refresh=False)

    def _blocks(self, epoch: int, done: int) -> Iterator[Block]:
        """Read the images after the first `done`, a block at a time."""
        cache = self.cache
        runs = cache.runs(self.miner.block_bytes)
        while True:
            with phase(self.seconds, "read"):
                run = next(runs, None)
                if run is None:
                    return
                images, arrays, rows = run
                if images.stop <= done:
                    continue
                features = self._widened(arrays.features[rows])
            first = int(cache.image_start[images.start])
            yield Block(
                epoch=epoch,
                images=images,
                image_start=cache.image_start[images.start : images.stop + 1] - first,
                features=features,
                overlap=arrays.overlap[rows],
                first_region=first,
                skip=max(done - images.start, 0),
                last=epoch == self.miner.max_epochs - 1 and images.stop == cache.num_images,
            )

    def _widened(self, features: np.ndarray) -> np.ndarray:
        """Return a block's features in single precision: a view, or one of the buffers that take turns."""
        if features.dtype == np.float32:
            return features
        buffer = self.buffers.popleft()
        if len(buffer) < len(features):
            buffer = np.empty(features.shape, np.float32)
        self.buffers.append(buffer)
        return as_float32(features, out=buffer)

    def _has_converged(self, epoch: int) -> bool:
        """Compare the objective on the caches with that on all data, once for every pass.

        Source: the convergence test of voc-dpm (Felzenszwalb et al.), applied to every class.
        """
        table = self.history.table("convergence")
        if not (table[:, 1] == epoch).any():
            # What the scan recorded at the last image comes before the trainings that follow it.
            self.threads.wait()
            self._take_over_histories()
            self.threads.all("finish_pass", epoch, self.cache.num_images - 1)
            losses = np.zeros(len(self.columns))
            for block in self._blocks(epoch, 0):
                for group, part in zip(self.groups, self.threads.all("losses_of", block), strict=True):
                    losses[group.numbers] += part
            rows = []
            for c, (group, k) in enumerate(self._places()):
                positive, _, regulariser, cached = group.states[k].objective
                rows.append((c, epoch, cached, positive + losses[c] + regulariser))
            self._take_over_histories()
            self.history.record("convergence", rows)
            table = self.history.table("convergence")
        mine = table[table[:, 1] == epoch]
        never_trained = mine[:, 2] == 0
        return bool((never_trained | (mine[:, 3] < self.miner.stop_ratio * mine[:, 2])).all())

    def _take_over_histories(self) -> None:
        self.history.take_over([group.history for group in self.groups])

    def _detector(self, parts: list[tuple[np.ndarray, np.ndarray]]) -> Detector:
        """Return the detector made of every group's weights (k, D) and biases (k,)."""
        W = np.empty((self.cache.dim, len(self.columns)), np.float32)
        B = np.empty(len(self.columns), np.float32)
        for group, (weights, biases) in zip(self.groups, parts, strict=True):
            W[:, group.numbers], B[group.numbers] = weights.T, biases
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
                "svm_C": self.svm_C,
                "pos_loss_weight": [group.pos_loss_weight(group.states[k]) for group, k in self._places()],
            },
        )

    def _with_class(self, keys: list[np.ndarray]) -> np.ndarray:
        """Return (N, 3) int32, class, image and row, of every class's keys (n, 2)."""
        return np.concatenate([np.insert(part, 0, c, axis=1) for c, part in enumerate(keys)]).astype(np.int32)

    def _save_checkpoint(self, done: int) -> None:
        self._take_over_histories()
        arrays = self.history.tables()
        for c, (group, k) in enumerate(self._places()):
            for name, array in group.saved_state(k).items():
                arrays[f"class/{c}/{name}"] = array
        self.checkpoint.save(done, arrays)
