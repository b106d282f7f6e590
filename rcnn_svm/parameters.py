"""Checks of hyper-parameters: a class declares what each of its parameters may be, and one place writes the sentences.

A class with hyper-parameters has `PARAMETER_CHECKS`, a `Check` for each parameter, and calls `check_parameters(self)`:
where it has a `fit`, at its beginning, as scikit-learn's conventions ask, else at the end of `__init__`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from operator import ge, gt, le, lt
from types import MappingProxyType
from typing import Any

import numpy as np

from rcnn_svm.errors import InputError


@dataclass(frozen=True)
class Check:
    """What a parameter may be. `first | second` accepts what either of them accepts.

    Attributes:
        accepts: returns whether a value is allowed, for values of any type.
        expected: completes the sentence "NAME = VALUE must be".
    """

    accepts: Callable[[Any], bool]
    expected: str

    def __or__(self, other: Check) -> Check:
        return Check(lambda value: self.accepts(value) or other.accepts(value), f"{self.expected}, or {other.expected}")


def real(
    *,
    above: float | None = None,
    at_least: float | None = None,
    below: float | None = None,
    at_most: float | None = None,
    kind: type[Any] = Real,
    noun: str = "a number",
    hint: str = "",
) -> Check:
    """Accept finite numbers within bounds; NaN, truth values and text are none. `hint` follows the bounds."""
    named = ((gt, "above", above), (ge, "at least", at_least), (lt, "below", below), (le, "at most", at_most))
    bounds: list[tuple[Callable[[Any, Any], bool], str, float]] = [
        (holds, word, bound) for holds, word, bound in named if bound is not None
    ]

    def accepts(value: Any) -> bool:
        if not isinstance(value, kind) or isinstance(value, bool) or not abs(value) < math.inf:
            return False
        return all(holds(value, bound) for holds, _, bound in bounds)

    words = " and ".join(f"{word} {bound:.10g}" for _, word, bound in bounds)
    if at_least is not None and at_most is not None:
        words = f"between {at_least:.10g} and {at_most:.10g}"
    return Check(accepts, f"{noun} {'of ' * words.startswith('at')}{words}".strip() + hint)


def whole(*, at_least: int | None = None, at_most: int | None = None) -> Check:
    """Accept whole numbers within bounds, of Python or numpy: 3, not 3.0."""
    return real(at_least=at_least, at_most=at_most, kind=Integral, noun="a whole number")


def one_of(choices: Collection[str]) -> Check:
    """Accept some words."""
    words = list(choices)
    expected = f"the word {words[0]}" if len(words) == 1 else f"one of {', '.join(words)}"
    return Check(lambda value: isinstance(value, str) and value in words, expected)


def list_of(item: Check, noun: str) -> Check:
    """Accept a non-empty list, tuple or array whose members `item` accepts; `noun` says what it is."""

    def accepts(value: Any) -> bool:
        return isinstance(value, (list, tuple, np.ndarray)) and len(value) > 0 and all(map(item.accepts, value))

    return Check(accepts, noun)


# An array of so few numbers is shown as a list.
SHORT = 10
INFINITY = Check(lambda value: isinstance(value, Real) and value == math.inf, "infinity")
NONE = Check(lambda value: value is None, "None")
FLAG = Check(lambda value: isinstance(value, bool), "True or False")
NAMES = list_of(Check(lambda value: isinstance(value, str), "a name"), "a list of names")
SEED = whole(at_least=0, at_most=2**31 - 1)
THREADS = Check(lambda value: whole().accepts(value) and value != 0, "a number of threads, or -1 for every core")


def checks(**by_name: Check) -> Mapping[str, Check]:
    """Return a declaration of parameters, a check by name."""
    return MappingProxyType(by_name)


def plain(value: Any) -> Any:
    """Return a number or text of numpy as Python's, alone or in a collection, for a sentence: 2 for np.int64(2)."""
    if type(value) in (list, tuple, set, frozenset):
        return type(value)(map(plain, value))
    if type(value) is dict:
        return {plain(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray) and (value.size <= SHORT or value.dtype == object):
        return plain(value.tolist())
    return value.item() if isinstance(value, np.generic) else value


def check_values(values: Mapping[str, Any], declared: Mapping[str, Check]) -> None:
    """Check values by name.

    Raises:
        InputError: a check does not accept the value of its name.
    """
    for name, value in values.items():
        if not declared[name].accepts(value):
            raise InputError(f"{name} = {plain(value)!r} must be {declared[name].expected}")


def check_parameters(owner: Any) -> None:
    """Check the attributes of an object that its class declares in `PARAMETER_CHECKS`.

    Raises:
        InputError: a parameter is of another type or out of range.
    """
    check_values({name: getattr(owner, name) for name in owner.PARAMETER_CHECKS}, owner.PARAMETER_CHECKS)
