"""The k-fold detectors of R-CNN: every class trained on its final cache without each fold of the images.

They score images that they have not seen, for what is learnt from scores: box regressors, thresholds, probabilities.
`cache/folds.py` cuts the images into folds; `MiningLoop.run` calls `train_without` once mining is over.
"""

from __future__ import annotations

import numpy as np

from rcnn_svm.mining.engine.class_miner import ClassMiner
from rcnn_svm.svm.problem import warn_of_gap


def outside_fold(image: np.ndarray, positive: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """Return which examples of a class a detector is trained on that leaves out a fold, (N,) bool.

    A fold that has all positives, or all negatives, of the class leaves these in: no detector is without them.

    Args:
        image: (N,) int, the images of the examples.
        positive: (N,) bool, which of them are positives.
        fold: indices of the images to leave out.

    Source: `get_cache_inds_from_fold` of `rcnn_train.m`, which leaves out all of a fold.
    """
    outside = ~np.isin(image, fold)
    for part in (positive, ~positive):
        if not outside[part].any():
            outside |= part
    return outside


def train_without(miner: ClassMiner, fold: np.ndarray) -> tuple[np.ndarray, np.float32]:
    """Return weights (D,) and bias, float32, of a class trained on its cache without the examples of a fold.

    The class itself stays as it is.

    Args:
        miner: the class.
        fold: indices of the images to leave out.

    Source: `update_model_k_fold` of `rcnn_train.m`.
    """
    cache, setting = miner.cache, miner.setting
    outside = outside_fold(cache.keys[:, 0], cache.positive, fold)
    problem = miner.problem(outside)
    solution = setting.solver.solve(problem, cache.alpha[outside], setting.seed, cache.scores[outside])
    warn_of_gap(solution, setting.solver.tolerance, miner.name)
    return setting.detector(solution)
