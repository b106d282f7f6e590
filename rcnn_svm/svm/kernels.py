"""Scores of many regions by few detectors: the product that reads every feature.

A matrix product as libraries have it is made for square matrices, and slow for one this tall and 10 or 20 columns wide
(`benchmarks/mining.py` prints both: a bare pass, which is numpy's, and the time for scores). Here four regions and five
detectors are multiplied at once, so that every number read is used several times while it is in a register.
"""

from __future__ import annotations

import numba
import numpy as np


def score_regions(features: np.ndarray, weights: np.ndarray, biases: np.ndarray) -> np.ndarray:
    """Return what detectors make of regions; a score does not depend on which other regions are among them.

    Args:
        features: (N, D) float32.
        weights: (K, D) float32.
        biases: (K,) float32.

    Returns:
        (N, K) float32, features @ weights.T + biases.
    """
    scores = np.empty((len(features), len(weights)), np.float32)
    if len(features):
        _score(features, np.ascontiguousarray(weights), biases, scores)
    return scores


@numba.njit(cache=True, nogil=True)
def _score(features, weights, biases, scores):
    last = len(features) - 1
    fives = len(weights) // 5 * 5
    for i in range(0, len(features), 4):
        # The last region stands in for those beyond the end, and is written as often.
        j, k, m = min(i + 1, last), min(i + 2, last), min(i + 3, last)
        a, b, c, d = features[i], features[j], features[k], features[m]
        for n in range(0, fives, 5):
            _five(a, b, c, d, weights[n : n + 5], biases[n : n + 5], scores, i, j, k, m, n)
        for n in range(fives, len(weights)):
            _one(a, b, c, d, weights[n], biases[n], scores, i, j, k, m, n)


@numba.njit(cache=True, nogil=True, fastmath=True)
def _one(a, b, c, d, weights, bias, scores, i, j, k, m, n):
    s0 = s1 = s2 = s3 = np.float32(0)
    for x in range(len(weights)):
        w = weights[x]
        s0 += a[x] * w
        s1 += b[x] * w
        s2 += c[x] * w
        s3 += d[x] * w
    scores[i, n], scores[j, n], scores[k, n], scores[m, n] = s0 + bias, s1 + bias, s2 + bias, s3 + bias


@numba.njit(cache=True, nogil=True, fastmath=True)
def _five(a, b, c, d, weights, biases, scores, i, j, k, m, n):
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
