"""The test of whether another pass over the images is worth it, after voc-dpm; the original makes one pass.

A detector minimises the objective on its cache. If the objective on all data is hardly larger, the cache holds the
negatives that matter. `MiningLoop` measures both after every pass, where it is given a `stop_ratio`.
"""

from __future__ import annotations

import numpy as np


def loss_of_negatives(scores: np.ndarray, negative: np.ndarray, svm_C: float) -> np.ndarray:
    """Return the weighted hinge loss of all negatives among some regions, for every class, (k,) float64.

    Args:
        scores: (N, k) float32, of the regions.
        negative: (N, k) bool, which regions are negatives of a class.
        svm_C: weight of the hinge loss.
    """
    hinge = np.maximum(0, 1 + scores)
    return svm_C * np.where(negative, hinge, 0).sum(axis=0, dtype=np.float64)


def objective_on_all_data(on_cache: np.ndarray, loss_of_all_negatives: float) -> float:
    """Return a detector's objective over all data: that on its cache, with the negatives' loss exchanged.

    Args:
        on_cache: (4,) float64, the objective on the cache by part (see `svm.problem.losses`).
        loss_of_all_negatives: that of all negatives of all images.
    """
    positive, _, regulariser, _ = on_cache
    return positive + loss_of_all_negatives + regulariser


def has_converged(on_cache: np.ndarray, on_all_data: np.ndarray, stop_ratio: float) -> bool:
    """Return whether no class's objective on all data is much larger than that on its cache.

    Args:
        on_cache: (K,) float64, the objective of every class on its cache; 0 if it was never trained, for want of
            negatives.
        on_all_data: (K,) float64, over all positives and all negatives of all images.
        stop_ratio: has to be above the ratio of the second to the first for every class; voc-dpm has 1.05.

    Source: the convergence test of voc-dpm (Felzenszwalb et al., PAMI 2010), applied to every class.
    """
    never_trained = on_cache == 0
    return bool((never_trained | (on_all_data < stop_ratio * on_cache)).all())
