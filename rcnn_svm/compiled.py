"""Compiled loops: numba's `njit`, whose cache on disk is a gain where there is a place for it and never a condition."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import numba
from numba.core.caching import FunctionCache


def compiled(**options: Any) -> Callable[[Callable], Callable]:
    """Return a decorator that compiles a function at its first call, without Python's lock while it runs.

    The machine code is kept where numba keeps it: in `NUMBA_CACHE_DIR`, beside the source, or in the user's cache
    folder. Where none of them can be written (a container whose user owns no folder), where the disk is full, or where
    what was kept is damaged, every process compiles for itself. A folder that all users share, such as /tmp, is not
    used: what is kept there is executed.

    Args:
        options: those of `numba.njit`.
    """

    def decorate(function: Callable) -> Callable:
        dispatcher = numba.njit(nogil=True, **options)(function)
        # numba raises RuntimeError where it finds no folder.
        with contextlib.suppress(RuntimeError, OSError):
            dispatcher._cache = _Cache(function)  # as `enable_caching` does
        return dispatcher

    return decorate


class _Cache(FunctionCache):
    """A cache that a full disk or a damaged file empties, without an error."""

    def load_overload(self, sig, target_context):
        try:
            return super().load_overload(sig, target_context)
        # Pickled data: damaged, they raise nearly anything.
        except Exception:
            return None

    def save_overload(self, sig, data):
        # The index is read before it is written anew, so that a damaged one raises here too.
        with contextlib.suppress(Exception):
            super().save_overload(sig, data)
