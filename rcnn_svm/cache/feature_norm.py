"""The mean length of a feature vector, by which features are scaled before training."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from rcnn_svm import paper
from rcnn_svm.cache.feature_cache import FeatureCache
from rcnn_svm.errors import InputError

# Beyond these, a factor that brings the features to a common length leaves single precision.
SMALLEST, LARGEST = 1e-15, 1e15


def feature_scale(feat_norm_mean: float) -> np.float32:
    """Return the factor that brings features to a mean L2 norm of 20, so that one C serves every layer.

    Source: `rcnn_scale_features.m`.
    """
    return np.float32(paper.TARGET_NORM) / np.float32(feat_norm_mean)


def mean_feature_norm(cache: FeatureCache, seed: int, threads: int = 1) -> float:
    """Return the mean L2 norm over up to 200 regions of each of up to 200 images, drawn without replacement.

    Ground-truth rows take part in the draw.

    Args:
        cache: the features.
        seed: seeds the draw of images and rows.
        threads: number of threads that read images at once.

    Raises:
        InputError: the cache has no rows, or features that are zero or not finite.

    Source: `rcnn_feature_stats.m`; the draw itself cannot be MATLAB's.
    """
    rng = np.random.default_rng(seed)
    counts = np.diff(cache.image_start)
    images = rng.permutation(len(counts))[: paper.NORM_IMAGES]
    drawn = {int(i): np.sort(rng.permutation(counts[i])[: paper.NORM_ROWS]) for i in images}
    norms = []
    with ThreadPoolExecutor(threads, "norms") as executor:
        for block in cache.blocks():
            places = zip(block.images, block.image_start[:-1], strict=True)
            rows = [start + drawn[image] for image, start in places if image in drawn]
            for found, of_image in zip(rows, executor.map(block.norms, rows), strict=True):
                cache.check_finite(block.first_region + found, of_image)
                norms.append(of_image)
    mean = float(np.concatenate(norms).mean()) if sum(map(len, norms)) else 0.0
    if not SMALLEST < mean < LARGEST:
        raise InputError(
            f"the features of {cache.name} have a mean norm of {mean} over {sum(map(len, norms))} sampled rows; "
            "it must be a number that single precision can scale, so extract them again"
        )
    return mean
