"""What damaged bytes make libraries do, for a child process to do."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def read(path: Path, *more: object) -> tuple[bytes, tuple[object, ...]]:
    return Path(path).read_bytes(), more


def crash(path: Path) -> None:
    os.abort()


def loop(path: Path) -> None:
    while True:
        pass


def take_memory(path: Path) -> int:
    return len(bytearray(1 << 40))


def fail(path: Path) -> None:
    print("what a library prints")
    print("and complains of", file=sys.stderr)
    raise LookupError(f"no {path}")


def process(path: Path) -> int:
    return os.getpid()
