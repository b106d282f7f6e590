"""Numbers, sizes and names in words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_LONGEST = 60


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """Return a number and its noun: "1 image", "1,200 images"."""
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"


def spread_in_words(values: Sequence[float] | np.ndarray, spec: str = ",.0f") -> str:
    """Return the range and the median of numbers, or "-" for none."""
    if not len(values):
        return "-"
    low, middle, high = (format(float(value), spec) for value in (np.min(values), np.median(values), np.max(values)))
    return low if low == high else f"{low} to {high}, median {middle}"


def size_in_words(num_bytes: int) -> str:
    """Return a number of bytes as "1.2 MB"."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if num_bytes >= size:
            return f"{num_bytes / size:,.1f} {unit}"
    return counted(num_bytes, "byte")


def shortened(text: str, width: int = _LONGEST, tail: int | None = None) -> str:
    """Return text of at most `width` letters, its middle left out where it is longer; the last `tail` stay, or half."""
    if len(text) <= width:
        return text
    tail = (width - 3) // 2 if tail is None else tail
    return f"{text[: width - 3 - tail]}...{text[-tail:]}"


def names_in_words(names: Sequence[str], limit: int = 5) -> str:
    """Return names in a row, the first of them where they are many."""
    shown = ", ".join(shortened(name, 24) for name in names[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit:,} more"
