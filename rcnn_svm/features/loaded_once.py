"""Networks and runtimes that several stages of one command use: loaded and converted once."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

_Arguments = ParamSpec("_Arguments")
_Loaded = TypeVar("_Loaded")
# What was loaded, by function and arguments, with the arguments: so that none of their ids comes again.
_KEPT: ContextVar[dict[Hashable, tuple[Any, Any]] | None] = ContextVar("kept", default=None)


@contextmanager
def loaded_once() -> Iterator[None]:
    """Let functions marked `shared` return what they returned before for the same arguments, in the outermost block."""
    token = _KEPT.set({} if (kept := _KEPT.get()) is None else kept)
    try:
        yield
    finally:
        _KEPT.reset(token)


def shared(load: Callable[_Arguments, _Loaded]) -> Callable[_Arguments, _Loaded]:
    """Mark a function whose result is not changed by those who use it: inside `loaded_once` it is called once."""
    signature = inspect.signature(load)

    @functools.wraps(load)
    def loading(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Loaded:
        kept = _KEPT.get()
        if kept is None:
            return load(*args, **kwargs)
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        values = (*bound.args, *bound.kwargs.values())
        key = load, *(value if isinstance(value, str | int | Path | None) else id(value) for value in values)
        if key not in kept:
            kept[key] = load(*args, **kwargs), values
        return kept[key][0]

    return loading
