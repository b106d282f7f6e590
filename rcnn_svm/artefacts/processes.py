"""Which process wrote something, and whether it still runs."""

from __future__ import annotations

import functools
import hashlib
import os
import secrets
from pathlib import Path


@functools.cache
def processes() -> str:
    """Return 8 hex digits for those processes among which a number means one process.

    They are those of one start of one machine and of one container. Names do not do: two machines, or containers, may
    have one host name and the same process numbers.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
        known = f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:  # not Linux: nobody's process is judged
        known = secrets.token_hex(8)
    return hashlib.sha256(known.encode()).hexdigest()[:8]


def is_running(process: int) -> bool:
    """Return whether there is a process of this number among `processes`, and not only what is left of one.

    One that has ended keeps its number until its parent asks how, and the first process of some containers never does.
    """
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return _status(process)[:1] not in (["Z"], ["X"])


def begin_of(process: int) -> str:
    """Return when a process among `processes` began, in clock ticks; "" where there is none, or nothing is known.

    A number is given again to another process, which began at another time.
    """
    return "".join(_status(process)[19:20])


def _status(process: int) -> list[str]:
    """Return what Linux tells of a process, from its state on; nothing where there is none, or elsewhere."""
    try:
        status = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    return status.rpartition(")")[2].split()
