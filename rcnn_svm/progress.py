"""Progress with rate and time left, on a terminal or in a log file."""

from __future__ import annotations

import contextlib
import sys
from typing import Any

try:
    from tqdm import tqdm
except ImportError:  # as where an exported detector runs
    tqdm = None


class _NoBar(contextlib.nullcontext):
    """Takes what a bar is told, and shows nothing."""

    def __enter__(self) -> _NoBar:
        return self

    def update(self, done: int = 1) -> None:
        """Do nothing."""

    def set_postfix(self, *args: Any, **values: Any) -> None:
        """Do nothing."""

    def set_postfix_str(self, text: str = "", refresh: bool = True) -> None:
        """Do nothing."""


def progress_bar(total: int, description: str, unit: str, initial: int = 0, **options: Any) -> tqdm | _NoBar:
    """Return a tqdm bar on stderr; away from a terminal it prints a line every half minute.

    Where tqdm is not installed, nothing is shown.
    """
    if tqdm is None:
        return _NoBar()
    interactive = sys.stderr.isatty()
    return tqdm(
        total=total,
        desc=description,
        unit=unit,
        initial=initial,
        mininterval=0.2 if interactive else 30.0,
        maxinterval=1.0 if interactive else 60.0,
        dynamic_ncols=interactive,
        ascii=not interactive,
        **options,
    )
