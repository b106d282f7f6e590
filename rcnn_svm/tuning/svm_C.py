"""The SVM's C chosen from data: cross-validation by images, on the examples that mining has found.

The classes are mined at the paper's C first, and mined again with the C that is best. In between, for every fold and
class the SVM is trained without the fold's images, over a path of rising C; the dual variables of one C, scaled, are
where the solver starts for the next. The fold's images, which these detectors have not seen, judge them: all proposals
are scored, and the detections of all folds together have an average precision, as in a test. All proposals, not only
the negatives in the example caches: these were the hard ones for the detectors of one C, so that they would speak
against that C.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from sklearn.base import BaseEstimator, clone
from sklearn.utils.validation import check_is_fitted
from threadpoolctl import ThreadpoolController

from rcnn_svm import paper
from rcnn_svm.artefacts.checkpoint import Checkpoint
from rcnn_svm.boxes import nms
from rcnn_svm.cache.feature_cache import FeatureCache
from rcnn_svm.cache.feature_norm import feature_scale
from rcnn_svm.cache.folds import split_folds
from rcnn_svm.errors import InputError
from rcnn_svm.evaluation.voc import evaluate_class
from rcnn_svm.mining.engine.history import MiningHistory
from rcnn_svm.mining.examples import class_positives
from rcnn_svm.mining.hard_negatives import HardNegativeMiner
from rcnn_svm.parameters import Check, check_parameters, checks
from rcnn_svm.progress import progress_bar
from rcnn_svm.svm.class_weights import AUTO
from rcnn_svm.svm.dual_coordinate_descent import DualCoordinateDescent
from rcnn_svm.svm.problem import SvmProblem, warn_of_gap

# From a tenth to a hundred times the paper's, in steps of about 3.
C_PATH = tuple(float(C) for C in 10.0 ** np.arange(-4, -0.75, 0.5))
FOLDS = 5
# Relative duality gap: a ranking shows no more.
TOLERANCE = 1e-3
# Detections kept for every object of a class: beyond them, precision is below a hundredth.
PER_OBJECT = 100


class SvmCSearch(BaseEstimator):
    """A search for C around a miner, as GridSearchCV is one around an estimator.

    It mines at the paper's C, chooses C by cross-validation on what was found, and mines again.

    Args:
        miner: mines with these parameters; its `svm_C` is not used. Where it has `k_folds`, C is cross-validated on
            the same folds.

    Attributes set by `fit`:
        svm_C_: the C of the best held-out mean average precision.
        miner_: the `HardNegativeMiner` fitted with it; its history has the table `selection`.

    Source: none in the original, where C is 1e-3.
    """

    PARAMETER_CHECKS = checks(
        miner=Check(lambda value: isinstance(value, HardNegativeMiner), "a HardNegativeMiner"),
    )

    def __init__(self, miner: HardNegativeMiner):
        self.miner = miner

    def fit(
        self,
        cache: FeatureCache,
        y: None = None,
        *,
        validate: FeatureCache | None = None,
        folds: Sequence[np.ndarray] | None = None,
        checkpoint: str | Path | None = None,
        checkpoint_seconds: float = 60.0,
    ) -> SvmCSearch:
        """Choose C and train with it.

        Args:
            cache: regions and features of the training images.
            y: not used; labels are in the cache.
            validate: where the miner stops, as in its `fit`, when it mines for the first time and again; C is chosen
                on the folds.
            folds: image indices of every fold, as for the miner; C is cross-validated on them too.
            checkpoint, checkpoint_seconds: as for the miner; the table of C is kept in the checkpoint too.

        Raises:
            InputError: the miner cannot be fitted, or no C can be held against another: there are fewer than two
                images, or no class has objects in two folds.
        """
        check_parameters(self)
        trial = clone(self.miner).set_params(svm_C=paper.SVM_C)
        check_parameters(trial)
        identity = self.identity(cache, validate)
        options: dict[str, Any] = {
            "checkpoint": checkpoint,
            "checkpoint_seconds": checkpoint_seconds,
            "identity": identity,
            "validate": validate,
        }
        saved = None if checkpoint is None else Checkpoint(checkpoint, identity)
        table = saved.resume(lambda _, arrays: arrays["selection"]) if saved and saved.exists() else None
        if table is None or not len(table):
            held_out = selection_folds(cache.num_images, trial.k_folds, trial.seed) if folds is None else folds
            table = cross_validate_C(trial.fit(cache, folds=[], **options), cache, held_out)
            if saved:
                history = MiningHistory()
                history.record("selection", table)
                saved.save(0, history.tables())
        self.svm_C_ = best_C(table)
        self.miner_ = clone(self.miner).set_params(svm_C=self.svm_C_).fit(cache, folds=folds, **options)
        if not saved:  # from a checkpoint the miner has it already
            self.miner_.history_.record("selection", table)
        return self

    def identity(self, cache: FeatureCache, validate: FeatureCache | None = None) -> dict[str, Any]:
        """Return what decides the result of a search on `cache`: the miner's parameters but C, and the caches."""
        identity = self.miner.identity(cache, validate)
        identity["parameters"]["svm_C"] = AUTO
        return identity

    def save(self, path: str | Path) -> None:
        """Write the detector with the whole record of its training and the table of C, as the miner does.

        Raises:
            NotFittedError: `fit` was not called.
            InputError: it cannot be written.
        """
        check_is_fitted(self)
        self.miner_.save(path)


@dataclass(frozen=True)
class ClassExamples:
    """What one class is trained on.

    Attributes:
        name: name of the class.
        column: column of the class in `cache.overlap`.
        slots: (n,) int64, rows of the pool: the positives, then the negatives.
        image: (n,) int64, the image of each.
        num_positives: how many of the first rows are positives.
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
        raise InputError(f"the choice of svm_C needs at least 2 images to hold some out, the cache has {num_images}")
    return split_folds(num_images, k_folds or min(FOLDS, num_images), seed)


def best_C(table: np.ndarray) -> float:
    """Return the C of the best row of `cross_validate_C`, the smallest of equals.

    This is the best one, and not the smallest within a standard error of it: with few examples the precision falls
    steeply towards a small C and hardly towards a large one, which most examples then never reach.
    """
    return float(table[np.argmax(table[:, 1]), 0])


def cross_validate_C(trial: HardNegativeMiner, cache: FeatureCache, folds: Sequence[np.ndarray]) -> np.ndarray:
    """Measure what every C of a path is worth for a mined training.

    One C for all classes: a class's own would rest on a handful of objects. Classes whose objects are all in one fold
    have no say, as no detector can be trained without it.

    Args:
        trial: a fitted miner; its negatives and its parameters other than C are used.
        cache: the cache that it was fitted on.
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
            f"svm_C cannot be chosen on {cache.name}: no class has objects in two of the "
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
    for c, ground_truth in enumerate(positives):
        _, image, row = keys[keys[:, 0] == c].T
        regions.append(np.concatenate([ground_truth, cache.image_start[image] + row]))
    needed = np.unique(np.concatenate(regions))
    rows = cache.gather(needed, feature_scale(trial.detector_.feat_norm_mean))
    norms = np.einsum("nd,nd->n", rows, rows, dtype=np.float64)
    classes = [
        ClassExamples(
            name=cache.classes[column],
            column=column,
            slots=np.searchsorted(needed, of_class),
            image=cache.keys(of_class)[:, 0],
            num_positives=len(ground_truth),
            pos_loss_weight=weight,
        )
        for column, of_class, ground_truth, weight in zip(
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
        alpha, before = np.zeros(len(slots)), C_PATH[0]
        for step, C in enumerate(C_PATH):
            start = time.perf_counter()
            problem = SvmProblem.of(
                rows,
                norms,
                slots,
                positive,
                svm_C=C,
                pos_loss_weight=examples.pos_loss_weight,
                bias_mult=trial.bias_mult,
            )
            solution = solver.solve(problem, np.minimum(alpha * (C / before), problem.upper), trial.seed)
            warn_of_gap(solution, TOLERANCE, examples.name)
            alpha, before = alpha if solution.alpha is None else solution.alpha, C
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
                scores = regions.computed_features[~regions.gt] @ matrix + bias
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
