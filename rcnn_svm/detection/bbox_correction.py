"""Correction of detections, in an image or in a whole image set, by a box regressor."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import numpy as np

from rcnn_svm.cache.feature_cache import FeatureCache
from rcnn_svm.detection.detections import Detections
from rcnn_svm.detection.image_set import check_feature_settings, check_features
from rcnn_svm.detection.interfaces import BoxCorrector, RegionScorer
from rcnn_svm.errors import InputError
from rcnn_svm.features.settings import FeatureSettings
from rcnn_svm.progress import progress_bar


def check_regressor(
    regressor: BoxCorrector, detector: RegionScorer, name: str = "the box regressor", model: str = "the detector"
) -> np.ndarray:
    """Check that a box regressor may correct boxes from the features that a detector scores.

    Args:
        regressor: corrects boxes.
        detector: scores regions.
        name, model: what to call regressor and detector in a message.

    Returns:
        (K,) int64, the regressor's index of each of the detector's classes.

    Raises:
        InputError: the regressor was trained on other features, or without one of the classes. Features of pool5
            will do for a detector of fc6 or fc7 of the same network, which computes them on its way.
    """
    where = f"the training cache of {model}"
    scored = FeatureSettings.from_json(detector.feature_settings)
    corrected = FeatureSettings.from_json(regressor.feature_settings)
    if scored.layer is not None and corrected.can_compute(scored.layer):
        difference = scored.difference(corrected.of_layer(scored.layer))
        if difference:
            raise InputError(
                f"{name} was trained on pool5 of another network or other crops than {where} "
                f"({difference}); train one on the network of the model"
            )
    else:
        check_feature_settings(regressor, detector.dim, detector.feature_settings, name, where)
    return regressor.columns(detector.classes)


def check_same_regions(cache: FeatureCache, other: FeatureCache, where: str, other_where: str) -> None:
    """Check that two caches hold features of the very same regions.

    Args:
        cache, other: the caches.
        where, other_where: what to call them in the message.

    Raises:
        InputError: images, numbers of regions or boxes differ.
    """
    for what, a, b in (
        ("images", cache.image_ids, other.image_ids),
        ("numbers of regions", cache.image_start.tolist(), other.image_start.tolist()),
        ("boxes", _boxes_digest(cache), _boxes_digest(other)),
    ):
        if a != b:
            raise InputError(
                f"{other_where} does not hold the regions of {where}: their {what} differ; extract both from the same "
                "image set and proposals"
            )


def _boxes_digest(cache: FeatureCache) -> str:
    """Return a digest of all boxes that does not depend on how the cache is cut into shards."""
    digest = hashlib.sha256()
    for block in cache.blocks():
        digest.update(np.ascontiguousarray(block.boxes).data)
    return digest.hexdigest()


def correction_settings(regressor: BoxCorrector, cache: FeatureCache) -> dict[str, Any]:
    """Return everything that decides the result of `correct_detections`, JSON-able; recorded with it."""
    return {"digest": regressor.digest, "training": regressor.training, "features": cache.fingerprint}


def correct_detections(detections: Detections, regressor: BoxCorrector, cache: FeatureCache) -> Detections:
    """Return detections with every box corrected and cut to its image; scores stay.

    Memory holds one image's features of what was found, and the detections; derived features are computed for that
    alone.

    Args:
        detections: what `detect_in_cache` found, before non-maximum suppression.
        regressor: corrects the boxes.
        cache: features of the regions that were tested, of the kind that the regressor was trained on.

    Raises:
        InputError: they do not belong together.

    Source: `rcnn_test_bbox_regressor.m`, which corrects the boxes that were kept and suppresses afterwards.
    """
    check_features(regressor, cache, "the box regressor")
    columns = regressor.columns(detections.classes)
    if detections.image_ids != cache.image_ids:
        raise InputError(f"the detections are not of the images of {cache.name}; correct them with features of theirs")
    box = np.empty_like(detections.box)
    order = np.argsort(detections.image, kind="stable")
    start = np.searchsorted(detections.image[order], np.arange(cache.num_images + 1))
    with progress_bar(cache.num_images, f"correct {cache.name}", "image") as bar:
        for image in range(cache.num_images):
            regions = cache.block(image)
            found = order[start[image] : start[image + 1]]
            rows = detections.row[found]
            known = len(found) == 0 or 0 <= rows.min() <= rows.max() < len(regions)
            if not known or not np.array_equal(regions.boxes[rows], detections.box[found]):
                raise InputError(
                    f"the boxes found in image {cache.image_ids[image]} are not regions of {cache.name}; correct "
                    "detections as the test stage found them, with features of the same proposals"
                )
            # A region may be found for several classes.
            distinct, which = np.unique(rows, return_inverse=True)
            features, size = regions.features(distinct)[which], tuple(regions.image_size[0].tolist())
            box[found] = regressor.correct(features, regions.boxes[rows], columns[detections.cls[found]], size)
            bar.update()
    # Boxes that moved may overlap again: what suppression they had holds no longer.
    settings = {name: value for name, value in detections.settings.items() if name != "nms"}
    return replace(detections, box=box, settings={**settings, "bbox": correction_settings(regressor, cache)})
