"""From scores to probabilities, by class, so that scores of different classes compare.

Scores of an SVM have no scale of their own: 0.3 may be nearly sure for one class and a coin toss for another. A
sigmoid per class is fitted to boxes of images that their detector has not seen: each fold of the training images is
scored by the detector that leaves it out. The boxes are those that survive non-maximum suppression, as a user gets
them to see, and a box is right when it overlaps an object of the class by half.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import scipy.optimize
import scipy.special

from rcnn_svm import paper
from rcnn_svm.artefacts.files import reading
from rcnn_svm.boxes import nms
from rcnn_svm.cache.feature_cache import FeatureCache
from rcnn_svm.detection.detector import Detector
from rcnn_svm.errors import InputError
from rcnn_svm.mining.examples import class_positives
from rcnn_svm.parameters import plain
from rcnn_svm.progress import progress_bar

FOLDS = 5
# Scores are counted in bins of this width, those beyond the limit in the last: memory does not grow with the images.
BIN = 1 / 128
LIMIT = 16.0
# The sigmoid always rises, however badly a class is detected.
MIN_SLOPE = 1e-3


def fit_sigmoid(scores: np.ndarray, right: np.ndarray, wrong: np.ndarray) -> tuple[float, float]:
    """Return slope a > 0 and offset b of 1 / (1 + exp(-(a score + b))), the probability to be right.

    Args:
        scores: (n,) float, scores that occur.
        right: (n,) how many boxes of that score are right.
        wrong: (n,) how many are wrong.

    Source: Platt, Probabilistic outputs for support vector machines, 1999, section 2.2: targets
    (N+ + 1) / (N+ + 2) and 1 / (N- + 2) instead of 1 and 0, so that few examples do not give certainty. It differs in
    the slope, which is kept above 0 so that the order of a class's boxes never changes.
    """
    count = right + wrong
    target = right * (right.sum() + 1) / (right.sum() + 2) + wrong / (wrong.sum() + 2)

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        z = parameters[0] * scores + parameters[1]
        # log(1 + exp(z)) - target z, summed over boxes.
        value = count @ np.logaddexp(0, z) - target @ z
        slope = count * scipy.special.expit(z) - target
        return value / count.sum(), np.array([slope @ scores, slope.sum()]) / count.sum()

    prior = np.log((right.sum() + 1) / (wrong.sum() + 1))
    bounds = [(MIN_SLOPE, None), (None, None)]
    options = {"ftol": 1e-13, "gtol": 1e-9}
    found = scipy.optimize.minimize(loss, [1.0, prior], jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    return float(found.x[0]), float(found.x[1])


def check_folds(cache: FeatureCache, classes: Sequence[str], folds: Sequence[np.ndarray]) -> None:
    """Check that every class can be calibrated; to be asked before hours of training.

    Args:
        cache: the training images.
        classes: names of the classes.
        folds: image indices of every fold.

    Raises:
        InputError: a class has objects in one fold only, whose detector must see them.
    """
    positives = class_positives(cache, [cache.classes.index(name) for name in classes])
    for name, regions in zip(classes, positives, strict=True):
        images = cache.keys(regions)[:, 0]
        if sum(np.isin(fold, images).any() for fold in folds) < 2:
            raise InputError(
                f"class {plain(name)!r} cannot be calibrated: its objects are all in one of the {len(folds)} folds, so "
                "no detector is trained without them; use more folds or images, or leave the class out"
            )


def fit_calibration(cache: FeatureCache, detectors: Sequence[Detector], fold_of_image: np.ndarray) -> np.ndarray:
    """Return the sigmoids of all classes, for the detector trained on all folds.

    Ground-truth rows only decide what is right: no detection is a ground-truth row.

    Args:
        cache: the training images.
        detectors: one for every fold, trained without its images.
        fold_of_image: (I,) int, fold of every image.

    Returns:
        (K, 2) float64, slope and offset by class, as in `fit_sigmoid`.

    Raises:
        InputError: what `check_folds` raises.

    Source: none in the original; cross-validated scores for one final detector as in scikit-learn's
    `CalibratedClassifierCV(ensemble=False)`.
    """
    names = detectors[0].classes
    check_folds(cache, names, [np.flatnonzero(fold_of_image == fold) for fold in range(len(detectors))])
    columns = [cache.classes.index(name) for name in names]
    middle = round(LIMIT / BIN)
    counts = np.zeros((len(names), 2, 2 * middle + 1), np.int64)
    with progress_bar(cache.num_images, "calibrating", "image") as bar:
        for image, fold in enumerate(fold_of_image):
            regions = cache.regions(image)
            boxes = regions.boxes[~regions.gt]
            scores = detectors[fold].scores(regions.computed_features[~regions.gt])
            bins = np.clip(np.round(scores / BIN), -middle, middle).astype(np.int64) + middle
            right = regions.overlap[~regions.gt] >= np.float32(paper.HIT_IOU)
            for k, column in enumerate(columns):
                kept = nms(boxes, scores[:, k], paper.NMS_THRESHOLD)
                np.add.at(counts[k], (right[kept, column].astype(int), bins[kept, k]), 1)
            bar.update()
    sigmoids = []
    for wrong, right in counts:
        used = np.flatnonzero(wrong + right)
        sigmoids.append(fit_sigmoid((used - middle) * BIN, right[used], wrong[used]))
    return np.array(sigmoids)


def calibrate_model(path: str | Path, cache: FeatureCache) -> None:
    """Add the calibration to a model file that was trained with folds, unless it has one.

    Args:
        path: a file written by `HardNegativeMiner.save`; replaced at once when the calibration is done.
        cache: the features it was trained on.

    Raises:
        InputError: the model has no folds or was trained on another cache, or see `fit_calibration`.
    """
    detector, history = Detector.load(path), Detector.load_history(path)
    if detector.calibration is not None:
        return
    if "fold_W" not in history:
        raise InputError(f"{path} was trained without folds; train it with --k-folds 5 to calibrate it")
    with reading(path):
        if detector.training["identity"]["cache"] != cache.fingerprint:
            raise InputError(f"{path} was not trained on the cache of {cache.name}; calibrate it with the one it was")
        pairs = zip(history["fold_W"], history["fold_B"], strict=True)
        folds = [replace(detector, W=W, B=B) for W, B in pairs]
        fold_of_image = history["fold_of_image"]
    calibrated = replace(detector, calibration=fit_calibration(cache, folds, fold_of_image))
    calibrated.save(path, history)
