"""Images cut into folds, for detectors that have not seen the image they are applied to.

Here they are only cut. `mining/engine/fold_detectors.py` trains the detectors, each class without each fold.
"""

from __future__ import annotations

import itertools

import numpy as np

from rcnn_svm.errors import InputError


def split_folds(num_images: int, num_folds: int, seed: int) -> list[np.ndarray]:
    """Return the image indices of every fold, drawn at random.

    Args:
        num_images: I.
        num_folds: F; 0 for none.
        seed: seeds the order of the images.

    Returns:
        F arrays of int64, disjoint, together all images.

    Raises:
        InputError: more folds than images, or a single fold.

    Source: `create_folds.m`, which `update_model_k_fold` of rcnn_train.m calls: cut at floor(linspace(1, I, F + 1)),
    the last fold taking the image that this leaves over, so that 12 images in 2 folds are 5 and 7.
    """
    if num_folds == 0:
        return []
    if not 2 <= num_folds <= num_images:
        raise InputError(f"k_folds = {num_folds} must be 0 or between 2 and the number of images, {num_images}")
    cuts = np.floor(np.linspace(1, num_images, num_folds + 1)).astype(int) - 1
    cuts[-1] = num_images
    order = np.random.default_rng(seed).permutation(num_images)
    return [order[a:b] for a, b in itertools.pairwise(cuts)]
