"""Hard negative mining as `rcnn_train.m` does it, written down literally: slow, equal, read this first.

The images go by one after the other. Each is scored with the detectors of that moment, its hard negatives enter the
caches of their classes, and a class is trained, then rid of its easy negatives, when `rules.py` says so. A key is
(image, row). `HardNegativeMiner` finds the same keys in the same order some hundred times faster; the tests hold both
against each other and against recorded runs of the original.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from sklearn.svm import LinearSVC

from rcnn_svm import paper
from rcnn_svm.cache.feature_cache import FeatureCache
from rcnn_svm.cache.feature_norm import feature_scale
from rcnn_svm.mining.engine.history import MiningHistory
from rcnn_svm.mining.rules import MiningRules

Key = tuple[int, int]


class ReferenceMiner:
    """The definition of hard negative mining, for small feature caches.

    Args:
        cache: regions and features of the training images.
        rules: what is a negative, what is hard or easy, and when a class is trained.
        feat_norm_mean, svm_C, pos_loss_weight, bias_mult, max_epochs: as in `HardNegativeMiner`.
        tolerance: stopping tolerance of liblinear; the tighter, the less its random order leaves uncertain.

    Attributes, of every class c once `mine` has run:
        W[:, c], B[c]: (D,) and () float32, the detector, for scaled features.
        negatives[c]: the keys in the cache of the class, in the order they came.
        history: tables of everything added and evicted, and of every training (see `MiningHistory`).

    Source: `rcnn_train.m`.
    """

    def __init__(
        self,
        cache: FeatureCache,
        rules: MiningRules,
        *,
        feat_norm_mean: float,
        svm_C: float = paper.SVM_C,
        pos_loss_weight: float = paper.POS_LOSS_WEIGHT,
        bias_mult: float = paper.BIAS_MULT,
        max_epochs: int = paper.MAX_EPOCHS,
        tolerance: float = 1e-9,
    ):
        self.rules, self.max_epochs = rules, max_epochs
        self.svm_C, self.pos_loss_weight, self.bias_mult, self.tolerance = svm_C, pos_loss_weight, bias_mult, tolerance
        self.images = [cache.regions(image) for image in range(cache.num_images)]
        self.scale = feature_scale(feat_norm_mean)
        self.classes = range(len(cache.classes))
        self.positives = [self._ground_truth(c) for c in self.classes]
        self.negatives: list[list[Key]] = [[] for _ in self.classes]
        self.num_added = [0 for _ in self.classes]  # since the last training of the class
        self.W = np.zeros((cache.dim, len(self.classes)), np.float32)
        self.B = np.zeros(len(self.classes), np.float32)
        self.history = MiningHistory()

    def mine(self) -> ReferenceMiner:
        """Pass over the images."""
        for epoch in range(self.max_epochs):
            for image, regions in enumerate(self.images):
                first_image = (epoch, image) == (0, 0)
                last_image = (epoch, image) == (self.max_epochs - 1, len(self.images) - 1)
                scores = regions.computed_features * self.scale @ self.W + self.B  # (N, K)
                for c in self.classes:
                    self.add(c, epoch, image, self.hard_negatives(c, epoch, image, scores[:, c]))
                    due = self.rules.must_retrain(self.num_added[c], first_image, last_image)
                    if due and self.negatives[c]:
                        self.train(c, epoch, image)
        return self

    def hard_negatives(self, c: int, epoch: int, image: int, scores: np.ndarray) -> list[Key]:
        """Return the hard negatives of a class in an image, by the scores (N,) float32 of the regions."""
        negative = self.rules.negative(self.images[image].overlap[:, c])
        hard = negative & self.rules.hard(scores, first_image=(epoch, image) == (0, 0))
        return [(image, row) for row in np.flatnonzero(hard).tolist()]

    def add(self, c: int, epoch: int, image: int, keys: list[Key]) -> None:
        """Add the hard negatives of an image to the cache of a class, except those that are there already.

        Source: "Avoid adding duplicate features" in `sample_negative_features` of `rcnn_train.m`.
        """
        new = sorted(set(keys) - set(self.negatives[c]))
        self.negatives[c] += new
        self.num_added[c] += len(new)
        self.history.record("scan", [(c, epoch, image, len(keys), len(new))])
        self.history.record("added", [(c, epoch, *key) for key in new])

    def train(self, c: int, epoch: int, image: int) -> None:
        """Train the detector of a class on its cache, then evict the negatives that are easy for it."""
        positives, negatives = self.positives[c], self.negatives[c]
        w, b = self.solve(positives, negatives)
        self.W[:, c], self.B[c] = w, b
        easy = self.easy(c, epoch, image, self.features(negatives) @ self.W[:, c] + self.B[c])
        self.negatives[c] = [key for key, leaves in zip(negatives, easy, strict=True) if not leaves]
        evicted = [key for key, leaves in zip(negatives, easy, strict=True) if leaves]
        counts = (len(positives), len(negatives), len(self.negatives[c]), self.num_added[c], 0)
        self.history.record("evicted", [(self.history.num_updates, *key) for key in evicted])
        self.history.record("updates", [(c, epoch, image, *counts)])
        self.history.record("update_loss", [self.losses(w, b, positives, negatives)])
        self.num_added[c] = 0

    def easy(self, c: int, epoch: int, image: int, scores: np.ndarray) -> np.ndarray:
        """Return which cached negatives of a class leave after a training, by their scores (n,) float32."""
        return self.rules.easy(scores)

    def solve(self, positives: list[Key], negatives: list[Key]) -> tuple[np.ndarray, float]:
        """Return weights (D,) and bias of the linear SVM between positives and negatives."""
        loss = {"loss": "hinge", "C": self.svm_C, "class_weight": {1: self.pos_loss_weight}}
        stop = {"tol": self.tolerance, "max_iter": 10**7, "random_state": paper.SEED}
        svm = LinearSVC(**loss, intercept_scaling=self.bias_mult, **stop)
        y = np.repeat([1, -1], [len(positives), len(negatives)])
        svm.fit(self.features(positives + negatives).astype(np.float64), y)
        return svm.coef_[0], svm.intercept_[0]

    def losses(self, w: np.ndarray, b: float, positives: list[Key], negatives: list[Key]) -> tuple[float, ...]:
        """Return what `solve` minimises: loss of the positives, of the negatives, regulariser, and their sum."""
        z_pos, z_neg = self.features(positives) @ w + b, self.features(negatives) @ w + b
        pos_loss = self.svm_C * self.pos_loss_weight * np.maximum(0, 1 - z_pos).sum()
        neg_loss = self.svm_C * np.maximum(0, 1 + z_neg).sum()
        reg_loss = (w @ w + (b / self.bias_mult) ** 2) / 2
        return pos_loss, neg_loss, reg_loss, pos_loss + neg_loss + reg_loss

    def train_without(self, c: int, images: Collection[int]) -> tuple[np.ndarray, float]:
        """Return a detector of a class, trained on its final cache without a fold of the images.

        All positives, or negatives, stay where the fold has them all.

        Source: `update_model_k_fold` of `rcnn_train.m`, which leaves out all of a fold.
        """
        positives = [key for key in self.positives[c] if key[0] not in images]
        negatives = [key for key in self.negatives[c] if key[0] not in images]
        return self.solve(positives or self.positives[c], negatives or self.negatives[c])

    def features(self, keys: list[Key]) -> np.ndarray:
        """Return the scaled features of some regions, (n, D) float32."""
        return np.stack([self.images[image].computed_features[row] for image, row in keys]) * self.scale

    def _ground_truth(self, c: int) -> list[Key]:
        """Return the positives of a class: all its objects in all images."""
        labels = enumerate(regions.label for regions in self.images)
        return [(image, row) for image, label in labels for row in np.flatnonzero(label == c + 1).tolist()]
