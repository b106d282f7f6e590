"""Ctrl-C that waits until a step of a training has ended, so that nothing before it is lost."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def held_interrupt() -> Iterator[Callable[[], bool]]:
    """Hold back the first Ctrl-C inside the block; a second one stops at once.

    Outside the main thread, which alone may ask for signals, none is held back.

    Yields:
        A function that tells whether one is held back; whoever sees it raises KeyboardInterrupt when it suits.
    """
    held = threading.Event()
    before = signal.getsignal(signal.SIGINT)
    # None: set by something other than Python, which Python cannot set again.
    if threading.current_thread() is not threading.main_thread() or before is None:
        yield held.is_set
        return

    def hold(*_: object) -> None:
        held.set()
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, hold)
    try:
        yield held.is_set
    finally:
        signal.signal(signal.SIGINT, before)
