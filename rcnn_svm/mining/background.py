"""The images to train on with more negatives: background, and what was mined from images without labels.

Both are further images at the end of the training set, and the rules of mining are the same for all. Of background
images every region is a candidate; of what was mined, exactly the regions that a person left.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from rcnn_svm.cache.feature_cache import FeatureCache
from rcnn_svm.cache.joined import as_background, join_caches
from rcnn_svm.errors import InputError
from rcnn_svm.features.settings import FeatureSettings
from rcnn_svm.mining.mined_regions import mined_negatives


def with_negatives(
    cache: FeatureCache, background: Sequence[FeatureCache] = (), mined: Sequence[str | os.PathLike] = ()
) -> FeatureCache:
    """Return a training set with more negatives.

    Args:
        cache: images with labels.
        background: images that show no object of the classes.
        mined: manifests of the mine stage.

    Raises:
        InputError: features are of another kind than those of `cache`, an image of background shows an object, or a
            manifest cannot be used.
    """
    more = [as_background(part, cache.classes) for part in background]
    more += [mined_negatives(manifest, cache.classes) for manifest in mined]
    for part in more:
        found, wanted = FeatureSettings.from_json(part.settings), FeatureSettings.from_json(cache.settings)
        difference = found.difference(wanted)
        if difference or part.dim != cache.dim:
            raise InputError(
                f"the negatives of {part.name} have other features than {cache.name} "
                f"({difference or f'{part.dim}-d'}); make them with the same network and settings"
            )
    return join_caches([cache, *more])
