"""The compiled loops of scoring and solving, where nearly all the time of a training goes.

Scoring waits for memory, so it takes four rows at a time. Reads of four rows overlap where those of one would wait for
each other, the sums of four rows do not wait for each other either, and every weight is read once for all of them. More
rows than four gained nothing. Against many detectors, five are multiplied with the four rows at once: twenty sums and
what they need fit the processor's registers. A matrix product as libraries have it is made for square matrices, and
slow for one this tall and 10 or 20 columns wide (`benchmarks/mining.py` prints both).
"""

from __future__ import annotations

import numpy as np

from rcnn_svm.compiled import compiled
from rcnn_svm.errors import InputError

# An example without weight in the solution is set aside once its margin is exceeded by this.
SLACK = 0.02


def score_regions(features: np.ndarray, weights: np.ndarray, biases: np.ndarray) -> np.ndarray:
    """Return the scores of regions by some detectors; a score does not depend on which other regions are among them.

    Args:
        features: (N, D) float32.
        weights: (K, D) float32.
        biases: (K,) float32.

    Returns:
        (N, K) float32, features @ weights.T + biases.

    Raises:
        InputError: the arrays do not fit together.
    """
    # The compiled loops look at no bounds.
    if features.ndim != 2 or weights.shape[1:] != features.shape[1:] or biases.shape != weights.shape[:1]:
        raise InputError(
            f"features of shape {features.shape}, weights {weights.shape} and biases {biases.shape} do not fit "
            "together; expected (N, D), (K, D) and (K,)"
        )
    scores = np.empty((len(features), len(weights)), np.float32)
    if len(features):
        _score_regions(features, np.ascontiguousarray(weights), biases, scores)
    return scores


@compiled()
def _score_regions(features, weights, biases, scores):
    last = len(features) - 1
    fives = len(weights) // 5 * 5
    for i in range(0, len(features), 4):
        # The last region stands in for those beyond the end, and is written as often.
        j, k, m = min(i + 1, last), min(i + 2, last), min(i + 3, last)
        a, b, c, d = features[i], features[j], features[k], features[m]
        for n in range(0, fives, 5):
            _four_by_five(a, b, c, d, weights[n : n + 5], biases[n : n + 5], scores, i, j, k, m, n)
        for n in range(fives, len(weights)):
            _four_by_one(a, b, c, d, weights[n], biases[n], scores, i, j, k, m, n)


@compiled(fastmath=True)
def _four_by_one(a, b, c, d, weights, bias, scores, i, j, k, m, n):
    s0 = s1 = s2 = s3 = np.float32(0)
    for x in range(len(weights)):
        w = weights[x]
        s0 += a[x] * w
        s1 += b[x] * w
        s2 += c[x] * w
        s3 += d[x] * w
    scores[i, n], scores[j, n], scores[k, n], scores[m, n] = s0 + bias, s1 + bias, s2 + bias, s3 + bias


@compiled(fastmath=True)
def _four_by_five(a, b, c, d, weights, biases, scores, i, j, k, m, n):
    w0, w1, w2, w3, w4 = weights[0], weights[1], weights[2], weights[3], weights[4]
    a0 = a1 = a2 = a3 = a4 = b0 = b1 = b2 = b3 = b4 = np.float32(0)
    c0 = c1 = c2 = c3 = c4 = d0 = d1 = d2 = d3 = d4 = np.float32(0)
    for x in range(len(a)):
        p, q, r, s = a[x], b[x], c[x], d[x]
        w = w0[x]
        a0 += p * w
        b0 += q * w
        c0 += r * w
        d0 += s * w
        w = w1[x]
        a1 += p * w
        b1 += q * w
        c1 += r * w
        d1 += s * w
        w = w2[x]
        a2 += p * w
        b2 += q * w
        c2 += r * w
        d2 += s * w
        w = w3[x]
        a3 += p * w
        b3 += q * w
        c3 += r * w
        d3 += s * w
        w = w4[x]
        a4 += p * w
        b4 += q * w
        c4 += r * w
        d4 += s * w
    totals = (i, (a0, a1, a2, a3, a4)), (j, (b0, b1, b2, b3, b4)), (k, (c0, c1, c2, c3, c4)), (m, (d0, d1, d2, d3, d4))
    for row, sums in totals:
        for t in range(5):
            scores[row, n + t] = sums[t] + biases[t]


@compiled(fastmath=True)
def _dot(row, weights, bias_mult):
    total = bias_mult * weights[len(row)]
    for d in range(len(row)):
        total += row[d] * weights[d]
    return total


@compiled(fastmath=True)
def _add(weights, row, factor, bias_mult):
    factor = weights.dtype.type(factor)
    for d in range(len(row)):
        weights[d] += factor * row[d]
    weights[len(row)] += factor * bias_mult


@compiled(fastmath=True)
def _dot_four(a, b, c, d, weights, bias_mult, scores):
    s = t = u = v = bias_mult * weights[len(a)]
    for k in range(len(a)):
        weight = weights[k]
        s += a[k] * weight
        t += b[k] * weight
        u += c[k] * weight
        v += d[k] * weight
    scores[0], scores[1], scores[2], scores[3] = s, t, u, v


@compiled()
def score_examples(rows, slots, weights, bias_mult):
    """Return the scores of some rows by one detector.

    Args:
        rows: (M, D) float32.
        slots: (N,) int64, which rows.
        weights: (D + 1,) float64 or float32; the last entry belongs to the bias.
        bias_mult: value of the feature that carries the bias, in the precision of `weights`.

    Returns:
        (N,) float64.
    """
    scores = np.empty(len(slots))
    whole = len(slots) // 4 * 4
    for i in range(0, whole, 4):
        a, b, c, d = slots[i], slots[i + 1], slots[i + 2], slots[i + 3]
        _dot_four(rows[a], rows[b], rows[c], rows[d], weights, bias_mult, scores[i : i + 4])
    for i in range(whole, len(slots)):
        scores[i] = _dot(rows[slots[i]], weights, bias_mult)
    return scores


@compiled()
def combine(rows, slots, factors, bias_mult):
    """Return the sum of some rows, each times its factor (N,) float64, (D + 1,) float64, as `score_examples` has it."""
    weights = np.zeros(rows.shape[1] + 1)
    for i in range(len(slots)):
        if factors[i] != 0.0:
            _add(weights, rows[slots[i]], factors[i], bias_mult)
    return weights


@compiled()
def descend(rows, slots, y, upper, norms, alpha, weights, bias_mult, working, violation, seed):
    """Coordinate descent until no margin of the examples `working` is violated by more than `violation`; in place.

    Examples that sit firmly at a bound are set aside until the others are done, at the lower bound sooner than in
    liblinear: most hard negatives are no support vectors after all.
    Returns the number of passes.
    """
    np.random.seed(seed)  # noqa: NPY002  (numba's own generator, one per thread)
    active = working.copy()
    count = len(active)
    last_min = -np.inf
    # In single precision the violation may be below what a score is good for: the next round is for that.
    limit = 300 if weights.itemsize == 4 else 1000
    for passes in range(1, limit + 1):
        for i in range(count - 1, 0, -1):
            j = np.random.randint(0, i + 1)  # noqa: NPY002
            active[i], active[j] = active[j], active[i]
        largest, smallest = -np.inf, np.inf
        kept = 0
        for place in range(count):
            i = active[place]
            row = rows[slots[i]]
            gradient = y[i] * np.float64(_dot(row, weights, bias_mult)) - 1.0
            projected = gradient
            leaves = False
            if alpha[i] == 0.0:
                leaves = gradient > SLACK
                projected = min(gradient, 0.0)
            elif alpha[i] == upper[i]:
                leaves = gradient < last_min
                projected = max(gradient, 0.0)
            if leaves:
                continue
            active[place], active[kept] = active[kept], i
            kept += 1
            largest = max(largest, projected)
            smallest = min(smallest, projected)
            if abs(projected) > 1e-14:
                value = min(max(alpha[i] - gradient / norms[i], 0.0), upper[i])
                _add(weights, row, (value - alpha[i]) * y[i], bias_mult)
                alpha[i] = value
        whole = count == len(active)
        count = kept
        last_min = smallest if smallest < 0 else -np.inf
        if largest - smallest <= violation:
            if whole:
                return passes
            count, last_min = len(active), -np.inf
    return limit


@compiled(fastmath=True)
def copy_scaled(features, indices, scale, rows, norms, slots):
    """Copy rows times `scale` into places, with their squared norms."""
    for i in range(len(indices)):
        source, target = features[indices[i]], rows[slots[i]]
        norm = np.float32(0)  # the solver's steps need no more precision
        for d in range(len(source)):
            value = source[d] * scale
            target[d] = value
            norm += value * value
        norms[slots[i]] = norm
