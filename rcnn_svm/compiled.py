"""Compiled loops: numba's `njit`, whose cache on disk is a gain where there is a place for it and never a condition.

Where numba is not installed, as where an exported detector runs, the same functions are Python's. Those that one image
needs are therefore written in whole arrays, or have a twin that is.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from typing import Any

try:
    import numba
    from numba.core.caching import FunctionCache
except ImportError:
    numba, FunctionCache = None, object
else:
    # What is kept there is executed: no `.numba_config.yaml` of the working folder, where downloaded images may be,
    # says where that is.
    numba.config.CACHE_DIR = os.environ.get("NUMBA_CACHE_DIR", "")


def compiled(*, in_arrays: Callable | None = None, **options: Any) -> Callable[[Callable], Callable]:
    """Return a decorator that compiles a function at its first call, without Python's lock while it runs.

    The machine code is kept where numba keeps it: in `NUMBA_CACHE_DIR`, beside the source, or in the user's cache
    folder. Where none of them can be written (a container whose user owns no folder), where the disk is full, or where
    what was kept is damaged, every process compiles for itself. A folder that all users share, such as /tmp, is not
    used: what is kept there is executed.

    Args:
        in_arrays: does the same in operations of numpy; it takes the function's place where numba is not installed. The
            function itself does where None.
        options: those of `numba.njit`.
    """

    def decorate(function: Callable) -> Callable:
        if numba is None:
            return in_arrays or function
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
