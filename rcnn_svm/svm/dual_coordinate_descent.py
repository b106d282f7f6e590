"""Dual coordinate descent with a warm start and a certificate.

The dual of the problem in `problem.py` has one variable per example, 0 <= alpha_i <= c_i, and
w~ = sum_i alpha_i y_i x~_i. Between two trainings of the mining loop few examples change, so the variables of
those that stay are carried over and the solver starts next to the new optimum.

A round is: descend by coordinates (Hsieh et al., ICML 2008) over the examples that can move, then with those near
the margin; then, from the second round on, when the bounds that hold at the optimum are known, solve for all free
variables at once (a Newton step, which replaces the long linear tail of coordinate descent); then measure the duality
gap over all examples. The solver stops on the gap, so what it returns is proven to be that close to the optimum.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
from scipy.linalg.lapack import dpotrf, dpotrs

from rcnn_svm.svm.problem import SvmProblem, SvmSolution, losses

# Beyond this many free variables one factorisation costs more than the descent it replaces.
MAX_NEWTON = 1500
# Relative to the diagonal.
RIDGE = 1e-6
# An example without weight in the solution is set aside once its margin is exceeded by this.
SLACK = 0.05
# An example within this many times the violation that a round allows beyond the margin is looked at again before the
# round ends. That is far in the first: the weights of a class change by more than half their length, and known scores
# tell little.
NEAR = 10


@dataclass(frozen=True)
class DualCoordinateDescent:
    """Warm-started solver that stops at a relative duality gap.

    Args:
        tolerance: relative duality gap to reach, (primal - dual) / primal. liblinear's default stopping
            tolerance 0.1 leaves a gap of about 1e-2.
        max_rounds: rounds after which the solver returns what it has; the solution tells its gap.
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
        """
        rows, slots, y, upper = problem.rows, problem.slots, problem.y, problem.upper
        alpha = np.zeros(len(slots)) if alpha is None else alpha.copy()
        norms = problem.norms[slots] + problem.bias_mult**2
        weights = _combine(rows, slots, alpha * y, problem.bias_mult)
        exact = scores is None
        if exact:
            scores = _score(rows, slots, weights, problem.bias_mult)
        violation, rounds, passes = 0.05, 0, 0
        while True:
            if exact:
                loss = losses(problem, weights, scores)
                dual = float(alpha.sum()) - loss[2]
                if loss[3] - dual <= self.tolerance * loss[3] or rounds == self.max_rounds:
                    return SvmSolution(weights, alpha, scores, loss, dual, passes)
            movable = (alpha > 0) | (y * scores < 1)
            resting = np.flatnonzero(~movable & (y * scores < 1 + NEAR * violation))
            passes += _descend(
                rows,
                slots,
                y,
                upper,
                norms,
                alpha,
                weights,
                problem.bias_mult,
                np.flatnonzero(movable),
                resting,
                violation,
                seed + passes,
            )
            if rounds:
                _newton(problem, alpha, weights)
            scores, exact = _score(rows, slots, weights, problem.bias_mult), True
            violation *= 0.1
            rounds += 1


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
    residual = 1.0 - sign * _score(problem.rows, slots, weights, problem.bias_mult)
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
    weights += _combine(problem.rows, slots, (alpha[free] - start) * sign, problem.bias_mult)


@numba.njit(cache=True, nogil=True, fastmath=True)
def _dot(row, weights, bias_mult):
    total = 0.0
    for d in range(len(row)):
        total += row[d] * weights[d]
    return total + bias_mult * weights[len(row)]


@numba.njit(cache=True, nogil=True, fastmath=True)
def _add(weights, row, factor, bias_mult):
    for d in range(len(row)):
        weights[d] += factor * row[d]
    weights[len(row)] += factor * bias_mult


@numba.njit(cache=True, nogil=True, fastmath=True)
def _dot_four(a, b, c, d, weights, bias_mult, scores):
    """Score four rows at once: their reads overlap, and the weights are read once for all of them."""
    s = t = u = v = bias_mult * weights[len(a)]
    for k in range(len(a)):
        weight = weights[k]
        s += a[k] * weight
        t += b[k] * weight
        u += c[k] * weight
        v += d[k] * weight
    scores[0], scores[1], scores[2], scores[3] = s, t, u, v


@numba.njit(cache=True, nogil=True)
def _score(rows, slots, weights, bias_mult):
    scores = np.empty(len(slots))
    whole = len(slots) // 4 * 4
    for i in range(0, whole, 4):
        a, b, c, d = slots[i], slots[i + 1], slots[i + 2], slots[i + 3]
        _dot_four(rows[a], rows[b], rows[c], rows[d], weights, bias_mult, scores[i : i + 4])
    for i in range(whole, len(slots)):
        scores[i] = _dot(rows[slots[i]], weights, bias_mult)
    return scores


@numba.njit(cache=True, nogil=True)
def _combine(rows, slots, factors, bias_mult):
    weights = np.zeros(rows.shape[1] + 1)
    for i in range(len(slots)):
        if factors[i] != 0.0:
            _add(weights, rows[slots[i]], factors[i], bias_mult)
    return weights


@numba.njit(cache=True, nogil=True)
def _descend(rows, slots, y, upper, norms, alpha, weights, bias_mult, movable, resting, violation, seed):
    """Coordinate descent until no margin is violated by more than `violation`; in place.

    It goes over the examples in `movable` first, of which those that sit firmly at a bound are set aside, at the lower
    one sooner than in liblinear: most hard negatives are no support vectors after all. Once these are done, those in
    `resting` join, and those that were set aside at the upper bound or near the margin, as the weights have moved since
    they were looked at. It saves most of the passes over every example that the caller would need to
    find them.
    Returns the number of passes.
    """
    np.random.seed(seed)  # noqa: NPY002  (numba's own generator, one per thread)
    active = np.empty(len(movable) + len(resting), np.int64)
    active[: len(movable)] = movable
    count = len(movable)
    aside = np.empty(len(active), np.int64)
    aside[: len(resting)] = resting
    num_aside = len(resting)
    widened, first_look = False, True
    ahead = np.empty(4)
    last_min = -np.inf
    for passes in range(1, 1001):
        for i in range(count - 1, 0, -1):
            j = np.random.randint(0, i + 1)  # noqa: NPY002
            active[i], active[j] = active[j], active[i]
        largest, smallest = -np.inf, np.inf
        first = kept = 0
        steady = False
        while first < count:
            # Four are scored together until one moves; all are at the first look, when memory is what takes the time.
            together = 4 if (steady or first_look) and first + 4 <= count else 1
            if together == 4:
                a, b, c, d = active[first], active[first + 1], active[first + 2], active[first + 3]
                _dot_four(rows[slots[a]], rows[slots[b]], rows[slots[c]], rows[slots[d]], weights, bias_mult, ahead)
            steady = True
            for j in range(together):
                i = active[first + j]
                row = rows[slots[i]]
                score = ahead[j] if together == 4 and steady else _dot(row, weights, bias_mult)
                gradient = y[i] * score - 1.0
                projected = gradient
                leaves = False
                if alpha[i] == 0.0:
                    leaves = gradient > SLACK
                    projected = min(gradient, 0.0)
                elif alpha[i] == upper[i]:
                    leaves = gradient < last_min
                    projected = max(gradient, 0.0)
                if leaves:
                    if not widened and gradient < NEAR * violation:
                        aside[num_aside] = i
                        num_aside += 1
                    continue
                active[kept] = i
                kept += 1
                largest = max(largest, projected)
                smallest = min(smallest, projected)
                if abs(projected) > 1e-14:
                    value = min(max(alpha[i] - gradient / norms[i], 0.0), upper[i])
                    _add(weights, row, (value - alpha[i]) * y[i], bias_mult)
                    alpha[i] = value
                    steady = False
            first += together
        count, first_look = kept, False
        last_min = smallest if smallest < 0 else -np.inf
        if largest - smallest <= violation:
            if widened:
                return passes
            widened, first_look, last_min = True, True, -np.inf
            active[count : count + num_aside] = aside[:num_aside]
            count += num_aside
    return 1000
