"""How a test runs a command, also on a disk that is full."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rcnn_svm.cli.main import main


def command(*words: object) -> int:
    """Run `rcnn-svm WORDS...` in this process and return its exit code."""
    return main([str(word) for word in words])


@contextmanager
def files_up_to(size: int) -> Iterator[None]:
    """Have the system refuse to write files of more bytes, as a full disk does."""
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
