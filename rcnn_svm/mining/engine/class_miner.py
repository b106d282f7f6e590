"""One class in mining: its detector, its examples, and what the four rules make of a block of images.

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

from rcnn_svm.cache.blocks import Block
from rcnn_svm.cache.regions import keys_of
from rcnn_svm.mining.engine.block import ScanBlock
from rcnn_svm.mining.engine.budget import MemoryBudget, easiest
from rcnn_svm.mining.engine.example_pool import ExamplePool
from rcnn_svm.mining.engine.history import MiningHistory
from rcnn_svm.mining.rules import MiningRules, supports
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
    """

    rules: MiningRules
    solver: SvmSolver
    svm_C: float
    bias_mult: float
    seed: int
    image_start: np.ndarray
    budget: MemoryBudget


class ClassMiner:
    """The detector and the examples of one class.

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
        slots: (N,) int64, places of the examples in the pool: the positives, then the negatives as they came.
        alpha: (N,) float64, dual variables at the last training, 0 for examples that came later.
        scores: (N,) float32, by the last training, or in the scan for examples that came later.
        num_positives: how many of the first slots are positives.
        num_added: negatives added since the last training.
        num_updates: trainings so far.
        objective: (4,) float64, the objective by part at the last training (see `svm.problem.losses`).
        support: (S, 2) int32 keys and (S,) float32 scores of the negatives on or inside the margin, at the last
            training.
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
        pool: ExamplePool,
    ):
        self.index, self.column, self.name = index, column, name
        self.pos_loss_weight, self.setting, self.pool = pos_loss_weight, setting, pool
        self.weights, self.bias = np.zeros(pool.dim, np.float32), np.float32(0)
        self.num_positives, self.num_added, self.num_updates = len(positives), 0, 0
        self.slots = np.full(len(positives), -1)
        self.alpha, self.scores = np.zeros(len(positives)), np.zeros(len(positives), np.float32)
        self.objective = np.zeros(4)
        self.support = np.empty((0, 2), np.int32), np.empty(0, np.float32)
        self.history = MiningHistory()
        self.seconds: dict[str, float] = defaultdict(float)
        self._regions = positives  # of the slots, until `load` has found them

    @property
    def num_negatives(self) -> int:
        """Negatives in the cache of the class."""
        return len(self.slots) - self.num_positives

    @property
    def positive(self) -> np.ndarray:
        """(N,) bool, which examples are positives."""
        return np.arange(len(self.slots)) < self.num_positives

    @property
    def negatives(self) -> np.ndarray:
        """(n, 2) int32, image and row of the negatives in the cache of the class."""
        return self._keys(self.slots[self.num_positives :])

    def take(self, block: ScanBlock, scores: np.ndarray) -> int:
        """Add the hard negatives of a block's images to the cache, and train the class wherever that is due.

        Args:
            block: the images.
            scores: (N,) float32, by the present detector; those of later images change with every training.

        Returns:
            How many were added.
        """
        with phase(self.seconds, "select"):
            negative = self.setting.rules.negative(block.overlap[:, self.column])
        image, num_taken = block.skip, 0
        while image < block.num_images:
            with phase(self.seconds, "select"):
                hard = self._hard(block, negative, scores)
                new = self._new(block, hard, scores, image)
                counts = block.per_image(new)
                last, due = self._next_training(block, image, counts)
                trained_at = last
                # Under a memory budget, a class is trained ahead of the first image whose negatives do not fit.
                full = image + self.setting.budget.num_fitting(self.num_negatives, counts[image:])
                if full <= last:
                    last, due, trained_at = full - 1, True, full
                self._record_scan(block, image, last, counts if new is hard else block.per_image(hard), counts)
                rows = slice(block.image_start[image], block.image_start[last + 1])
                num_taken += self._add(block, rows.start + np.flatnonzero(new[rows]), scores)
            image = last + 1
            # A training ahead of an image makes no room when nothing has come since the last one.
            if due and (self.num_added if trained_at > last else self.num_negatives):
                self.train(block.epoch, block.images[trained_at])
                with phase(self.seconds, "score"):
                    rest = block.rows_from(image)
                    scores[rest] = self._score(block.features[rest])
        return num_taken

    def _hard(self, block: ScanBlock, negative: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """Return which rows of a block are hard, (N,) bool, of those that are negatives."""
        hard = negative & self.setting.rules.hard(scores)
        if block.first:
            # The very first image gives all its negatives, as no detector exists to judge them.
            end = block.image_start[1]
            hard[:end] = negative[:end]
        return hard

    def _new(self, block: ScanBlock, hard: np.ndarray, scores: np.ndarray, image: int) -> np.ndarray:
        """Return which hard rows of a block are not in the cache yet, (N,) bool.

        Where the memory budget has no room for those of the next image, `image`, even after a training, the easiest
        are struck out.
        """
        new = hard
        if block.epoch:  # in the first pass no image was seen before
            cached = self.pool.regions[self.slots] - block.first_region
            new = hard.copy()
            new[cached[(cached >= 0) & (cached < len(block))]] = False
        if not self.num_added and (room := self.setting.budget.room(self.num_negatives)) < np.inf:
            rows = slice(*block.image_start[image : image + 2])
            found = rows.start + np.flatnonzero(new[rows])
            if len(found) > room:
                new = new.copy()
                new[found[np.argsort(-scores[found], kind="stable")[room:]]] = False
                self._record_budget(block.epoch, block.images[image], len(found) - room, 0)
        return new

    def _next_training(self, block: ScanBlock, image: int, counts: np.ndarray) -> tuple[int, bool]:
        """Return after which image of a block, from `image` on, a training is due: or the last one, and False.

        Args:
            block: the images.
            image: the first that is not done yet.
            counts: (I,) int64, negatives that every image adds.
        """
        images = np.arange(image, block.num_images)
        due = self.setting.rules.must_retrain(
            self.num_added + np.cumsum(counts[image:]),
            block.first & (images == 0),
            block.last & (images == block.num_images - 1),
        )
        after = int(np.argmax(due)) if due.any() else len(due) - 1
        return image + after, bool(due[after])

    def _add(self, block: ScanBlock, rows: np.ndarray, scores: np.ndarray) -> int:
        """Append some rows of a block to the cache of the class; return how many."""
        if not len(rows):
            return 0
        self.slots = np.concatenate([self.slots, self.pool.put(rows, block.features)])
        self.alpha = np.concatenate([self.alpha, np.zeros(len(rows))])
        self.scores = np.concatenate([self.scores, scores[rows]])
        self.num_added += len(rows)
        keys = keys_of(rows + block.first_region, self.setting.image_start)
        of_block = np.full((len(rows), 2), (self.index, block.epoch))
        self.history.record("added", np.concatenate([of_block, keys], axis=1))
        return len(rows)

    def train(self, epoch: int, image: int) -> None:
        """Train the detector on the cache, then evict what has become easy."""
        with phase(self.seconds, "solve"):
            seed = self.setting.seed + self.index + 1000 * self.num_updates
            solution = self.setting.solver.solve(self._problem(), self.alpha, seed, self.scores)
        with phase(self.seconds, "evict"):
            self.weights = solution.weights[:-1].astype(np.float32)
            self.bias = np.float32(solution.weights[-1] * self.setting.bias_mult)
            self.scores = solution.scores.astype(np.float32)
            self.alpha = self.alpha if solution.alpha is None else solution.alpha
            self.objective = np.array(solution.loss)
            trained_on = self.num_negatives
            self.evict(epoch, image)
            self._record_update(epoch, image, trained_on, solution)
            self.num_added = 0
            self.num_updates += 1

    def evict(self, epoch: int, image: int) -> None:
        """Let the negatives go that are easy for the detector, and under a memory budget the easiest of the others."""
        negative = ~self.positive
        inside = negative & supports(self.scores)
        self.support = self._keys(self.slots[inside]), self.scores[inside]
        leaves = negative & self.setting.rules.easy(self.scores)
        excess = self.setting.budget.excess(self.num_negatives - int(leaves.sum()))
        if excess:
            spare = np.flatnonzero(negative & ~leaves & ~inside & (self.alpha == 0))
            spare = spare[easiest(self.scores[spare], excess)]
            leaves[spare] = True
            if len(spare):
                self._record_budget(epoch, image, 0, len(spare))
        evicted = self._keys(self.slots[leaves])
        self.history.record("evicted", np.insert(evicted, 0, self.history.num_updates, axis=1))
        self.pool.release(self.slots[leaves])
        self.slots, self.alpha, self.scores = self.slots[~leaves], self.alpha[~leaves], self.scores[~leaves]

    def train_without(self, images: np.ndarray) -> tuple[np.ndarray, np.float32]:
        """Return weights (D,) and bias, float32, trained on the cache without the examples of some images."""
        positive = self.positive
        outside = ~np.isin(self._keys(self.slots)[:, 0], images)
        # A fold that holds all positives or all negatives of a class cannot be left out.
        for part in (positive, ~positive):
            if not outside[part].any():
                outside |= part
        setting, problem = self.setting, self._problem(outside)
        solution = setting.solver.solve(problem, self.alpha[outside], setting.seed, self.scores[outside])
        warn_of_gap(solution, setting.solver.tolerance, self.name)
        return solution.weights[:-1].astype(np.float32), np.float32(solution.weights[-1] * setting.bias_mult)

    def _problem(self, keep: np.ndarray | slice = slice(None)) -> SvmProblem:
        """Return the SVM problem of the cache, or of a part of it."""
        return SvmProblem.of(
            self.pool.rows,
            self.pool.norms,
            self.slots[keep],
            self.positive[keep],
            svm_C=self.setting.svm_C,
            pos_loss_weight=self.pos_loss_weight,
            bias_mult=self.setting.bias_mult,
        )

    def _score(self, features: np.ndarray) -> np.ndarray:
        """Return the scores (n,) float32 of unscaled features (n, D) by the present detector."""
        return score_regions(features, (self.weights * self.pool.scale)[None], np.array([self.bias]))[:, 0]

    def _keys(self, slots: np.ndarray) -> np.ndarray:
        """Return (n, 2) int32, image and row of places in the pool."""
        return keys_of(self.pool.regions[slots], self.setting.image_start).astype(np.int32)

    def load(self, block: Block) -> None:
        """Find the features of those examples that are in a block of the cache; the pool has it open."""
        local = self._regions - block.first_region
        inside = np.flatnonzero((local >= 0) & (local < len(block)))
        if len(inside):
            features = block.features(local[inside])
            self.slots[inside] = self.pool.put(local[inside], features, gathered=True)

    def state(self) -> dict[str, np.ndarray]:
        """Return all that is needed to go on with the class, except features and history."""
        return {
            "weights": np.append(self.weights, self.bias),
            "keys": self.negatives,
            "alpha": self.alpha,
            "scores": self.scores,
            "counters": np.array([self.num_added, self.num_updates]),
            "objective": self.objective,
            "support": self.support[0],
            "support_scores": self.support[1],
        }

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Go on from what `state` returned; `load` has to find the features."""
        image, row = state["keys"].astype(np.int64).T
        self._regions = np.concatenate([self._regions, self.setting.image_start[image] + row])
        self.slots = np.full(len(self._regions), -1)
        self.alpha, self.scores = state["alpha"], state["scores"]
        self.num_added, self.num_updates = state["counters"].tolist()
        self.objective, self.support = state["objective"], (state["support"], state["support_scores"])
        self.weights, self.bias = state["weights"][:-1], state["weights"][-1]

    def _record_scan(self, block: ScanBlock, image: int, last: int, hard: np.ndarray, new: np.ndarray) -> None:
        images = slice(image, last + 1)
        scan = np.empty((last + 1 - image, 5), np.int64)
        scan[:, 0], scan[:, 1], scan[:, 2] = self.index, block.epoch, block.images[images]
        scan[:, 3], scan[:, 4] = hard[images], new[images]
        self.history.record("scan", scan)

    def _record_update(self, epoch: int, image: int, trained_on: int, solution: SvmSolution) -> None:
        warn_of_gap(solution, self.setting.solver.tolerance, self.name)
        counts = (self.num_positives, trained_on, self.num_negatives, self.num_added, solution.iterations)
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
