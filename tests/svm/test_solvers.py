"""Both solvers against a general-purpose optimiser, and our certificate against the truth."""

from __future__ import annotations

import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from sklearn.exceptions import ConvergenceWarning

from rcnn_svm.svm.dual_coordinate_descent import HARDEST, DualCoordinateDescent, _hardest
from rcnn_svm.svm.kernels import descend, score_examples
from rcnn_svm.svm.liblinear import Liblinear
from rcnn_svm.svm.problem import SvmProblem, losses, warn_of_gap

TIGHT = {"dcd": DualCoordinateDescent(tolerance=1e-11), "liblinear": Liblinear(tolerance=1e-8)}


def make_problem(seed: int, positives: int, negatives: int, dim: int, C: float, weight: float = 2.0) -> SvmProblem:
    rng = np.random.default_rng(seed)
    count = positives + negatives
    y = np.where(np.arange(count) < positives, 1.0, -1.0)
    rows = rng.standard_normal((count + 5, dim)).astype(np.float32)
    slots = rng.permutation(count + 5)[:count]
    rows[slots] += np.float32(0.7) * y[:, None].astype(np.float32)
    return problem_of(rows, slots, y, np.where(y > 0, C * weight, C))


def problem_of(rows, slots, y, upper) -> SvmProblem:
    norms = (rows.astype(np.float64) ** 2).sum(axis=1)
    return SvmProblem(rows=rows, slots=slots, y=y, upper=upper, bias_mult=10.0, norms=norms)


def optimum_by_qp(problem: SvmProblem) -> float:
    """The optimal objective by L-BFGS-B on the dual, which knows nothing of coordinate descent."""
    extended = np.append(problem.rows[problem.slots], np.full((len(problem.slots), 1), problem.bias_mult), axis=1)
    signed = extended.astype(np.float64) * problem.y[:, None]

    def negative_dual(alpha):
        weights = alpha @ signed
        return 0.5 * weights @ weights - alpha.sum(), signed @ weights - 1

    bounds = [(0, c) for c in problem.upper]
    options = {"maxiter": 20000, "maxfun": 100000, "ftol": 1e-15, "gtol": 1e-10}
    result = minimize(negative_dual, np.zeros(len(signed)), jac=True, bounds=bounds, method="L-BFGS-B", options=options)
    return -result.fun


CASES = [(0, 20, 80, 10, 0.01), (1, 5, 200, 30, 1e-3), (2, 40, 40, 4, 1.0), (3, 3, 50, 60, 0.1)]


@pytest.mark.parametrize("solver", TIGHT)
def test_the_line_between_two_numbers(solver):
    """With an object at 4 and a negative at 2 it is x - 3: 1 at the object, -1 at the negative."""
    problem = problem_of(np.array([[4], [2]], np.float32), np.arange(2), np.array([1.0, -1.0]), np.full(2, 100.0))
    solution = TIGHT[solver].solve(problem, None, 0)
    np.testing.assert_allclose(solution.weights, [1, -3 / 10], atol=1e-3)
    np.testing.assert_allclose(solution.scores, [1, -1], atol=1e-3)
    np.testing.assert_allclose(solution.loss, [0, 0, 0.545, 0.545], atol=1e-3)  # (1 + 0.3^2) / 2


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("solver", TIGHT)
def test_reaches_the_optimum(solver, case):
    problem = make_problem(*case)
    solution = TIGHT[solver].solve(problem, None, 0)
    assert solution.loss[3] == pytest.approx(optimum_by_qp(problem), rel=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_both_solvers_agree_on_the_weights(case):
    problem = make_problem(*case)
    ours, theirs = (TIGHT[name].solve(problem, None, 0).weights for name in ("dcd", "liblinear"))
    np.testing.assert_allclose(ours, theirs, atol=1e-5 * np.abs(theirs).max())


@pytest.mark.parametrize("tolerance", [1e-1, 1e-3, 1e-6, 1e-9])
def test_the_gap_is_a_proof(tolerance):
    """What is reported bounds the distance to the true optimum, and reaches the tolerance."""
    for case in CASES:
        problem = make_problem(*case)
        solution = DualCoordinateDescent(tolerance=tolerance).solve(problem)
        best = TIGHT["dcd"].solve(problem).loss[3]
        assert solution.relative_gap <= tolerance
        assert solution.dual <= best * (1 + 1e-9)
        assert solution.loss[3] - best <= (solution.relative_gap + 1e-9) * solution.loss[3]


@given(
    seed=st.integers(0, 1000),
    positives=st.integers(1, 12),
    negatives=st.integers(1, 40),
    dim=st.integers(1, 12),
    C=st.sampled_from([1e-4, 1e-2, 1.0]),
)
@settings(max_examples=60, deadline=None)
def test_solution_satisfies_the_optimality_conditions(seed, positives, negatives, dim, C):
    problem = make_problem(seed, positives, negatives, dim, C)
    solution = DualCoordinateDescent(tolerance=1e-10).solve(problem)
    alpha, margin = solution.alpha, problem.y * solution.scores
    assert (alpha >= 0).all() and (alpha <= problem.upper).all()
    extended = np.append(problem.rows[problem.slots], np.full((len(alpha), 1), problem.bias_mult), axis=1)
    np.testing.assert_allclose(solution.weights, (alpha * problem.y) @ extended, atol=1e-8)
    slack = 1e-3
    assert (margin[alpha == 0] >= 1 - slack).all()
    assert (margin[alpha == problem.upper] <= 1 + slack).all()
    inside = (alpha > 1e-3 * problem.upper) & (alpha < (1 - 1e-3) * problem.upper)
    np.testing.assert_allclose(margin[inside], 1, atol=slack)


def test_warm_start_ends_where_a_cold_start_does():
    problem = make_problem(5, 30, 400, 20, 0.01)
    cold = TIGHT["dcd"].solve(problem)
    warm = TIGHT["dcd"].solve(problem, cold.alpha)
    assert warm.iterations == 0, "an optimal start needs no pass"
    half = np.arange(len(problem.slots)) < 200
    part = problem_of(problem.rows, problem.slots[half], problem.y[half], problem.upper[half])
    start = np.zeros(len(problem.slots))
    start[half] = TIGHT["dcd"].solve(part).alpha
    again = TIGHT["dcd"].solve(problem, start)
    np.testing.assert_allclose(again.weights, cold.weights, atol=1e-6 * np.abs(cold.weights).max())


@pytest.mark.parametrize("known", ["exact", "random", "flattering"])
@pytest.mark.parametrize("negatives", [40, HARDEST + 50, 2000])
def test_known_scores_save_work_but_do_not_decide(known, negatives):
    """As in the mining loop: some examples were trained on, more come with their scores, more than fit in a round."""
    problem = make_problem(8, 20, negatives, 15, 0.01)
    cold = TIGHT["dcd"].solve(problem)
    old = np.arange(len(problem.slots)) < 40
    part = problem_of(problem.rows, problem.slots[old], problem.y[old], problem.upper[old])
    before = TIGHT["dcd"].solve(part)
    alpha = np.zeros(len(problem.slots))
    alpha[old] = before.alpha
    scores = problem.rows[problem.slots] @ before.weights[:-1] + problem.bias_mult * before.weights[-1]
    if known == "random":
        scores = np.random.default_rng(0).standard_normal(len(scores))
    if known == "flattering":  # no example is violated at all
        scores = 100 * problem.y
    start = alpha.copy()
    warm = TIGHT["dcd"].solve(problem, alpha, 0, scores.astype(np.float32))
    np.testing.assert_array_equal(alpha, start, "the caller's variables are left alone")
    assert warm.relative_gap <= 1e-11
    np.testing.assert_allclose(warm.weights, cold.weights, atol=1e-6 * np.abs(cold.weights).max())
    exact = problem.rows[problem.slots] @ warm.weights[:-1] + problem.bias_mult * warm.weights[-1]
    np.testing.assert_allclose(warm.scores, exact, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("violation", [0.3, 0.01])
def test_descent_leaves_no_larger_violation_among_its_examples(violation, dtype):
    problem = make_problem(9, 30, 500, 12, 0.01)
    alpha, weights = np.zeros(len(problem.slots)), np.zeros(13, dtype)
    working = np.random.default_rng(0).permutation(len(alpha))[:300]
    norms = problem.norms[problem.slots] + problem.bias_mult**2
    arrays = problem.rows, problem.slots, problem.y, problem.upper, norms, alpha, weights
    assert 1 < descend(*arrays, dtype(problem.bias_mult), working, violation, 0) < 300
    gradient = problem.y * score_examples(problem.rows, problem.slots, weights.astype(float), problem.bias_mult) - 1
    projected = np.where(alpha == 0, np.minimum(gradient, 0), gradient)
    projected = np.where(alpha == problem.upper, np.maximum(gradient, 0), projected)[working]
    # The last pass found no larger one, but moved the weights a little.
    assert projected.max() - projected.min() <= 2 * violation
    assert not alpha[np.setdiff1d(np.arange(len(alpha)), working)].any()
    rows = np.append(problem.rows[problem.slots], np.full((len(alpha), 1), problem.bias_mult), axis=1)
    np.testing.assert_allclose(weights, (alpha * problem.y) @ rows, atol=1e-5)


def test_rows_beyond_single_precision_do_not_hold_the_solver_up():
    """Rounding alone exceeds the violation that a round in single precision is to leave."""
    problem = make_problem(12, 20, 280, 20, 0.01)
    problem.rows[::97] *= 1e9
    problem = problem_of(problem.rows, problem.slots, problem.y, problem.upper)
    solution = DualCoordinateDescent(1e-9).solve(problem, None, 0, np.zeros(300, np.float32))
    assert solution.relative_gap <= 1e-9
    assert solution.iterations < 1000


@pytest.mark.parametrize("scores", [None, np.zeros(430, np.float32)], ids=["unknown", "known"])
@pytest.mark.parametrize("rounds", [0, 1])
def test_rounds_are_limited_and_the_gap_is_told(rounds, scores):
    problem = make_problem(11, 30, 400, 20, 0.1)
    solution = DualCoordinateDescent(1e-13, max_rounds=rounds).solve(problem, None, 0, scores)
    assert solution.relative_gap > 1e-13
    with pytest.warns(ConvergenceWarning, match="class 'cat': .* above the tolerance 1e-13"):
        warn_of_gap(solution, 1e-13, "cat")


def test_only_what_is_known_of_a_gap_is_told():
    problem = make_problem(12, 10, 40, 5, 0.01)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for solver in TIGHT.values():
            warn_of_gap(solver.solve(problem, None, 0), 1e-11, "cat")
    lost = replace(TIGHT["dcd"].solve(problem), dual=np.nan)
    with pytest.warns(ConvergenceWarning, match="gap of nan"):
        warn_of_gap(lost, 1e-11, "cat")


def test_hardest_are_those_with_weight_and_the_worst_violations():
    rng = np.random.default_rng(0)
    for violating in (HARDEST - 1, HARDEST, 3 * HARDEST):
        margins = rng.permutation(np.concatenate([rng.uniform(-3, 0.99, violating), rng.uniform(1, 3, 500)]))
        alpha = np.where(rng.random(len(margins)) < 0.1, 0.5, 0.0)
        chosen = _hardest(alpha, margins)
        assert len(set(chosen.tolist())) == len(chosen)
        candidates = np.flatnonzero((alpha == 0) & (margins < 1))
        worst = candidates[np.argsort(margins[candidates])[:HARDEST]]
        assert set(chosen.tolist()) == set(np.flatnonzero(alpha).tolist()) | set(worst.tolist())


def test_identical_rows_do_not_stop_the_solver():
    problem = make_problem(6, 10, 30, 8, 0.5)
    problem.rows[problem.slots[12:30]] = problem.rows[problem.slots[11]]
    problem = problem_of(problem.rows, problem.slots, problem.y, problem.upper)
    solution = TIGHT["dcd"].solve(problem)
    assert solution.relative_gap <= 1e-11
    theirs = TIGHT["liblinear"].solve(problem)
    np.testing.assert_allclose(solution.weights, theirs.weights, atol=1e-5 * np.abs(theirs.weights).max())


def test_the_same_seed_gives_the_same_bits():
    problem = make_problem(7, 30, 300, 20, 0.01)
    solver = DualCoordinateDescent(tolerance=1e-4)
    first, second = solver.solve(problem, None, 3), solver.solve(problem, None, 3)
    np.testing.assert_array_equal(first.weights, second.weights)


def test_loss_by_hand():
    rows = np.array([[1.0, 0.0], [0.0, 1.0], [2.0, 2.0]], np.float32)
    problem = problem_of(rows, np.array([0, 1, 2]), np.array([1.0, -1.0, -1.0]), np.array([0.2, 0.1, 0.1]))
    weights = np.array([0.5, -2.0, 0.01])
    scores = np.array([0.6, -1.9, -2.9])
    assert losses(problem, weights, scores) == pytest.approx((0.08, 0.0, 2.12505, 2.20505))


def test_liblinear_in_several_threads_draws_what_it_draws_alone():
    problems = [make_problem(seed, 30, 200, 8, 1.0) for seed in range(12)]
    alone = [Liblinear().solve(problem, seed=seed).weights for seed, problem in enumerate(problems)]
    with ThreadPoolExecutor(4) as threads:
        together = threads.map(lambda seed: Liblinear().solve(problems[seed], seed=seed).weights, range(12))
        np.testing.assert_array_equal(list(together), alone)
