"""Imbalance measured: how many examples are easy or hard for a detector, and what share of the loss each carries.

An example is a region and a class, with y = 1 for ground truth of the class and y = -1 for its negatives. All losses
here depend on the margin y * score alone, and fall with it: ordering by margin is ordering by difficulty for every
loss. So histograms over the margin, with the number of examples and the sum of their losses in every bin, say
everything, and memory does not grow with the data. Totals are exact; shares of the hardest are exact up to the width
of a bin, 0.5 % of the margin or 0.005.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from scipy.special import expit

from rcnn_svm import paper
from rcnn_svm.cache.feature_cache import FeatureCache
from rcnn_svm.detection.detector import Detector
from rcnn_svm.errors import InputError
from rcnn_svm.mining.examples import class_columns, one_vs_rest_targets
from rcnn_svm.mining.rules import MiningRules
from rcnn_svm.progress import progress_bar

LOSSES = ("hinge", "cross-entropy", "focal")
HARDEST = (0.001, 0.01, 0.1)

# Bins are equal in arcsinh(margin): about 0.005 wide near 0, about 0.5 % of the margin far away.
BIN_WIDTH = 0.005
NUM_BINS = 4800
# Losses computed at once.
BLOCK_EXAMPLES = 1 << 17


def hinge(margin: np.ndarray) -> np.ndarray:
    """Return max(0, 1 - margin), the SVM's loss."""
    return np.maximum(0.0, 1.0 - margin)


def cross_entropy(margin: np.ndarray) -> np.ndarray:
    """Return -log p, where p = sigmoid(margin) is the probability given to the true side."""
    return np.logaddexp(0.0, -margin)


def focal(margin: np.ndarray, gamma: float) -> np.ndarray:
    """Return (1 - p)^gamma * -log p; gamma = 0 is the cross-entropy.

    Source: Lin et al., Focal loss for dense object detection (2017), without the weight alpha of the positives.
    """
    return expit(-margin) ** gamma * cross_entropy(margin)


def bin_of(margin: np.ndarray) -> np.ndarray:
    """Return the bin of every margin; the first and the last take in all beyond."""
    number = np.floor(np.arcsinh(margin) / BIN_WIDTH) + NUM_BINS // 2
    return number.clip(0, NUM_BINS - 1).astype(np.int64)


def bin_centres() -> np.ndarray:
    """Return (NUM_BINS,) float64, the margin in the middle of every bin."""
    return np.sinh((np.arange(NUM_BINS) - NUM_BINS // 2 + 0.5) * BIN_WIDTH)


@dataclass
class Imbalance:
    """Counts and losses of the examples of K classes; with `+`, those of two disjoint sets of examples.

    Attributes:
        counts: (2, K, NUM_BINS) int64, negatives and positives by bin of the margin.
        losses: (3, K, NUM_BINS) float64, LOSSES summed by bin.
        num_hard_negatives: (K,) int64, negatives with a score above the threshold.
        hinge_of_positives: (K,) float64, the positives' part of the hinge loss, without a weight.
        num_hard: (K,) int64, examples with a cross-entropy not below the threshold of the easy ones.
        loss_of_hard: (3, K) float64, their part of LOSSES.
    """

    counts: np.ndarray
    losses: np.ndarray
    num_hard_negatives: np.ndarray
    hinge_of_positives: np.ndarray
    num_hard: np.ndarray
    loss_of_hard: np.ndarray

    def __add__(self, other: Imbalance) -> Imbalance:
        return Imbalance(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    def overall(self) -> Imbalance:
        """Return all classes as one."""
        return Imbalance(
            *(
                getattr(self, f.name).sum(axis=1 if getattr(self, f.name).ndim > 1 else 0, keepdims=True)
                for f in fields(self)
            )
        )

    @property
    def num_positives(self) -> np.ndarray:
        """(K,) int64."""
        return self.counts[1].sum(axis=1)

    @property
    def num_negatives(self) -> np.ndarray:
        """(K,) int64."""
        return self.counts[0].sum(axis=1)

    @property
    def num_easy(self) -> np.ndarray:
        """(K,) int64."""
        return self.num_positives + self.num_negatives - self.num_hard

    @property
    def loss(self) -> np.ndarray:
        """(3, K) float64, LOSSES of all examples."""
        return self.losses.sum(axis=2)

    @property
    def loss_of_easy(self) -> np.ndarray:
        """(3, K) float64."""
        # Not below 0 by rounding.
        return np.maximum(self.loss - self.loss_of_hard, 0)

    @property
    def easy_to_hard(self) -> np.ndarray:
        """(3, K) float64, how many times the loss of the hard examples the easy ones carry; NaN where none is hard."""
        return _ratio(self.loss_of_easy, self.loss_of_hard)

    @property
    def negatives_share(self) -> np.ndarray:
        """(K,) float64, the negatives' share of the hinge loss; with a threshold of -1 or less, the hard ones'."""
        return 1 - _ratio(self.hinge_of_positives, self.loss[0])

    def hardest_share(self, fractions: Sequence[float]) -> np.ndarray:
        """Return the share of each loss held by the hardest examples.

        Args:
            fractions: shares of all examples, rising, in [0, 1].

        Returns:
            (3, K, len(fractions)) float64; NaN where there is no loss.
        """
        counts = self.counts.sum(axis=0)
        shares = np.empty((*self.losses.shape[:2], len(fractions)))
        for k in range(counts.shape[0]):
            passed = np.append(0, np.cumsum(counts[k]))  # bins begin with the smallest margin
            for number, losses in enumerate(self.losses[:, k]):
                carried = np.append(0, np.cumsum(losses))
                wanted = np.interp(np.multiply(fractions, passed[-1]), passed, carried)
                shares[number, k] = _ratio(wanted, carried[-1])
        return shares


def measure_scores(
    scores: np.ndarray,
    targets: np.ndarray,
    *,
    hard_thresh: float = paper.HARD_THRESH,
    easy_loss: float = np.log(2),
    gamma: float = paper.FOCAL_GAMMA,
) -> Imbalance:
    """Measure the imbalance of some regions.

    Args:
        scores: (N, K) float32.
        targets: (N, K) int8, 1 for positives, -1 for negatives, 0 for neither.
        hard_thresh: a negative is hard for the SVM when it scores strictly above this.
        easy_loss: an example is easy when its cross-entropy, with the score read as a logit, is strictly below this;
            log 2 is where the detector is on the right side.
        gamma: exponent of the focal loss.
    """
    num_classes = scores.shape[1]
    row, column = np.nonzero(targets)
    positive = targets[row, column] > 0
    score = scores[row, column]
    margin = np.where(positive, 1.0, -1.0) * score.astype(np.float64)
    losses = [hinge(margin), cross_entropy(margin), focal(margin, gamma)]
    hard = losses[1] >= easy_loss
    hard_negative = ~positive & MiningRules(hard_thresh=hard_thresh).hard(score, first_image=False)
    place = column * NUM_BINS + bin_of(margin)

    def by_class(chosen: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
        return np.bincount(column[chosen], None if weights is None else weights[chosen], minlength=num_classes)

    def by_bin(chosen: np.ndarray | slice, weights: np.ndarray | None = None) -> np.ndarray:
        total = np.bincount(place[chosen], weights, minlength=num_classes * NUM_BINS)
        return total.reshape(num_classes, NUM_BINS)

    return Imbalance(
        counts=np.stack([by_bin(~positive), by_bin(positive)]),
        losses=np.stack([by_bin(slice(None), loss) for loss in losses]),
        num_hard_negatives=by_class(hard_negative),
        hinge_of_positives=by_class(positive, losses[0]),
        num_hard=by_class(hard),
        loss_of_hard=np.stack([by_class(hard, loss) for loss in losses]),
    )


def measure_cache(
    cache: FeatureCache,
    detector: Detector,
    *,
    neg_overlap: float = paper.NEG_OVERLAP,
    hard_thresh: float = paper.HARD_THRESH,
    easy_loss: float = np.log(2),
    gamma: float = paper.FOCAL_GAMMA,
    block_bytes: int = 32 << 20,
) -> Imbalance:
    """Measure the imbalance of all regions of an image set, in the order of the detector's classes.

    Args:
        cache: the features.
        detector: gives the scores.
        neg_overlap: negatives have an IoU strictly below with every object of the class.
        hard_thresh, easy_loss, gamma: as in `measure_scores`.
        block_bytes: bytes of features in memory at once.

    Raises:
        InputError: the cache lacks a class of the detector, has no regions or other features, or a score is not finite.
    """
    columns = class_columns(cache, detector.classes)
    if not cache.num_rows:
        raise InputError(f"the cache of {cache.name} has no regions; nothing can be measured on it")
    step = max(BLOCK_EXAMPLES // len(columns), 1)
    total: Imbalance | None = None
    with progress_bar(cache.num_images, f"imbalance {cache.name}", "image") as bar:
        for block in cache.blocks(block_bytes):
            for first in range(0, len(block), step):
                rows = slice(first, first + step)
                features = block.features(rows)
                scores = detector.scores(features)
                if not np.isfinite(scores).all():
                    regions = block.first_region + np.arange(first, first + len(features))
                    cache.check_finite(regions, features.sum(axis=1))
                    raise InputError(
                        f"a region of the images {cache.image_ids[block.images[0]]} to "
                        f"{cache.image_ids[block.images[-1]]} "
                        "has a score that is not a finite number; its features or the detector are damaged (the "
                        "inspect stage verifies a cache)"
                    )
                targets = one_vs_rest_targets(block.label[rows], block.overlap[rows], neg_overlap)[:, columns]
                part = measure_scores(scores, targets, hard_thresh=hard_thresh, easy_loss=easy_loss, gamma=gamma)
                total = part if total is None else total + part
            bar.update(len(block.images))
    if total is None or not total.counts.sum():
        raise InputError(
            f"{cache.name} has no example of the detector's classes: no object of them, and no region with IoU below "
            f"{neg_overlap:g}; measure another cache or with a larger neg_overlap"
        )
    return total


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    part, whole = np.broadcast_arrays(np.asarray(part, float), np.asarray(whole, float))
    return np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)
