"""The SVM's C chosen from the data: cross-validation by images, on the examples that mining has found.

For every fold and class the SVM is trained without the fold's images, over a path of rising C; the dual variables
of one C, scaled, are where the solver starts for the next. What each of these detectors is worth is told by the
fold's images, which it has not seen: all their proposals are scored and the detections of all folds together judged
by average precision, as in a test. All proposals, not only the negatives in the example caches: these were the hard
ones for the detectors of one C, so that they would speak against that C.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from joblib import Parallel, delayed
from threadpoolctl import ThreadpoolController

from rcnn_svm import paper
from rcnn_svm.boxes import nms
from rcnn_svm.cache.feature_cache import FeatureCache
from rcnn_svm.cache.feature_norm import feature_scale
from rcnn_svm.cache.folds import split_folds
from rcnn_svm.cache.shards import as_float32
from rcnn_svm.errors import InputError
from rcnn_svm.evaluation.voc import evaluate_class
from rcnn_svm.mining.examples import class_positives
from rcnn_svm.progress import progress_bar
from rcnn_svm.svm.dual_coordinate_descent import DualCoordinateDescent
from rcnn_svm.svm.problem import SvmProblem, warn_of_gap

if TYPE_CHECKING:
    from rcnn_svm.mining.hard_negatives import HardNegativeMiner

# From a tenth to a hundred times the paper's, in steps of about 3.
C_PATH = tuple(float(C) for C in 10.0 ** np.arange(-4, -0.75, 0.5))
FOLDS = 5
# Relative duality gap: a ranking shows no more.
TOLERANCE = 1e-3
# Detections kept for every object of a class: beyond them, precision is below a hundredth.
PER_OBJECT = 100


@dataclass(frozen=True)
class ClassExamples:
    """What one class is trained on.

    Attributes:
        name: of the class.
        column: of the class among those of the cache.
        slots: (n,) int64, rows of the pool: the positives, then the negatives.
        image: (n,) int64, image of each.
        num_positives: of the first rows.
        pos_loss_weight: weight of a positive's loss.
    """

    name: str
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

    The best one, and not the smallest within a standard error of it: with few examples the precision falls steeply
    towards a small C and hardly towards a large one, which most examples then never reach.
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
        (S, 3) float64, for every C of `C_PATH`: C, mean average precision (area) over the classes, and seconds of
        training (summed over threads).

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
    precisions = _held_out_precisions(cache, usable, weights, folds, scale)
    return np.stack([np.array(C_PATH), precisions.mean(axis=0), seconds], axis=1)


def _examples(trial: HardNegativeMiner, cache: FeatureCache) -> tuple[np.ndarray, np.ndarray, list[ClassExamples]]:
    """Return the scaled features of all classes' examples (M, D) with their squared norms (M,), and who has which."""
    columns = [cache.classes.index(name) for name in trial.detector_.classes]
    keys = trial.negatives_.astype(np.int64)
    positives = class_positives(cache, columns)
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
            name=cache.classes[column],
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
            warn_of_gap(solution, TOLERANCE, examples.name)
            alpha, before = solution.alpha, C
            weights[f, step] = solution.weights
            weights[f, step, -1] *= trial.bias_mult
            seconds[step] += time.perf_counter() - start
    return weights, seconds


def _held_out_precisions(
    cache: FeatureCache,
    classes: Sequence[ClassExamples],
    weights: np.ndarray,
    folds: Sequence[np.ndarray],
    scale: np.float32,
) -> np.ndarray:
    """Return the average precision (K, S) of the detectors `weights` (K, F, S, D + 1), each fold by its own."""
    num_classes, _, num_steps, _ = weights.shape
    columns = [examples.column for examples in classes]
    best = [[BestDetections(PER_OBJECT * examples.num_positives) for _ in C_PATH] for examples in classes]
    objects = [[(np.empty(0, np.int64), np.empty((0, 4), np.float32))] for _ in classes]
    with progress_bar(sum(map(len, folds)), "judging C", "image") as bar:
        for f, fold in enumerate(folds):
            # (D, K * S), for features as they are stored.
            matrix = weights[:, f, :, :-1].reshape(-1, cache.dim).T * scale
            bias = weights[:, f, :, -1].reshape(-1)
            for image in np.sort(fold):
                regions = cache.regions(image)
                boxes = regions.boxes[~regions.gt]
                scores = regions.features[~regions.gt] @ matrix + bias
                scores = scores.reshape(-1, num_classes, num_steps)
                for k, column in enumerate(columns):
                    own = regions.boxes[regions.label == column + 1]
                    objects[k].append((np.full(len(own), image), own))
                    for step in range(num_steps):
                        best[k][step].add(image, boxes, scores[:, k, step])
                bar.update()
    precisions = np.empty((num_classes, num_steps))
    for k, parts in enumerate(objects):
        images, own = map(np.concatenate, zip(*parts, strict=True))
        # Difficult objects count: they are trained on, and few.
        difficult = np.zeros(len(own), bool)
        for step in range(num_steps):
            found = best[k][step].arrays()
            precisions[k, step] = evaluate_class(*found, images, own, difficult).ap_area
    return precisions


class BestDetections:
    """The best detections of one class in a stream of images, in bounded memory.

    Args:
        capacity: so many are kept.
    """

    def __init__(self, capacity: int):
        self._capacity = capacity
        self._thresh = -np.inf
        self._count = 0
        self._parts = [(np.empty(0, np.int64), np.empty((0, 4), np.float32), np.empty(0, np.float32))]

    def add(self, image: int, boxes: np.ndarray, scores: np.ndarray) -> None:
        """Add what survives non-maximum suppression among the best boxes (N, 4) of an image, scores (N,)."""
        rows = np.flatnonzero(scores > self._thresh)
        rows = rows[np.argsort(-scores[rows], kind="stable")[: paper.MAX_PER_IMAGE]]
        rows = rows[nms(boxes[rows], scores[rows], paper.NMS_THRESHOLD)]
        self._parts.append((np.full(len(rows), image), boxes[rows], scores[rows]))
        self._count += len(rows)
        if self._count > 2 * self._capacity:
            self._parts = [self.arrays()]
            self._count = self._capacity
            self._thresh = self._parts[0][2][-1]

    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return images (M,), boxes (M, 4) and scores (M,) of the detections kept, the best first."""
        image, box, score = map(np.concatenate, zip(*self._parts, strict=True))
        order = np.argsort(-score, kind="stable")[: self._capacity]
        return image[order], box[order], score[order]
