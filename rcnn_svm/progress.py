"""Progress with rate and time left, on a terminal or in a log file."""

from __future__ import annotations

import sys
from typing import Any

from tqdm import tqdm


def progress_bar(total: int, description: str, unit: str, initial: int = 0, **options: Any) -> tqdm:
    """Return a tqdm bar on stderr; away from a terminal it prints a line every half minute."""
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
