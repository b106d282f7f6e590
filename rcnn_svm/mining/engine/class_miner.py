"""The mining of some classes: each scans the regions, collects what it finds hard, retrains and evicts.

Classes never look at each other: what class c takes from image i depends on its own detector alone. So the
classes are shared out to groups, one per thread, and within a group they go through a block of images one
after the other, though the original goes through the images one after the other. A block is scored by one
matrix product for all classes of the group; when a class is retrained after image i, only its own scores of
the later images are out of date and are computed again. Keys, order and results stay those of the sequential
algorithm.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from rcnn_svm.cache.shards import as_float32
from rcnn_svm.mining.engine.example_pool import ExamplePool
from rcnn_svm.mining.engine.history import MiningHistory
from rcnn_svm.mining.rules import supports
from rcnn_svm.svm.class_weights import AUTO, balanced_weight
from rcnn_svm.svm.kernels import score_regions
from rcnn_svm.svm.problem import SvmProblem, SvmSolution, SvmSolver, warn_of_gap

if TYPE_CHECKING:
    from rcnn_svm.mining.hard_negatives import HardNegativeMiner


@dataclass(frozen=True)
class Block:
    """Consecutive images that are scored at once.

    Attributes:
        epoch: number of the pass over the images.
        images: their indices.
        image_start: (I + 1,) int64, rows `image_start[i]:image_start[i + 1]` are those of `images[i]`.
        features: (N, D) float32, unscaled.
        overlap: (N, K) float32, of all classes of the cache.
        first_region: number of the first row, counted over all images.
        skip: so many images at the beginning are done already.
        last: the last image of the last pass is among them.
    """

    epoch: int
    images: range
    image_start: np.ndarray
    features: np.ndarray
    overlap: np.ndarray
    first_region: int
    skip: int = 0
    last: bool = False


@dataclass
class ClassState:
    """One class's detector and examples.

    Attributes:
        slots: (N,) int64, places in the pool: the positives, then the negatives in the order they came.
        alpha: (N,) float64, dual variables at the last training, 0 for examples that came later.
        scores: (N,) float32, by the last training, or in the scan for examples that came later.
        num_positives: of the first rows in `slots`.
        num_added: negatives added since the last training.
        num_updates: trainings so far.
        objective: the objective at the last training.
        support: (S, 2) int32 image and row, and their scores (S,) float32: the negatives on or inside the
            margin at the last training.
    """

    slots: np.ndarray
    alpha: np.ndarray
    scores: np.ndarray
    num_positives: int
    num_added: int = 0
    num_updates: int = 0
    objective: np.ndarray = field(default_factory=lambda: np.zeros(4))
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


class ClassGroup:
    """Some classes with their detectors and example caches, mined by one thread.

    Args:
        miner: the parameters of the training.
        solver: trains a detector.
        numbers: of the group's classes among all that are trained.
        columns: of the group's classes among those of the cache.
        names: of the group's classes.
        image_start: (I + 1,) int64, as in `FeatureCache`.
        pool: an empty one, for the group's examples.
        svm_C: weight of the hinge loss.
        capacity: negatives a class may hold; no limit where None.

    Attributes:
        W: (k, D) float32, weights for scaled features.
        B: (k,) float32, biases.
        states: the classes' examples, once `expect` has said which.
        history: what happened since it was last taken over.
        seconds: thread time by phase.
        num_added, num_updates: over all of the group's classes, in this process.
    """

    def __init__(
        self,
        miner: HardNegativeMiner,
        solver: SvmSolver,
        numbers: Sequence[int],
        columns: Sequence[int],
        names: Sequence[str],
        *,
        image_start: np.ndarray,
        pool: ExamplePool,
        svm_C: float,
        capacity: int | None,
    ):
        self.miner = miner
        self.solver = solver
        self.numbers = list(numbers)
        self.columns = list(columns)
        self.names = list(names)
        self.image_start = image_start
        self.pool = pool
        self.svm_C = svm_C
        self.capacity = capacity
        self.W = np.zeros((len(self.numbers), pool.rows.shape[1]), np.float32)
        self.B = np.zeros(len(self.numbers), np.float32)
        self.states: list[ClassState] = [None] * len(self.numbers)
        self._expected: list[np.ndarray] = [None] * len(self.numbers)
        self.history = MiningHistory()
        self.seconds: dict[str, float] = defaultdict(float)
        self.num_added = self.num_updates = 0
        self.rules = miner.rules

    def expect(self, k: int, positives: np.ndarray, saved: dict[str, np.ndarray] | None = None) -> None:
        """Give a class its examples, whose features `load` brings: all its ground truth, and what `saved` holds.

        Args:
            k: the class within the group.
            positives: (P,) int64, regions counted over all images.
            saved: what `saved_state` returned.
        """
        negatives, count = np.empty(0, np.int64), len(positives)
        state = ClassState(negatives, np.zeros(count), np.zeros(count, np.float32), num_positives=count)
        if saved is not None:
            image, row = saved["keys"].astype(np.int64).T
            negatives = self.image_start[image] + row
            state.alpha, state.scores = saved["alpha"], saved["scores"]
            state.num_added, state.num_updates = saved["counters"].tolist()
            state.objective, state.support = saved["objective"], (saved["support"], saved["support_scores"])
            self.W[k], self.B[k] = saved["weights"][:-1], saved["weights"][-1]
        self._expected[k] = np.concatenate([positives, negatives])
        state.slots = np.full(len(self._expected[k]), -1)
        self.states[k] = state

    def load(self, first_region: int, features: np.ndarray) -> None:
        """Take the expected examples out of consecutive regions.

        Args:
            first_region: number of the first one.
            features: (N, D) float32 or float16, unscaled.
        """
        self.pool.open_block(first_region, len(features))
        for state, expected in zip(self.states, self._expected, strict=True):
            mine = np.flatnonzero((expected >= first_region) & (expected < first_region + len(features)))
            if len(mine):
                rows = expected[mine] - first_region
                state.slots[mine] = self.pool.put(rows, as_float32(features[rows]), gathered=True)

    def saved_state(self, k: int) -> dict[str, np.ndarray]:
        """Return all that is needed to go on with a class, except features and history."""
        state = self.states[k]
        return {
            "weights": np.append(self.W[k], self.B[k]),
            "keys": self.negatives_of(k),
            "alpha": state.alpha,
            "scores": state.scores,
            "counters": np.array([state.num_added, state.num_updates]),
            "objective": state.objective,
            "support": state.support[0],
            "support_scores": state.support[1],
        }

    def scan(self, block: Block) -> None:
        """Mine a block of images, with the effects of one image after the other."""
        with phase(self.seconds, "score"):
            scores = self._score(block.features)
        with phase(self.seconds, "select"):
            eligible = self._eligible(block)
            hard = eligible & self.rules.hard(scores)
            if block.epoch == 0 and block.images.start == 0:
                # The very first image gives all its negatives, as no detector exists to judge them.
                hard[: block.image_start[1]] = eligible[: block.image_start[1]]
            eligible, hard, scores = (np.ascontiguousarray(a.T) for a in (eligible, hard, scores))
            self.pool.open_block(block.first_region, len(block.features))
            counts = _per_image(hard, block.image_start)
        for k in range(len(self.states)):
            self._scan_class(block, k, eligible[k], hard[k], scores[k], counts[k])

    def _eligible(self, block: Block) -> np.ndarray:
        """Return which rows of a block are negatives of a class, (N, k) bool."""
        return self.rules.negative(block.overlap[:, self.columns])

    def _score(self, features: np.ndarray, classes: slice = slice(None)) -> np.ndarray:
        """Return (N, k) float32 scores of unscaled features by the present detectors of some of the classes."""
        return score_regions(features, self.W[classes] * self.pool.scale, self.B[classes])

    def _scan_class(
        self,
        block: Block,
        k: int,
        eligible: np.ndarray,
        hard: np.ndarray,
        scores: np.ndarray,
        num_hard: np.ndarray,
    ) -> None:
        """Add a block's hard negatives to one class, retraining wherever it is due.

        Args:
            block: the images.
            k: position of the class in the group.
            eligible, hard: (N,) bool, which rows are negatives, and which of them are hard.
            scores: (N,) float32.
            num_hard: (I,) int64, hard rows of every image. This, `hard` and `scores` change with a retraining.
        """
        state, start = self.states[k], block.image_start
        position, end = block.skip, len(block.images)
        while position < end:
            with phase(self.seconds, "select"):
                fresh, num_fresh = hard.copy(), num_hard.copy()
                if block.epoch:  # in the first pass no image was seen before
                    fresh &= ~self._held(block, state)
                    num_fresh = _per_image(fresh, start)
                stop, training = self._plan(block, k, position, fresh, num_fresh, scores)
                part = slice(start[position], start[stop + 1])
                self._add(block, k, part.start + np.flatnonzero(fresh[part]), scores)
                scan = np.empty((stop + 1 - position, 5), np.int64)
                scan[:, 0], scan[:, 1] = self.numbers[k], block.epoch
                scan[:, 2] = block.images[position : stop + 1]
                scan[:, 3], scan[:, 4] = num_hard[position : stop + 1], num_fresh[position : stop + 1]
                self.history.record("scan", scan)
            position = stop + 1
            # A training ahead of an image that does not fit makes no room when nothing has come.
            if training is None or not (state.num_added if training > stop else state.num_negatives):
                continue
            self.train(k, block.epoch, block.images[training])
            with phase(self.seconds, "score"):
                rest = slice(start[position], None)
                scores[rest] = self._score(block.features[rest], slice(k, k + 1))[:, 0]
                hard[rest] = eligible[rest] & self.rules.hard(scores[rest])
                num_hard[position:] = _per_image(hard, start)[position:]

    def _plan(
        self, block: Block, k: int, position: int, fresh: np.ndarray, num_fresh: np.ndarray, scores: np.ndarray
    ) -> tuple[int, int | None]:
        """Return how far a class can go on from image `position`, and after which image it is trained then.

        With a memory budget, a class is trained before an image that does not fit. When that has just been done,
        what does not fit is struck out of `fresh` and `num_fresh` (the rows and their numbers), the easiest first.

        Returns:
            the last image to take from (`position` - 1 for none), and the image of the training: the same, the one
            after it, which is to be looked at again, or None. Counted from the block's first image.
        """
        state, start = self.states[k], block.image_start
        counts = num_fresh[position:]
        too_many = np.zeros(len(counts), bool)
        if self.capacity is not None:
            room = max(self.capacity - state.num_negatives, 0)
            if counts[0] > room and not state.num_added:
                rows = start[position] + np.flatnonzero(fresh[start[position] : start[position + 1]])
                fresh[rows[np.argsort(-scores[rows], kind="stable")[room:]]] = False
                self._record_budget(k, block.epoch, block.images[position], int(counts[0]) - room, 0)
                counts[0] = room
            too_many = np.cumsum(counts) > room
        images = np.arange(position, len(block.images))
        first = (block.epoch == 0) & (block.images.start + images == 0)
        last = block.last & (images == len(block.images) - 1)
        due = self.rules.must_retrain(state.num_added + np.cumsum(counts), first, last)
        stop = int(np.argmax(due)) if due.any() else len(due) - 1
        if too_many[: stop + 1].any():
            full = position + int(np.argmax(too_many))
            return full - 1, full
        return position + stop, position + stop if due[stop] else None

    def _add(self, block: Block, k: int, rows: np.ndarray, scores: np.ndarray) -> None:
        """Append some rows of a block to a class's cache."""
        if not len(rows):
            return
        state = self.states[k]
        state.slots = np.concatenate([state.slots, self.pool.put(rows, block.features)])
        state.alpha = np.concatenate([state.alpha, np.zeros(len(rows))])
        state.scores = np.concatenate([state.scores, scores[rows]])
        state.num_added += len(rows)
        self.num_added += len(rows)
        keys = [np.full(len(rows), number) for number in (self.numbers[k], block.epoch)]
        self.history.record("added", np.stack([*keys, *self._image_and_row(rows + block.first_region)], axis=1))

    def _held(self, block: Block, state: ClassState) -> np.ndarray:
        """Return which rows of a block a class has in its cache, (N,) bool."""
        held = np.zeros(len(block.features), bool)
        rows = self.pool.regions[state.slots] - block.first_region
        held[rows[(rows >= 0) & (rows < len(held))]] = True
        return held

    def finish_pass(self, epoch: int, image: int) -> None:
        """Train every class that has new examples, so that all caches are judged by their own detectors."""
        for k, state in enumerate(self.states):
            if state.num_added:
                self.train(k, epoch, image)

    def train(self, k: int, epoch: int, image: int) -> None:
        """Train one class on its cache, then evict what has become easy."""
        state, number = self.states[k], self.numbers[k]
        with phase(self.seconds, "solve"):
            seed = self.miner.seed + number + 1000 * state.num_updates
            solution = self.solver.solve(self._problem(state), state.alpha, seed, state.scores)
        with phase(self.seconds, "evict"):
            self._update(epoch, image, k, solution)

    def _problem(self, state: ClassState, keep: np.ndarray | None = None) -> SvmProblem:
        """Return the SVM problem of a class's cache, or of the part of it that `keep` says."""
        positive, slots = state.positive, state.slots
        if keep is not None:
            positive, slots = positive[keep], slots[keep]
        C, weight = self.svm_C, self.pos_loss_weight(state)
        return SvmProblem(
            rows=self.pool.rows,
            slots=slots,
            y=np.where(positive, 1.0, -1.0),
            upper=np.where(positive, C * weight, C),
            bias_mult=self.miner.bias_mult,
            norms=self.pool.norms,
        )

    def pos_loss_weight(self, state: ClassState) -> float:
        """Return the weight of a positive's loss relative to a negative's, the same in all trainings of a class."""
        if self.miner.pos_loss_weight != AUTO:
            return self.miner.pos_loss_weight
        return balanced_weight(state.num_positives, self.miner.retrain_limit, int(self.image_start[-1]))

    def _update(self, epoch: int, image: int, k: int, solution: SvmSolution) -> None:
        """Take over a class's new detector, record it, and evict."""
        state, history = self.states[k], self.history
        self.W[k] = solution.weights[:-1]
        self.B[k] = solution.weights[-1] * self.miner.bias_mult
        scores = solution.scores.astype(np.float32)
        alpha = state.alpha if solution.alpha is None else solution.alpha
        negative = ~state.positive
        trained_on = state.num_negatives

        inside = negative & (supports(scores))
        state.support = (self._keys(state.slots[inside]), scores[inside])

        leaves = negative & self.rules.easy(scores)
        if self.capacity is not None:
            # Half of the space is kept free for mining, unless support vectors need it.
            excess = trained_on - int(leaves.sum()) - self.capacity // 2
            spare = np.flatnonzero(negative & ~leaves & ~inside & (alpha == 0))
            if excess > 0 and len(spare):
                spare = spare[np.argsort(scores[spare], kind="stable")[:excess]]
                leaves[spare] = True
                self._record_budget(k, epoch, image, 0, len(spare))
        history.record("evicted", np.insert(self._keys(state.slots[leaves]), 0, history.num_updates, axis=1))
        self.pool.release(state.slots[leaves])
        state.slots, state.alpha, state.scores = state.slots[~leaves], alpha[~leaves], scores[~leaves]

        warn_of_gap(solution, self.solver.tolerance, self.names[k])
        counts = (state.num_positives, trained_on, state.num_negatives, state.num_added, solution.iterations)
        history.record("updates", [(self.numbers[k], epoch, image, *counts)])
        history.record("update_loss", [solution.loss])
        history.record("update_gap", [solution.relative_gap])
        state.objective = np.array(solution.loss)
        state.num_added = 0
        state.num_updates += 1
        self.num_updates += 1

    def losses_of(self, block: Block) -> np.ndarray:
        """Return the hinge loss of all negatives of a block for every class of the group, (k,) float64."""
        scores = self._score(block.features)
        eligible = self._eligible(block)
        return self.svm_C * np.where(eligible, np.maximum(0, 1 + scores), 0).sum(axis=0, dtype=np.float64)

    def train_without(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return weights (k, D) and biases (k,) float32 trained on the caches without the examples of some images."""
        weights = []
        for name, state in zip(self.names, self.states, strict=True):
            outside = ~np.isin(self._keys(state.slots)[:, 0], images)
            # A fold that holds all positives or all negatives of a class cannot be left out.
            for part in (state.positive, ~state.positive):
                if not outside[part].any():
                    outside |= part
            problem = self._problem(state, outside)
            solution = self.solver.solve(problem, state.alpha[outside], self.miner.seed, state.scores[outside])
            warn_of_gap(solution, self.solver.tolerance, name)
            weights.append(solution.weights)
        joined = np.stack(weights)
        return joined[:, :-1].astype(np.float32), (joined[:, -1] * self.miner.bias_mult).astype(np.float32)

    def negatives_of(self, k: int) -> np.ndarray:
        """Return image and row of the negatives in a class's cache, (N, 2) int32."""
        return self._keys(self.states[k].slots[self.states[k].num_positives :])

    def _keys(self, slots: np.ndarray) -> np.ndarray:
        """Return (n, 2) int32, image and row of pool places."""
        return np.stack(self._image_and_row(self.pool.regions[slots]), axis=1).astype(np.int32)

    def _image_and_row(self, regions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        image = np.searchsorted(self.image_start, regions, side="right") - 1
        return image, regions - self.image_start[image]

    def _record_budget(self, k: int, epoch: int, image: int, left_out: int, evicted: int) -> None:
        self.history.record("budget", [(self.numbers[k], epoch, image, left_out, evicted)])


@contextmanager
def phase(seconds: dict[str, float], name: str) -> Iterator[None]:
    """Count the time spent inside towards a phase."""
    start = time.perf_counter()
    yield
    seconds[name] += time.perf_counter() - start


def _per_image(mask: np.ndarray, image_start: np.ndarray) -> np.ndarray:
    """Return how many rows of every image are set, along the last axis."""
    sums = np.zeros((*mask.shape[:-1], mask.shape[-1] + 1), np.int64)
    np.cumsum(mask, axis=-1, out=sums[..., 1:])
    return np.diff(sums[..., image_start], axis=-1)
