"""How far two arrays differ, and which rows of two tables belong together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from rcnn_svm.reports.difference.result import Step, differs, same
from rcnn_svm.words import counted


def how_far(a: np.ndarray, b: np.ndarray) -> dict[str, Any]:
    """Return how far two arrays of numbers of one shape differ; NaN equals NaN.

    Returns:
        `values` in all and `differing`; of those that differ the `largest` and the `median` difference; `relative`, the
        largest in units of the largest number of `a`; `first`, the index of the first one, and its values `first_a` and
        `first_b`. The last six only where one differs. JSON-able.
    """
    a64, b64 = np.asarray(a, np.float64), np.asarray(b, np.float64)
    wrong = (a64 != b64) & ~(np.isnan(a64) & np.isnan(b64))
    figures: dict[str, Any] = {"values": int(a64.size), "differing": int(wrong.sum())}
    if not figures["differing"]:
        return figures
    by = np.abs(a64[wrong] - b64[wrong])
    first = np.unravel_index(int(wrong.argmax()), wrong.shape)
    size = float(np.nan_to_num(np.abs(a64)).max())
    return {
        **figures,
        "largest": float(by.max()),
        "median": float(np.median(by)),
        "relative": float(by.max()) / size if size else None,
        "first": [int(place) for place in first],
        "first_a": float(a64[first]),
        "first_b": float(b64[first]),
    }


def far_in_words(figures: Mapping[str, Any], where: str) -> str:
    """Return what `how_far` found, of values that differ; `where` says where the first of them is."""
    relative = "" if figures["relative"] is None else f" ({figures['relative']:.2g} of the largest number)"
    return (
        f"{figures['differing']:,} of {figures['values']:,} numbers differ, by {figures['median']:.2g} in the median "
        f"and {figures['largest']:.2g} at most{relative}; the first {where}: {figures['first_a']:.7g} in A, "
        f"{figures['first_b']:.7g} in B"
    )


def numbers_step(name: str, a: Mapping[str, np.ndarray], b: Mapping[str, np.ndarray]) -> Step:
    """Return the comparison of the named arrays of two models, all numbers.

    Args:
        name: name of the step.
        a, b: arrays by name.
    """
    only = [
        f"{key} only in {side}"
        for side, ours, theirs in (("A", a, b), ("B", b, a))
        for key in ours
        if key not in theirs
    ]
    shapes = [
        f"{key} is {_shape(a[key])} in A, {_shape(b[key])} in B"
        for key in a
        if key in b and a[key].shape != b[key].shape
    ]
    if only or shapes:
        return differs(name, "; ".join([*only, *shapes]))
    found = {key: how_far(a[key], b[key]) for key in a}
    wrong = {key: figures for key, figures in found.items() if figures["differing"]}
    total = sum(figures["values"] for figures in found.values())
    if not wrong:
        return same(name, counted(total, "number"), values=total)
    key, figures = next(iter(wrong.items()))
    others = f"; so do {', '.join([*wrong][1:])}" if len(wrong) > 1 else ""
    place = ", ".join(map(str, figures["first"]))
    return differs(name, f"{key}: {far_in_words(figures, f'at ({place})')}{others}", arrays=wrong)


def _shape(array: np.ndarray) -> str:
    return " x ".join(map(str, array.shape)) or "a number"


def match_rows(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return which rows of two tables are equal, the n-th of several with the n-th.

    Args:
        a: (N, C) numbers.
        b: (M, C) numbers.

    Returns:
        (n,) int64 rows of `a`, ascending, and (n,) int64 those of `b` that are equal to them.
    """
    together = np.concatenate([a, b])
    _, number = np.unique(together, axis=0, return_inverse=True)
    number = number.reshape(-1)
    sides = [_with_occurrence(number[: len(a)]), _with_occurrence(number[len(a) :])]
    base = 1 + max((int(side[:, 1].max()) for side in sides if len(side)), default=0)
    keys_a, keys_b = (side[:, 0] * base + side[:, 1] for side in sides)
    _, rows_a, rows_b = np.intersect1d(keys_a, keys_b, assume_unique=True, return_indices=True)
    order = np.argsort(rows_a)
    return rows_a[order], rows_b[order]


def _with_occurrence(numbers: np.ndarray) -> np.ndarray:
    """Return (N, 2) int64, numbers and how often each stood before."""
    order = np.argsort(numbers, kind="stable")
    ordered = numbers[order]
    occurrence = np.empty(len(numbers), np.int64)
    occurrence[order] = np.arange(len(numbers)) - np.searchsorted(ordered, ordered)
    return np.stack([numbers, occurrence], axis=1).astype(np.int64)
