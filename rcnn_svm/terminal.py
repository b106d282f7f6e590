"""What is safe to show on a terminal."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

# Control characters but for tab and line feed: they move the cursor, hide text, rename the window, type commands.
# The marks of writing direction do no less: what is read is not what is there.
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
# With what a progress bar begins: back to the start of its line, or a line up or down.
BAR = re.compile("(?:\r|\n|\x1b\\[A)*")


def printable(text: str) -> str:
    r"""Return text with its control characters spelled out, such as `\x1b`; tabs and line feeds stay."""
    return CONTROL.sub(lambda found: ascii(found.group())[1:-1], text)


class PrintableStream:
    """A text stream that writes control characters spelled out, and never fails on a letter that it does not have.

    Names of classes, images and datasets come from other people's files and are written as they are.

    Args:
        stream: what is written to; all else is its own.
        bars: whether progress bars are drawn on it.
    """

    def __init__(self, stream: TextIO, bars: bool = False):
        self._stream = stream
        self._bars = bars

    def write(self, text: str) -> int:
        """Write text and return its length."""
        bar = BAR.match(text) if self._bars else None
        start = bar.end() if bar else 0
        shown = text[:start] + printable(text[start:])
        encoding = getattr(self._stream, "encoding", None) or "utf-8"
        self._stream.write(shown.encode(encoding, "replace").decode(encoding))
        return len(text)

    def writelines(self, lines: Iterator[str]) -> None:
        """Write texts."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def printable_output() -> Iterator[None]:
    """Let the block write to stdout and stderr through a `PrintableStream`."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = PrintableStream(sys.stdout), PrintableStream(sys.stderr, bars=True)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
