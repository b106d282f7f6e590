"""The same SVMs without mining: negatives drawn at random, to see what the hard ones are worth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted
from threadpoolctl import ThreadpoolController

from rcnn_svm import paper
from rcnn_svm.artefacts.files import reading
from rcnn_svm.cache.feature_cache import FeatureCache
from rcnn_svm.cache.feature_norm import feature_scale, mean_feature_norm
from rcnn_svm.detection.detector import Detector
from rcnn_svm.errors import InputError
from rcnn_svm.mining.engine.history import MiningHistory, training_record
from rcnn_svm.mining.examples import class_columns, class_positives
from rcnn_svm.mining.hard_negatives import LARGEST, HardNegativeMiner
from rcnn_svm.mining.rules import MiningRules, supports
from rcnn_svm.parameters import check_parameters, checks, list_of, plain, real, whole
from rcnn_svm.progress import progress_bar
from rcnn_svm.svm.problem import SvmProblem, SvmSolution, warn_of_gap
from rcnn_svm.svm.solvers import make_solver

# Parameters that mean what they mean to `HardNegativeMiner`.
SHARED = ("bias_mult", "neg_overlap", "solver", "tolerance", "classes", "feat_norm_mean", "n_jobs", "seed")


class RandomNegativeTrainer(BaseEstimator):
    """Linear SVMs of all classes, each trained once, on all positives and on negatives drawn at random.

    Every region that may be a negative of the class is drawn with the same probability, without replacement.
    Solver, weights and scaling are those of `HardNegativeMiner`.

    Args:
        num_negatives: how many to draw for every class, or one number per class; all there are where there are fewer.
        svm_C, pos_loss_weight, bias_mult, neg_overlap, solver, tolerance, classes, feat_norm_mean, n_jobs: as in
            `HardNegativeMiner`.
        seed: seeds the draw, the sample for the norm and the solver.

    Attributes set by `fit`:
        detector_: the trained `Detector`.
        history_: `MiningHistory`; every negative is in `added`, with one update per class after the last image.
        negatives_: (N, 3) int32, class, image and row of the negatives.
        image_ids_: identifiers of the images that keys count.

    Source: the comparison of R-CNN, section 2.3 (hard negative mining), with the start of bootstrapping in Sung and
    Poggio, which is a random sample.
    """

    PARAMETER_CHECKS = checks(
        **{name: HardNegativeMiner.PARAMETER_CHECKS[name] for name in SHARED},
        num_negatives=whole(at_least=1) | list_of(whole(at_least=1), "a list of them, one per class"),
        svm_C=real(above=0, at_most=LARGEST, hint=" (auto is for mining)"),
        pos_loss_weight=real(above=0, at_most=LARGEST, hint=" (auto is for mining)"),
    )

    def __init__(
        self,
        *,
        num_negatives: int | Sequence[int],
        svm_C: float = paper.SVM_C,
        pos_loss_weight: float = paper.POS_LOSS_WEIGHT,
        bias_mult: float = paper.BIAS_MULT,
        neg_overlap: float = paper.NEG_OVERLAP,
        solver: str = "dcd",
        tolerance: float | None = None,
        classes: Sequence[str] | None = None,
        feat_norm_mean: float | None = None,
        n_jobs: int = -1,
        seed: int = paper.SEED,
    ):
        self.num_negatives = num_negatives
        self.svm_C = svm_C
        self.pos_loss_weight = pos_loss_weight
        self.bias_mult = bias_mult
        self.neg_overlap = neg_overlap
        self.solver = solver
        self.tolerance = tolerance
        self.classes = classes
        self.feat_norm_mean = feat_norm_mean
        self.n_jobs = n_jobs
        self.seed = seed

    def fit(self, cache: FeatureCache, y: None = None) -> RandomNegativeTrainer:
        """Train on a feature cache; memory holds the rows that are drawn.

        Args:
            cache: regions and features of the training images.
            y: not used; labels are in the cache.

        Raises:
            InputError: a parameter is out of range, or a class is unknown, or has no ground truth or no negative.
        """
        check_parameters(self)
        columns = class_columns(cache, self.classes)
        counts = self._counts(columns)
        norm = mean_feature_norm(cache, self.seed) if self.feat_norm_mean is None else float(self.feat_norm_mean)
        positives = class_positives(cache, columns)
        negatives = draw_negatives(cache, columns, counts, self.neg_overlap, self.seed)
        examples = [np.concatenate(pair) for pair in zip(positives, negatives, strict=True)]
        regions = np.unique(np.concatenate(examples))
        rows = cache.gather(regions, feature_scale(norm))
        norms = np.einsum("nd,nd->n", rows, rows, dtype=np.float64)

        def solve(c: int) -> SvmSolution:
            problem = SvmProblem.of(
                rows,
                norms,
                np.searchsorted(regions, examples[c]),
                np.arange(len(examples[c])) < len(positives[c]),
                svm_C=self.svm_C,
                pos_loss_weight=self.pos_loss_weight,
                bias_mult=self.bias_mult,
            )
            solver = make_solver(self.solver, self.tolerance)
            solution = solver.solve(problem, None, self.seed + c, None)
            warn_of_gap(solution, solver.tolerance, cache.classes[columns[c]])
            return solution

        # Every class has a thread of its own; those of the matrix library would come on top.
        with (
            ThreadpoolController().limit(limits=1, user_api="blas"),
            progress_bar(len(columns), "training", "class") as bar,
        ):
            parallel = Parallel(n_jobs=self.n_jobs, prefer="threads", return_as="generator")
            solutions = []
            for solution in parallel(delayed(solve)(c) for c in range(len(columns))):
                solutions.append(solution)
                bar.update()
        weights = np.stack([solution.weights for solution in solutions])
        self.detector_ = Detector(
            classes=tuple(cache.classes[column] for column in columns),
            W=np.ascontiguousarray(weights[:, :-1].T, np.float32),
            B=(weights[:, -1] * self.bias_mult).astype(np.float32),
            feat_norm_mean=norm,
            feature_settings=cache.settings,
            training={
                "identity": self.identity(cache),
                "image_set": cache.name,
                "num_images": cache.num_images,
                "num_regions": cache.num_rows,
            },
        )
        self._record(cache, positives, negatives, solutions)
        return self

    def identity(self, cache: FeatureCache) -> dict[str, Any]:
        """Return what decides the result of a training on `cache`: parameters, classes and the cache itself."""
        parameters = {name: value for name, value in self.get_params().items() if name != "n_jobs"}
        columns = class_columns(cache, self.classes)
        parameters["classes"] = [cache.classes[column] for column in columns]
        parameters["num_negatives"] = self._counts(columns)
        return {"training": "random negatives", "parameters": parameters, "cache": cache.fingerprint}

    def save(self, path: str | Path) -> None:
        """Write the detector with the record of its training; `Detector.load` reads it.

        Raises:
            NotFittedError: `fit` was not called.
            InputError: it cannot be written.
        """
        check_is_fitted(self)
        record = training_record(self.history_, self.negatives_, self.support_, self.image_ids_)
        self.detector_.save(path, record)

    def _counts(self, columns: Sequence[int]) -> list[int]:
        """Return how many negatives to draw for every class."""
        given = self.num_negatives
        counts = [int(given)] * len(columns) if isinstance(given, int | np.integer) else [int(n) for n in given]
        if len(counts) != len(columns):
            raise InputError(
                f"num_negatives = {plain(self.num_negatives)} must be one number, or {len(columns)} of them, one per "
                "class"
            )
        return counts

    def _record(
        self,
        cache: FeatureCache,
        positives: list[np.ndarray],
        negatives: list[np.ndarray],
        solutions: list[SvmSolution],
    ) -> None:
        """Set the attributes that say what was drawn and what the training made of it."""
        self.history_ = MiningHistory()
        keys, support, scores = [], [], []
        for c, solution in enumerate(solutions):
            count = len(negatives[c])
            drawn = np.insert(cache.keys(negatives[c]), 0, c, axis=1).astype(np.int32)  # class, image, row
            self.history_.record("added", np.insert(drawn, 1, 0, axis=1))
            update = (c, 0, cache.num_images - 1, len(positives[c]), count, count, count, solution.iterations)
            self.history_.record("updates", [update])
            self.history_.record("update_loss", [solution.loss])
            self.history_.record("update_gap", [solution.relative_gap])
            of_negatives = solution.scores[len(positives[c]) :].astype(np.float32)
            inside = supports(of_negatives)
            keys.append(drawn)
            support.append(drawn[inside])
            scores.append(of_negatives[inside])
        self.negatives_ = np.concatenate(keys)
        self.support_ = np.concatenate(support), np.concatenate(scores)
        self.image_ids_ = cache.image_ids


def draw_negatives(
    cache: FeatureCache, columns: Sequence[int], counts: Sequence[int], neg_overlap: float, seed: int
) -> list[np.ndarray]:
    """Draw regions of every class among those whose IoU with each of its objects is strictly below a bound.

    The result depends on the regions and the seed, not on how the cache is cut into shards.

    Args:
        cache: the regions.
        columns: the classes, by their column in `cache.overlap`.
        counts: how many to draw for each; all there are where there are fewer.
        neg_overlap: the bound.
        seed: seeds the draw.

    Returns:
        (n,) int64 for every class, regions counted over all images, rising.

    Raises:
        InputError: a class has no such region.
    """
    generators = [np.random.default_rng([seed, column]) for column in columns]
    regions = [np.empty(0, np.int64) for _ in columns]
    tickets = [np.empty(0) for _ in columns]
    rules = MiningRules(neg_overlap=neg_overlap)
    for block in cache.blocks():
        for c, column in enumerate(columns):
            ticket = generators[c].random(len(block))
            rows = np.flatnonzero(rules.negative(block.overlap[:, column]))
            found = np.concatenate([regions[c], block.first_region + rows])
            drawn = np.concatenate([tickets[c], ticket[rows]])
            # The lowest numbers win: a uniform draw of which only the winners so far are kept.
            winners = np.sort(np.argsort(drawn, kind="stable")[: counts[c]])
            regions[c], tickets[c] = found[winners], drawn[winners]
    for column, drawn in zip(columns, regions, strict=True):
        if not len(drawn):
            raise InputError(
                f"class {plain(cache.classes[column])!r} has no region with IoU below {neg_overlap:g} in {cache.name}, "
                "so there are no negatives to draw"
            )
    return regions


def negatives_of_model(path: str | Path, classes: Sequence[str]) -> list[int]:
    """Return how many negatives each class was trained on last, in the training that a model file records.

    Raises:
        InputError: the file is damaged, records no training or lacks a class.
    """
    detector, history = Detector.load(path), Detector.load_history(path)
    counts = []
    with reading(path):
        for name in classes:
            number = detector.classes.index(name) if name in detector.classes else -1
            updates = history.get("updates", np.empty((0, 8), np.int32))
            trainings = updates[updates[:, 0] == number]
            if not len(trainings):
                raise InputError(
                    f"{path} records no training of class {plain(name)!r}; give the model of a train stage"
                )
            counts.append(int(trainings[-1, 4]))
    return counts
