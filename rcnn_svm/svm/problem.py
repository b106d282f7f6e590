"""The linear SVM of R-CNN: what is minimised, and what a solver hands back.

With x~ = [x, bias_mult] and w~ = [w, b / bias_mult]:

    minimise  0.5 |w~|^2 + sum_i c_i max(0, 1 - y_i w~.x~_i)

with c_i = C for negatives and C * pos_loss_weight for positives;
that is liblinear's `-s 3`: hinge loss, the bias regularised like the weights.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from rcnn_svm.errors import InputError
from rcnn_svm.parameters import plain


@dataclass(frozen=True)
class SvmProblem:
    """One class against the rest, over rows that stay where they are.

    Attributes:
        rows: (M, D) float32, a pool of scaled feature rows, shared by the problems of all classes.
        slots: (N,) int64, the rows of the pool that are this problem's examples.
        y: (N,) float64, +1 for positives, -1 for negatives.
        upper: (N,) float64, c_i: the weight of an example's loss and the bound of its dual variable.
        bias_mult: value of the feature that carries the bias.
        norms: (M,) float64, squared L2 norms of `rows`.
    """

    rows: np.ndarray
    slots: np.ndarray
    y: np.ndarray
    upper: np.ndarray
    bias_mult: float
    norms: np.ndarray

    def __post_init__(self) -> None:
        # The compiled loops look at no bounds.
        count = len(self.slots)
        fits = self.y.shape == self.upper.shape == (count,) and self.rows.ndim == 2
        if not fits or self.norms.shape != self.rows.shape[:1]:
            raise InputError(
                f"an SVM problem of rows {self.rows.shape} with norms {self.norms.shape}, {count} slots, y "
                f"{self.y.shape} and upper {self.upper.shape} does not fit together"
            )
        if count and not 0 <= self.slots.min() <= self.slots.max() < len(self.rows):
            raise InputError(f"an SVM problem has slots beyond its {len(self.rows)} rows")

    @classmethod
    def of(
        cls,
        rows: np.ndarray,
        norms: np.ndarray,
        slots: np.ndarray,
        positive: np.ndarray,
        *,
        svm_C: float,
        pos_loss_weight: float,
        bias_mult: float,
    ) -> SvmProblem:
        """Return the problem of a class.

        Args:
            rows, norms, slots, bias_mult: as above.
            positive: (N,) bool, which examples are positives.
            svm_C: weight of the hinge loss against the regulariser.
            pos_loss_weight: weight of a positive's loss relative to a negative's.
        """
        y, upper = np.where(positive, 1.0, -1.0), np.where(positive, svm_C * pos_loss_weight, svm_C)
        return cls(rows=rows, slots=slots, y=y, upper=upper, bias_mult=bias_mult, norms=norms)


@dataclass(frozen=True)
class SvmSolution:
    """A solved problem.

    Attributes:
        weights: (D + 1,) float64, w~; the last entry times bias_mult is the bias.
        alpha: (N,) float64 dual variables, or None from a solver that does not give them.
        scores: (N,) float64, w~.x~ of every example.
        loss: weighted hinge losses of the positives, of the negatives, the regulariser, and their sum.
        dual: dual objective, a lower bound of the optimum; NaN from a solver that does not give it.
        iterations: passes over the examples, in the solver's own count.
    """

    weights: np.ndarray
    alpha: np.ndarray | None
    scores: np.ndarray
    loss: tuple[float, float, float, float]
    dual: float
    iterations: int

    @property
    def relative_gap(self) -> float:
        """(primal - dual) / primal: no weights can have an objective lower than by this fraction."""
        return (self.loss[3] - self.dual) / self.loss[3]


def warn_of_gap(solution: SvmSolution, tolerance: float, name: str) -> None:
    """Warn, in the name of a class, of a solution above the gap to reach, if its solver gives the gap."""
    if solution.alpha is not None and not solution.relative_gap <= tolerance:
        warnings.warn(
            f"class {plain(name)!r}: the solver stopped at a relative gap of {solution.relative_gap:.1e}, above the "
            f"tolerance {tolerance:g}",
            ConvergenceWarning,
            stacklevel=3,
        )


class SvmSolver(Protocol):
    """Solves the problems of the mining loop; `tolerance` says how well, in the solver's own measure."""

    @property
    def tolerance(self) -> float: ...

    def solve(self, problem: SvmProblem, alpha: np.ndarray | None, seed: int, scores: np.ndarray | None) -> SvmSolution:
        """Solve `problem`, starting from dual variables `alpha` (or from zero).

        `scores` (N,) float32 are about those that belong to `alpha`: they say which examples matter at first.
        """
        ...


def losses(problem: SvmProblem, weights: np.ndarray, scores: np.ndarray) -> tuple[float, float, float, float]:
    """Return the objective by part: positives' loss, negatives' loss, regulariser, total.

    Source: `update_model` of rcnn_train.m, which logs the same four.
    """
    hinge = problem.upper * np.maximum(0.0, 1.0 - problem.y * scores)
    positive = float(hinge[problem.y > 0].sum())
    negative = float(hinge[problem.y < 0].sum())
    regulariser = 0.5 * float(weights @ weights)
    return positive, negative, regulariser, positive + negative + regulariser
