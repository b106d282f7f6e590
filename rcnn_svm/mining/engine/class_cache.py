"""The cache of one class in mining, `caches{j}` of the original: its positives and its negatives, no key twice.

Negatives enter when a scan finds them hard and leave when they are easy after a training. When to train and what a
training gives is the business of `class_miner.py`; the features are in a pool that several classes share
(`feature_pool.py`), so that here are only places in it.
"""

from __future__ import annotations

import numpy as np

from rcnn_svm.cache.blocks import Block
from rcnn_svm.cache.regions import keys_of
from rcnn_svm.mining.engine.block import ScanBlock
from rcnn_svm.mining.engine.budget import MemoryBudget, easiest
from rcnn_svm.mining.engine.feature_pool import FeaturePool
from rcnn_svm.mining.rules import MiningRules, supports


class ClassCache:
    """The examples of one class: all positives, always, and the negatives that are not easy yet.

    Args:
        positives: (P,) int64, regions of its ground truth, counted over all images; `load` has to find the features.
        rules: which negatives are easy.
        budget: how many negatives the class may hold.
        image_start: (I + 1,) int64, as in `FeatureCache`.
        pool: holds the features of the examples, for all classes of a thread.

    Attributes:
        slots: (N,) int64, places of the examples in the pool: the positives, then the negatives as they came.
        alpha: (N,) float64, dual variables at the last training, 0 for examples that came later.
        scores: (N,) float32, by the last training, or in the scan for examples that came later.
        num_positives: how many of the first slots are positives.
        support: (S, 2) int32 keys and (S,) float32 scores of the negatives on or inside the margin, at the last
            training.

    Source: `init_cache` of `rcnn_train.m`; the budget, which the original has not, is voc-dpm's.
    """

    def __init__(
        self,
        positives: np.ndarray,
        *,
        rules: MiningRules,
        budget: MemoryBudget,
        image_start: np.ndarray,
        pool: FeaturePool,
    ):
        self.rules, self.budget, self.image_start, self.pool = rules, budget, image_start, pool
        self.num_positives = len(positives)
        self.slots = np.full(len(positives), -1)
        self.alpha, self.scores = np.zeros(len(positives)), np.zeros(len(positives), np.float32)
        self.support = np.empty((0, 2), np.int32), np.empty(0, np.float32)
        self._positives = self._regions = positives  # `_regions` are those of the slots, until `load` has found them

    def __len__(self) -> int:
        """Return N, the number of examples."""
        return len(self.slots)

    @property
    def num_negatives(self) -> int:
        """How many of the examples are negatives."""
        return len(self.slots) - self.num_positives

    @property
    def positive(self) -> np.ndarray:
        """(N,) bool, which examples are positives."""
        return np.arange(len(self.slots)) < self.num_positives

    @property
    def keys(self) -> np.ndarray:
        """(N, 2) int32, image and row of the examples."""
        return self._keys(self.slots)

    @property
    def negatives(self) -> np.ndarray:
        """(n, 2) int32, image and row of the negatives."""
        return self._keys(self.slots[self.num_positives :])

    def new(self, block: ScanBlock, hard: np.ndarray) -> np.ndarray:
        """Return which hard rows of a block are not in the cache yet, (N,) bool: no key enters twice.

        Args:
            block: the images.
            hard: (N,) bool, the hard rows; returned as it is in the first pass, which saw no image before.

        Source: "Avoid adding duplicate features" in `sample_negative_features` of `rcnn_train.m`.
        """
        if not block.epoch:
            return hard
        cached = self.pool.regions[self.slots] - block.first_region
        new = hard.copy()
        new[cached[(cached >= 0) & (cached < len(block))]] = False
        return new

    def add(self, block: ScanBlock, rows: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """Append negatives that are not there yet, and return their keys, (n, 2) int64.

        Args:
            block: the images they are in; the pool has it open.
            rows: (n,) int64, their rows in the block.
            scores: (n,) float32, their scores in the scan.
        """
        self.slots = np.concatenate([self.slots, self.pool.put(rows, block.features)])
        self.alpha = np.concatenate([self.alpha, np.zeros(len(rows))])
        self.scores = np.concatenate([self.scores, scores])
        return keys_of(rows + block.first_region, self.image_start)

    def evict(self) -> tuple[np.ndarray, int]:
        """Let the negatives go that are easy by their scores, and under a memory budget the easiest of the others.

        Support vectors stay, and are noted in `support`.

        Returns:
            (n, 2) int32, keys of those that left, and how many of these were not easy and left for the budget.

        Source: "store negative support vectors" and "evict easy examples" in `rcnn_train.m`.
        """
        negative = ~self.positive
        inside = negative & supports(self.scores)
        self.support = self._keys(self.slots[inside]), self.scores[inside]
        leaves = negative & self.rules.easy(self.scores)
        spare = np.empty(0, np.int64)
        excess = self.budget.excess(self.num_negatives - int(leaves.sum()))
        if excess:
            spare = np.flatnonzero(negative & ~leaves & ~inside & (self.alpha == 0))
            spare = spare[easiest(self.scores[spare], excess)]
            leaves[spare] = True
        evicted = self._keys(self.slots[leaves])
        self.pool.release(self.slots[leaves])
        self.slots, self.alpha, self.scores = self.slots[~leaves], self.alpha[~leaves], self.scores[~leaves]
        return evicted, len(spare)

    def load(self, block: Block) -> None:
        """Find the features of those examples that are in a block of the feature cache; the pool has it open."""
        local = self._regions - block.first_region
        inside = np.flatnonzero((local >= 0) & (local < len(block)))
        if len(inside):
            features = block.features(local[inside])
            self.slots[inside] = self.pool.put(local[inside], features, gathered=True)

    def state(self) -> dict[str, np.ndarray]:
        """Return all that is needed to go on with the cache, except features."""
        keys, scores = self.support
        return {
            "keys": self.negatives,
            "alpha": self.alpha,
            "scores": self.scores,
            "support": keys,
            "support_scores": scores,
        }

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Go on from what `state` returned; `load` has to find the features.

        Raises:
            ValueError: the arrays do not fit together or to the images.
        """
        examples, supporting = len(self._positives) + len(state["keys"]), len(state["support"])
        shapes = {"keys": (len(state["keys"]), 2), "support": (supporting, 2), "support_scores": (supporting,)}
        shapes |= {"alpha": (examples,), "scores": (examples,)}
        for name, shape in shapes.items():
            if state[name].shape != shape:
                raise ValueError(f"{name} has shape {state[name].shape}, expected {shape}")
        image, row = state["keys"].astype(np.int64).T
        if (image < 0).any() or (row < 0).any() or (row >= np.diff(self.image_start)[image]).any():
            raise ValueError("keys name regions that do not exist")
        self.pool.release(self.slots[self.slots >= 0])
        self._regions = np.concatenate([self._positives, self.image_start[image] + row])
        self.slots = np.full(len(self._regions), -1)
        self.alpha, self.scores = state["alpha"], state["scores"]
        self.support = state["support"], state["support_scores"]

    def _keys(self, slots: np.ndarray) -> np.ndarray:
        """Return (n, 2) int32, image and row of places in the pool."""
        return keys_of(self.pool.regions[slots], self.image_start).astype(np.int32)
