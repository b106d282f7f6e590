"""Dual coordinate descent with a warm start and a certificate.

The dual of the problem in `problem.py` has one variable per example, 0 <= alpha_i <= c_i, and
w~ = sum_i alpha_i y_i x~_i. Between two trainings of the mining loop few examples change, so the variables of
those that stay are carried over and the solver starts next to the new optimum.

Training time is memory traffic: a cache has thousands of examples of kilobytes each, of which a hundred or two have
weight in the solution. So a round is: choose the examples that matter by their scores; descend by coordinates (Hsieh et
al., ICML 2008) over these only, while they stay in the processor's cache; from the second round that starts from exact
scores, when the bounds that hold at the optimum are known, solve for all free variables at once (a Newton step, which
replaces the long linear tail of coordinate descent); then score all examples, which gives the duality gap and what
matters in the next round. The solver stops on the gap, so what it returns is proven to be that close to the optimum.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg.lapack import dpotrf, dpotrs

from rcnn_svm.errors import InputError
from rcnn_svm.svm.kernels import combine, descend, score_examples
from rcnn_svm.svm.problem import SvmProblem, SvmSolution, losses

# In the mining loop the weights move by more than half their length, so known scores say little: a rough solution on
# the examples with weight and so many of the worst violations is enough to begin with.
HARDEST = 250
FIRST_VIOLATION = 0.3
# What a round that starts from exact scores leaves, divided by ten from one to the next.
VIOLATION = 0.05
# Examples this far outside the margin take part in a round, or 10 times the violation it leaves if that is less.
NEAR = 0.05
# Beyond this many free variables one factorisation costs more than the descent it replaces.
MAX_NEWTON = 1500
# Relative to the diagonal.
RIDGE = 1e-6
# Scores in single precision are good enough to leave this violation.
MIN_SINGLE = 1e-3


@dataclass(frozen=True)
class DualCoordinateDescent:
    """Warm-started solver that stops at a relative duality gap.

    Args:
        tolerance: relative duality gap to reach, (primal - dual) / primal. liblinear's default stopping
            tolerance 0.1 leaves a gap of about 4e-3, at times 6e-2 (`benchmarks/mining.py perf_4096 --gaps`).
        max_rounds: rounds after which the solver returns what it has; the solution holds its gap.
    """

    tolerance: float = 1e-6
    max_rounds: int = 100

    def solve(
        self,
        problem: SvmProblem,
        alpha: np.ndarray | None = None,
        seed: int = 0,
        scores: np.ndarray | None = None,
    ) -> SvmSolution:
        """Solve `problem`, starting from dual variables `alpha` (N,) float64 or from zero.

        `scores` (N,) float32, about those that belong to `alpha`, save the first pass over all examples.

        Raises:
            InputError: `alpha` or `scores` is no number per example.
        """
        for given in (alpha, scores):
            if given is not None and given.shape != problem.slots.shape:
                raise InputError(f"the solver is to start from {given.shape} numbers, expected {problem.slots.shape}")
        rows, slots, y, upper = problem.rows, problem.slots, problem.y, problem.upper
        alpha = np.zeros(len(slots)) if alpha is None else alpha.copy()
        norms = problem.norms[slots] + problem.bias_mult**2
        weights = combine(rows, slots, alpha * y, problem.bias_mult)
        exact = scores is None
        z = score_examples(rows, slots, weights, problem.bias_mult) if scores is None else scores
        violation, rounds, passes = VIOLATION, 0, 0
        while True:
            if exact:
                loss = losses(problem, weights, z)
                dual = float(alpha.sum()) - loss[2]
                if loss[3] - dual <= self.tolerance * loss[3] or rounds >= self.max_rounds:
                    return SvmSolution(weights, alpha, z, loss, dual, passes)
                near = min(NEAR, 10 * violation)
                working, allowed = np.flatnonzero((alpha > 0) | (y * z < 1 + near)), violation
                violation *= 0.1
            else:
                working, allowed = _hardest(alpha, y * z), FIRST_VIOLATION
            single = allowed > MIN_SINGLE
            moving = weights.astype(np.float32) if single else weights
            bias = moving.dtype.type(problem.bias_mult)
            passes += descend(rows, slots, y, upper, norms, alpha, moving, bias, working, allowed, seed + passes)
            if single:
                weights = combine(rows, slots, alpha * y, problem.bias_mult)
            if allowed < VIOLATION:
                _newton(problem, alpha, weights)
            z, exact = score_examples(rows, slots, weights, problem.bias_mult), True
            rounds += 1


def _hardest(alpha: np.ndarray, margins: np.ndarray) -> np.ndarray:
    """Return the examples with weight, and those without that violate their margin most."""
    violating = np.flatnonzero((alpha == 0) & (margins < 1))
    if len(violating) > HARDEST:
        violating = violating[np.argpartition(margins[violating], HARDEST)[:HARDEST]]
    return np.concatenate([np.flatnonzero(alpha > 0), violating])


def _newton(problem: SvmProblem, alpha: np.ndarray, weights: np.ndarray) -> None:
    """Move all free variables together towards the point where their margins are exactly 1, in place.

    A step that would leave the box is cut at the first bound, and every variable on its way out is fixed before
    the others are solved for again: the dual objective never falls, and few factorisations are needed.
    """
    y, upper = problem.y, problem.upper
    free = np.flatnonzero((alpha > 0) & (alpha < upper))
    if not 0 < len(free) <= MAX_NEWTON:
        return
    sign, slots = y[free], problem.slots[free]
    rows = problem.rows[slots]
    gram = (rows @ rows.T).astype(np.float64) + problem.bias_mult**2
    gram *= sign[:, None] * sign
    # Single precision is enough for a direction; the ridge keeps its rounding from making the matrix indefinite.
    gram[np.diag_indices_from(gram)] *= 1 + RIDGE
    inside = np.arange(len(free))
    residual = 1.0 - sign * score_examples(problem.rows, slots, weights, problem.bias_mult)
    start = alpha[free]
    while len(inside):
        # The bare routines: what is around them in SciPy takes as long for matrices this small.
        factor, failed = dpotrf(gram[np.ix_(inside, inside)], lower=1, overwrite_a=1)
        if failed:
            break
        step, _ = dpotrs(factor, residual[inside], lower=1)
        current, bound = alpha[free[inside]], upper[free[inside]]
        with np.errstate(divide="ignore", invalid="ignore"):
            room = np.where(step > 0, (bound - current) / step, np.where(step < 0, -current / step, np.inf))
        length = min(1.0, room.min())
        moved = np.clip(current + length * step, 0.0, bound)
        alpha[free[inside]] = moved
        residual -= gram[:, inside] @ (moved - current)
        if length == 1.0:
            break
        inside = inside[room >= 1.0]
    weights += combine(problem.rows, slots, (alpha[free] - start) * sign, problem.bias_mult)
