"""Ctrl-C as a user presses it, at a chosen moment of a training."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.module import register_module_forward_hook


@contextmanager
def ctrl_c_at(number: int, kind: type[nn.Module], process: int | None = None) -> Iterator[list[int]]:
    """Press Ctrl-C during the forward pass of this number, from 0, of modules of a kind.

    Args:
        number: -1 for never.
        kind: class of the modules.
        process: id of the process that is to stop, this one where None.

    Yields:
        The numbers of the passes seen so far.
    """
    seen: list[int] = []

    def press(module: nn.Module, *_: object) -> None:
        if isinstance(module, kind):
            if len(seen) == number:
                os.kill(process or os.getpid(), signal.SIGINT)
            seen.append(len(seen))

    handle = register_module_forward_hook(press)
    try:
        yield seen
    finally:
        handle.remove()
