"""The stop by held-out average precision: a class is mined until a few passes in a row have not raised it.

The original makes one pass. Where there are several, each adds what the last detectors get wrong on the training
images; whether that still helps shows on images that nothing was trained on. `MiningLoop` measures it after every pass,
where it is given a `Validation`, and every class ends with its detector and cache of the best pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rcnn_svm.cache.feature_cache import FeatureCache
from rcnn_svm.detection.detector import Detector
from rcnn_svm.detection.image_set import check_features
from rcnn_svm.errors import InputError
from rcnn_svm.evaluation.voc import evaluate_in_cache, objects_in_cache
from rcnn_svm.mining.examples import class_columns


@dataclass(frozen=True)
class Validation:
    """Images to judge detectors by, and how long to wait for a better one.

    Attributes:
        cache: regions and features of images that are not trained on.
        patience: a class is mined no further after so many passes in a row that did not raise its average precision.
    """

    cache: FeatureCache
    patience: int

    def precisions(self, detector: Detector) -> np.ndarray:
        """Return the average precision (area) of every class of a detector, (K,) float64."""
        return np.array([result.ap_area for result in evaluate_in_cache(self.cache, detector).classes])

    def is_over(self, precisions: np.ndarray) -> bool:
        """Return whether a class is done, by its average precision (E,) after every pass so far."""
        return len(precisions) > 0 and len(precisions) - 1 - best_pass(precisions) >= self.patience


def best_pass(precisions: np.ndarray) -> int:
    """Return the number of the best pass, the first of equals, by the average precision (E,) after every pass."""
    return int(np.argmax(precisions))


def check_validation(validate: FeatureCache, cache: FeatureCache, detector: Detector) -> None:
    """Check that a cache can judge the detectors that are trained on another.

    Args:
        validate: the images to judge by.
        cache: the images that are trained on.
        detector: what is to be trained, not yet trained.

    Raises:
        InputError: the features are of another kind; a class is missing or has no object that counts; there are no
            proposals; or an image is trained on.
    """
    check_features(detector, validate, f"a detector of {cache.name}", f"the validation cache {validate.name}")
    class_columns(validate, detector.classes)
    objects = objects_in_cache(validate, detector.classes)
    counts = np.bincount(objects.cls[~objects.difficult], minlength=len(detector.classes))
    if not counts.all():
        names = [name for name, count in zip(detector.classes, counts, strict=True) if not count]
        raise InputError(
            f"the validation cache {validate.name} has no object, difficult ones aside, of {_listed(names)}, whose "
            "average precision would not be known; add images that show some, or leave these classes out"
        )
    if not any((~block.gt).any() for block in validate.blocks()):
        raise InputError(
            f"the validation cache {validate.name} has objects but no proposals, so nothing could be detected in it; "
            "extract the features of its proposals too"
        )
    seen = _shared_images(validate, cache)
    if seen:
        raise InputError(
            f"the validation cache {validate.name} has images that are trained on, {_listed(seen)}; validate on others"
        )


def _shared_images(one: FeatureCache, other: FeatureCache) -> list[str]:
    """Return the ids of the images that are in both caches: the same id, objects and features of these."""
    number = {image_id: image for image, image_id in enumerate(other.image_ids)}
    shared = []
    for image, image_id in enumerate(one.image_ids):
        if image_id in number:
            a, b = one.block(image), other.block(number[image_id])
            same = a.gt.any() and np.array_equal(a.boxes[a.gt], b.boxes[b.gt])
            if same and np.array_equal(a.features(a.gt), b.features(b.gt)):
                shared.append(image_id)
    return shared


def _listed(names: Sequence[str], most: int = 3) -> str:
    """Return names in words, the first few of many."""
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(repr, names[:most])) + rest
