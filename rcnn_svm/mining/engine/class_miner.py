"""One class in mining: its detector, what it takes from a block of images, and when it is trained.

Its examples are in its cache (`class_cache.py`), where no key enters twice and from where easy ones leave.

Classes never look at each other: what a class takes from an image depends on its own detector alone. So a class can
go through a block of many images at once, though the original goes through the images one after the other:

    1. One product scores the block for all classes, with the detectors as they are when it begins (`scan.py`).
    2. The hard negatives of every image are counted. Their running sum says after which image a training is due.
    3. The hard negatives up to that image are added to the cache, and the class is trained.
    4. Only the scores of the later images are out of date now, and only this class's; they are computed again.
       Back to 2, until the block is done.

Keys, order and results are those of one image after the other (`mining/reference.py`).
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from rcnn_svm.mining.engine.block import ScanBlock
from rcnn_svm.mining.engine.budget import MemoryBudget
from rcnn_svm.mining.engine.class_cache import ClassCache
from rcnn_svm.mining.engine.feature_pool import FeaturePool
from rcnn_svm.mining.engine.history import MiningHistory
from rcnn_svm.mining.engine.watch import Watch, WatchedTraining
from rcnn_svm.mining.rules import MiningRules
from rcnn_svm.svm.kernels import score_regions
from rcnn_svm.svm.problem import SvmProblem, SvmSolution, SvmSolver, warn_of_gap


@dataclass(frozen=True)
class Setting:
    """What all classes of a training have in common.

    Attributes:
        rules: what is a negative, what is hard or easy, and when a class is trained.
        solver: trains a detector.
        svm_C: weight of the hinge loss.
        bias_mult: value of the feature that carries the bias.
        seed: seeds the solver, with the class and the number of its training.
        image_start: (I + 1,) int64, as in `FeatureCache`.
        budget: how many negatives a class may hold.
        watch: called after every training; nobody watches where None.
    """

    rules: MiningRules
    solver: SvmSolver
    svm_C: float
    bias_mult: float
    seed: int
    image_start: np.ndarray
    budget: MemoryBudget
    watch: Watch | None = None

    def detector(self, solution: SvmSolution) -> tuple[np.ndarray, np.float32]:
        """Return weights (D,) and bias, float32, of a solved problem."""
        return solution.weights[:-1].astype(np.float32), np.float32(solution.weights[-1] * self.bias_mult)


class ClassMiner:
    """The detector of one class with its cache: scans a block, adds what is hard, trains when that is due.

    Args:
        index: number of the class in the training.
        column: column of the class in `cache.overlap`.
        name: name of the class.
        positives: (P,) int64, regions of its ground truth, counted over all images.
        pos_loss_weight: weight of a positive's loss relative to a negative's.
        setting: what all classes have in common.
        pool: holds the features of the examples, for all classes of a thread.

    Attributes:
        weights, bias: (D,) and () float32, the detector, for scaled features; zero before the first training.
        cache: its positives and negatives.
        num_added: negatives added since the last training.
        num_updates: trainings so far.
        objective: (4,) float64, the objective by part at the last training (see `svm.problem.losses`).
        best: what `state` returned after the pass with the best held-out average precision; None without validation.
        is_over: mining goes on without the class, by its held-out average precision.
        history: what happened since it was last taken over.
        seconds: time by phase.
    """

    def __init__(
        self,
        index: int,
        column: int,
        name: str,
        positives: np.ndarray,
        *,
        pos_loss_weight: float,
        setting: Setting,
        pool: FeaturePool,
    ):
        self.index, self.column, self.name = index, column, name
        self.pos_loss_weight, self.setting = pos_loss_weight, setting
        self.cache = ClassCache(
            positives, rules=setting.rules, budget=setting.budget, image_start=setting.image_start, pool=pool
        )
        self.weights, self.bias = np.zeros(pool.dim, np.float32), np.float32(0)
        self.num_added = self.num_updates = 0
        self.objective = np.zeros(4)
        self.best: dict[str, np.ndarray] | None = None
        self.is_over = False
        self.history = MiningHistory()
        self.seconds: dict[str, float] = defaultdict(float)

    def take(self, block: ScanBlock, scores: np.ndarray) -> int:
        """Add the hard negatives of a block's images to the cache, and train the class wherever that is due.

        Args:
            block: the images.
            scores: (N,) float32, by the present detector; those of later images change with every training.

        Returns:
            How many were added.
        """
        rules, budget, cache = self.setting.rules, self.setting.budget, self.cache
        with phase(self.seconds, "select"):
            negative = rules.negative(block.overlap[:, self.column])
        image, num_taken = block.skip, 0
        while image < block.num_images:
            with phase(self.seconds, "select"):
                hard = negative & rules.hard(scores, block.of_first_image)
                new = self._fitting(block, cache.new(block, hard), scores, image)
                counts = block.per_image(new)
                last, due = self._next_training(block, image, counts)
                trained_at = last
                # Under a memory budget, a class is trained ahead of the first image whose negatives do not fit.
                full = image + budget.num_fitting(cache.num_negatives, counts[image:])
                if full <= last:
                    last, due, trained_at = full - 1, True, full
                self._record_scan(block, image, last, counts if new is hard else block.per_image(hard), counts)
                rows = slice(block.image_start[image], block.image_start[last + 1])
                num_taken += self._add(block, rows.start + np.flatnonzero(new[rows]), scores)
            image = last + 1
            # A training ahead of an image makes no room when nothing has come since the last one.
            if due and (self.num_added if trained_at > last else cache.num_negatives):
                self.train(block.epoch, block.images[trained_at])
                with phase(self.seconds, "score"):
                    rest = block.rows_from(image)
                    scores[rest] = self._score(block.features[rest])
        return num_taken

    def _fitting(self, block: ScanBlock, new: np.ndarray, scores: np.ndarray, image: int) -> np.ndarray:
        """Return which new rows of a block may enter, (N,) bool.

        Where the memory budget has no room for those of the next image, `image`, even after a training, the easiest
        are struck out.
        """
        if not self.num_added and (room := self.setting.budget.room(self.cache.num_negatives)) < np.inf:
            rows = slice(*block.image_start[image : image + 2])
            found = rows.start + np.flatnonzero(new[rows])
            if len(found) > room:
                new = new.copy()
                new[found[np.argsort(-scores[found], kind="stable")[room:]]] = False
                self._record_budget(block.epoch, block.images[image], int(len(found) - room), 0)
        return new

    def _next_training(self, block: ScanBlock, image: int, counts: np.ndarray) -> tuple[int, bool]:
        """Return after which image of a block, from `image` on, a training is due: or the last one, and False.

        Args:
            block: the images.
            image: the first that is not done yet.
            counts: (I,) int64, negatives that every image adds.
        """
        images = np.arange(image, block.num_images)
        due = np.asarray(
            self.setting.rules.must_retrain(
                self.num_added + np.cumsum(counts[image:]),
                block.first & (images == 0),
                block.last & (images == block.num_images - 1),
            )
        )
        after = int(np.argmax(due)) if due.any() else len(due) - 1
        return image + after, bool(due[after])

    def _add(self, block: ScanBlock, rows: np.ndarray, scores: np.ndarray) -> int:
        """Append some rows of a block to the cache of the class; return how many."""
        if not len(rows):
            return 0
        keys = self.cache.add(block, rows, scores[rows])
        self.num_added += len(rows)
        of_block = np.full((len(rows), 2), (self.index, block.epoch))
        self.history.record("added", np.concatenate([of_block, keys], axis=1))
        return len(rows)

    def train(self, epoch: int, image: int) -> None:
        """Train the detector on the cache, then evict what has become easy."""
        cache, setting = self.cache, self.setting
        watched = None if setting.watch is None else (cache.keys, cache.scores)
        with phase(self.seconds, "solve"):
            seed = setting.seed + self.index + 1000 * self.num_updates
            solution = setting.solver.solve(self.problem(), cache.alpha, seed, cache.scores)
        with phase(self.seconds, "evict"):
            self.weights, self.bias = setting.detector(solution)
            self.objective = np.array(solution.loss)
            cache.scores = solution.scores.astype(np.float32)
            cache.alpha = cache.alpha if solution.alpha is None else solution.alpha
            trained_on = cache.num_negatives
            evicted, num_spare = cache.evict()
            if num_spare:
                self._record_budget(epoch, image, 0, num_spare)
            self.history.record("evicted", np.insert(evicted, 0, self.history.num_updates, axis=1))
            self._record_update(epoch, image, trained_on, solution)
        if setting.watch is not None and watched is not None:
            scores = solution.scores.astype(np.float32)
            counts = self.index, self.num_updates, cache.num_positives, self.num_added
            setting.watch(WatchedTraining(*counts, *watched, scores, evicted))
        self.num_added = 0
        self.num_updates += 1

    def problem(self, keep: np.ndarray | slice = slice(None)) -> SvmProblem:
        """Return the SVM problem of the cache, or of the part of it that `keep`, (N,) bool, chooses."""
        cache = self.cache
        return SvmProblem.of(
            cache.pool.rows,
            cache.pool.norms,
            cache.slots[keep],
            cache.positive[keep],
            svm_C=self.setting.svm_C,
            pos_loss_weight=self.pos_loss_weight,
            bias_mult=self.setting.bias_mult,
        )

    def _score(self, features: np.ndarray) -> np.ndarray:
        """Return the scores (n,) float32 of unscaled features (n, D) by the present detector."""
        return score_regions(features, (self.weights * self.cache.pool.scale)[None], np.array([self.bias]))[:, 0]

    def state(self) -> dict[str, np.ndarray]:
        """Return all that is needed to go on with the class, except features and history."""
        return {
            "weights": np.append(self.weights, self.bias),
            "counters": np.array([self.num_added, self.num_updates]),
            "objective": self.objective,
            **self.cache.state(),
        }

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Go on from what `state` returned; the cache's `load` has to find the features."""
        self.cache.restore(state)
        if state["weights"].shape != (len(self.weights) + 1,):
            raise ValueError(f"weights have shape {state['weights'].shape}, expected {(len(self.weights) + 1,)}")
        self.weights, self.bias = state["weights"][:-1], state["weights"][-1]
        self.num_added, self.num_updates = state["counters"].tolist()
        self.objective = state["objective"]

    def _record_scan(self, block: ScanBlock, image: int, last: int, hard: np.ndarray, new: np.ndarray) -> None:
        images = slice(image, last + 1)
        scan = np.empty((last + 1 - image, 5), np.int64)
        scan[:, 0], scan[:, 1], scan[:, 2] = self.index, block.epoch, block.images[images]
        scan[:, 3], scan[:, 4] = hard[images], new[images]
        self.history.record("scan", scan)

    def _record_update(self, epoch: int, image: int, trained_on: int, solution: SvmSolution) -> None:
        warn_of_gap(solution, self.setting.solver.tolerance, self.name)
        counts = (self.cache.num_positives, trained_on, self.cache.num_negatives, self.num_added, solution.iterations)
        self.history.record("updates", [(self.index, epoch, image, *counts)])
        self.history.record("update_loss", [solution.loss])
        self.history.record("update_gap", [solution.relative_gap])

    def _record_budget(self, epoch: int, image: int, left_out: int, evicted: int) -> None:
        self.history.record("budget", [(self.index, epoch, image, left_out, evicted)])


@contextmanager
def phase(seconds: dict[str, float], name: str) -> Iterator[None]:
    """Count the time spent inside towards a phase."""
    start = time.perf_counter()
    yield
    seconds[name] += time.perf_counter() - start
