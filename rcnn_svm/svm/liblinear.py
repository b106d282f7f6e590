"""liblinear through scikit-learn: the published behaviour, and an independent check of our own solver."""

from __future__ import annotations

import threading
import warnings
from dataclasses import dataclass

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.svm import LinearSVC

from rcnn_svm import paper
from rcnn_svm.errors import InputError
from rcnn_svm.svm.problem import SvmProblem, SvmSolution, losses

# All of liblinear in a process draws from one generator, so that two fits at once would each see half of its numbers.
_ONE_AT_A_TIME = threading.Lock()


@dataclass(frozen=True)
class Liblinear:
    """liblinear's dual solver for the hinge loss (`-s 3`), from scratch at every training.

    Args:
        tolerance: liblinear's stopping tolerance on the projected gradient; 0.1 is its default and the
            original's setting.
        max_passes: passes over the data after which liblinear gives up, which is an InputError.
    """

    tolerance: float = paper.LIBLINEAR_TOLERANCE
    max_passes: int = 10_000_000

    def solve(
        self,
        problem: SvmProblem,
        alpha: np.ndarray | None = None,
        seed: int = 0,
        scores: np.ndarray | None = None,
    ) -> SvmSolution:
        """Solve `problem`; liblinear has no warm start, so `alpha` and `scores` are not used."""
        model = LinearSVC(
            loss="hinge",
            dual=True,
            C=1.0,
            tol=self.tolerance,
            intercept_scaling=problem.bias_mult,
            max_iter=self.max_passes,
            random_state=seed,
        )
        rows = problem.rows[problem.slots].astype(np.float64)
        with _ONE_AT_A_TIME, warnings.catch_warnings():
            warnings.simplefilter("error", ConvergenceWarning)
            try:
                model.fit(rows, problem.y, sample_weight=problem.upper)
            except ConvergenceWarning as warning:
                raise InputError(
                    f"liblinear did not reach tolerance {self.tolerance:g} in {self.max_passes} passes; raise it"
                ) from warning
        weights = np.append(model.coef_[0], model.intercept_[0] / problem.bias_mult)
        scores = rows @ weights[:-1] + model.intercept_[0]
        return SvmSolution(
            weights=weights,
            alpha=None,
            scores=scores,
            loss=losses(problem, weights, scores),
            dual=float("nan"),
            iterations=int(model.n_iter_),
        )
