"""The SVM's C chosen from the data: cross-validation by images, on the examples that mining has found.

For every fold and class the SVM is trained without the fold's images, over a path of rising C; the dual variables
of one C, scaled, are where the solver starts for the next. What each of these detectors is worth is told by the
fold's images, which it has not seen: how well it ranks the objects' own boxes among all negatives of these images,
in average precision. All negatives, not only those in the example caches: these were the hard ones for the
detectors of one C, so that they would speak against that C.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from joblib import Parallel, delayed
from threadpoolctl import ThreadpoolController

from rcnn_svm.cache.feature_cache import FeatureCache
from rcnn_svm.cache.shards import as_float32
from rcnn_svm.detection.detector import feature_scale
from rcnn_svm.errors import InputError
from rcnn_svm.mining.folds import split_folds
from rcnn_svm.progress import progress_bar
from rcnn_svm.svm.dual_coordinate_descent import DualCoordinateDescent
from rcnn_svm.svm.problem import SvmProblem

if TYPE_CHECKING:
    from rcnn_svm.mining.hard_negatives import HardNegativeMiner

PAPER_C = 1e-3
# From a tenth to a hundred times the paper's, in steps of about 3.
C_PATH = tuple(float(C) for C in 10.0 ** np.arange(-4, -0.75, 0.5))
FOLDS = 5
# Relative duality gap: a ranking shows no more.
TOLERANCE = 1e-3


@dataclass(frozen=True)
class ClassExamples:
    """What one class is trained on.

    Attributes:
        column: of the class among those of the cache.
        slots: (n,) int64, rows of the pool: the positives, then the negatives.
        image: (n,) int64, image of each.
        num_positives: of the first rows.
        pos_loss_weight: weight of a positive's loss.
    """

    column: int
    slots: np.ndarray
    image: np.ndarray
    num_positives: int
    pos_loss_weight: float

    @property
    def positive(self) -> np.ndarray:
        """(n,) bool, which examples are positives."""
        return np.arange(len(self.slots)) < self.num_positives

    def can_leave_out(self, folds: Sequence[np.ndarray]) -> bool:
        """Return whether positives and negatives remain without any one of the folds."""
        outside = [~np.isin(self.image, fold) for fold in folds]
        return all(rest[: self.num_positives].any() and rest[self.num_positives :].any() for rest in outside)


def selection_folds(num_images: int, k_folds: int, seed: int) -> list[np.ndarray]:
    """Return the folds to choose C on: those of the training where it has some, else five (fewer for fewer images).

    Raises:
        InputError: there are fewer than two images.
    """
    if num_images < 2:
        raise InputError(f"svm_C = 'auto' needs at least 2 images to hold some out, the cache has {num_images}")
    return split_folds(num_images, k_folds or min(FOLDS, num_images), seed)


def best_C(table: np.ndarray) -> float:
    """Return the C of the best row of `cross_validate_C`, the smallest of equals.

    The best one, and not the smallest within a standard error of it: a small C is not a simpler model worth a loss,
    and with few examples it is on its side that the ranking falls steeply.
    """
    return float(table[np.argmax(table[:, 1]), 0])


def cross_validate_C(trial: HardNegativeMiner, cache: FeatureCache, folds: Sequence[np.ndarray]) -> np.ndarray:
    """Measure what every C of a path is worth for a mined training.

    One C for all classes: a class's own would rest on a handful of objects. Classes whose objects are all in one fold
    have no say, as no detector can be trained without it.

    Args:
        trial: a fitted miner; its negatives and its parameters other than C are used.
        cache: what it was fitted on.
        folds: image indices of every fold.

    Returns:
        (S, 3) float64, for every C of `C_PATH`: C, mean average precision over the classes, and seconds of training
        (summed over threads).

    Raises:
        InputError: no class has objects in two folds.

    Source: none in the original; the path with warm starts follows common practice for regularised linear models.
    """
    rows, norms, classes = _examples(trial, cache)
    usable = [examples for examples in classes if examples.can_leave_out(folds)]
    if not usable:
        raise InputError(
            f"svm_C = 'auto' cannot be cross-validated on {cache.name}: no class has objects in two of the "
            f"{len(folds)} folds of its {cache.num_images} images; give a number"
        )
    blas = ThreadpoolController().limit(limits=1, user_api="blas")
    with blas, progress_bar(len(usable), "choosing C", "class") as bar:
        paths = []
        tasks = (delayed(_class_paths)(examples, rows, norms, trial, folds) for examples in usable)
        for path in Parallel(n_jobs=trial.n_jobs, prefer="threads", return_as="generator")(tasks):
            paths.append(path)
            bar.update()
    weights = np.stack([weights for weights, _ in paths])
    seconds = np.sum([seconds for _, seconds in paths], axis=0)
    scale = feature_scale(trial.detector_.feat_norm_mean)
    precisions = _held_out_precisions(cache, usable, rows, weights, folds, scale, trial)
    return np.stack([np.array(C_PATH), precisions.mean(axis=0), seconds], axis=1)


def _examples(trial: HardNegativeMiner, cache: FeatureCache) -> tuple[np.ndarray, np.ndarray, list[ClassExamples]]:
    """Return the scaled features of all classes' examples (M, D) with their squared norms (M,), and who has which."""
    columns = [cache.classes.index(name) for name in trial.detector_.classes]
    keys = trial.negatives_.astype(np.int64)
    positives = [[] for _ in columns]
    for _, first, arrays in cache.shards():
        label = np.where(arrays.gt, arrays.label, 0)
        for c, column in enumerate(columns):
            positives[c].append(first + np.flatnonzero(label == column + 1))
    positives = [np.concatenate(parts) for parts in positives]
    regions = []
    for c, mine in enumerate(positives):
        _, image, row = keys[keys[:, 0] == c].T
        regions.append(np.concatenate([mine, cache.image_start[image] + row]))
    needed = np.unique(np.concatenate(regions))
    rows = np.empty((len(needed), cache.dim), np.float32)
    scale = feature_scale(trial.detector_.feat_norm_mean)
    for _, first, arrays in cache.shards():
        start, stop = np.searchsorted(needed, [first, first + len(arrays.features)])
        rows[start:stop] = as_float32(arrays.features[needed[start:stop] - first]) * scale
    norms = np.einsum("nd,nd->n", rows, rows, dtype=np.float64)
    classes = [
        ClassExamples(
            column=column,
            slots=np.searchsorted(needed, mine),
            image=np.searchsorted(cache.image_start, mine, side="right") - 1,
            num_positives=len(own),
            pos_loss_weight=weight,
        )
        for column, mine, own, weight in zip(
            columns, regions, positives, trial.detector_.training["pos_loss_weight"], strict=True
        )
    ]
    return rows, norms, classes


def _class_paths(
    examples: ClassExamples, rows: np.ndarray, norms: np.ndarray, trial: HardNegativeMiner, folds: Sequence[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Return a class's detectors (F, S, D + 1) float32, bias last, without every fold and for every C, and the time."""
    solver = DualCoordinateDescent(TOLERANCE)
    weights = np.empty((len(folds), len(C_PATH), rows.shape[1] + 1), np.float32)
    seconds = np.zeros(len(C_PATH))
    for f, fold in enumerate(folds):
        keep = ~np.isin(examples.image, fold)
        slots, positive = examples.slots[keep], examples.positive[keep]
        share = np.where(positive, examples.pos_loss_weight, 1.0)
        alpha, before = np.zeros(len(slots)), C_PATH[0]
        for step, C in enumerate(C_PATH):
            start = time.perf_counter()
            problem = SvmProblem(rows, slots, np.where(positive, 1.0, -1.0), C * share, trial.bias_mult, norms)
            solution = solver.solve(problem, np.minimum(alpha * (C / before), problem.upper), trial.seed)
            alpha, before = solution.alpha, C
            weights[f, step] = solution.weights
            weights[f, step, -1] *= trial.bias_mult
            seconds[step] += time.perf_counter() - start
    return weights, seconds


def _held_out_precisions(
    cache: FeatureCache,
    classes: Sequence[ClassExamples],
    rows: np.ndarray,
    weights: np.ndarray,
    folds: Sequence[np.ndarray],
    scale: np.float32,
    trial: HardNegativeMiner,
) -> np.ndarray:
    """Return the average precision (K, S) of the detectors `weights` (K, F, S, D + 1), each fold by its own.

    Positives are the objects' own boxes, negatives all other regions with little overlap. Only for every object's
    box is it counted how many negatives score as high, so memory does not grow with the images.
    """
    num_classes, _, num_steps, _ = weights.shape
    fold_of_image = np.full(cache.num_images, -1)
    for f, fold in enumerate(folds):
        fold_of_image[fold] = f
    scores = [
        _positive_scores(examples, rows, own, fold_of_image) for examples, own in zip(classes, weights, strict=True)
    ]
    above = [np.zeros((num_steps, own.shape[1] + 1), np.int64) for own in scores]
    # (F, D, K * S), for features as they are stored.
    matrices = weights[..., :-1].transpose(1, 3, 0, 2).reshape(len(folds), cache.dim, -1) * scale
    biases = weights[..., -1].transpose(1, 0, 2).reshape(len(folds), -1)
    columns = [examples.column for examples in classes]
    with progress_bar(cache.num_images, "judging C", "image") as bar:
        for image, fold in enumerate(fold_of_image):
            bar.update()
            if fold < 0:
                continue
            regions = cache.regions(image)
            found = regions.features @ matrices[fold] + biases[fold]
            found = found.reshape(-1, num_classes, num_steps)
            eligible = regions.overlap[:, columns] < np.float32(trial.neg_overlap)
            for k in range(num_classes):
                for step in range(num_steps):
                    places = np.searchsorted(scores[k][step], found[eligible[:, k], k, step], side="right")
                    above[k][step] += np.bincount(places, minlength=above[k].shape[1])
    return np.array([[average_precision(counts) for counts in own] for own in above])


def _positive_scores(
    examples: ClassExamples, rows: np.ndarray, weights: np.ndarray, fold_of_image: np.ndarray
) -> np.ndarray:
    """Return the scores (S, P) float32 of a class's objects by the detectors that have not seen them, ascending."""
    slots, fold = examples.slots[: examples.num_positives], fold_of_image[examples.image[: examples.num_positives]]
    scores = [own[:, :-1] @ rows[slots[fold == f]].T + own[:, -1:] for f, own in enumerate(weights)]
    return np.sort(np.concatenate(scores, axis=1), axis=1)


def average_precision(counts: np.ndarray) -> float:
    """Return the mean, over the positives, of the precision when all that scores as high is accepted.

    Args:
        counts: (P + 1,) int64, negatives by the number of positives that score no higher than they do.
    """
    ranks = np.arange(1, len(counts))
    false_alarms = np.cumsum(counts[:0:-1])
    return float((ranks / (ranks + false_alarms)).mean())
