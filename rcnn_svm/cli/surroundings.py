"""What surrounds a command: signals, the terminal, variables of the environment, and errors of the system in words."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from rcnn_svm.terminal import printable_output

# A shell's exit code for a process that a signal ended, counted from here.
SIGNAL_BASE = 128
# Set to anything, it lets Python print where an error came from.
DEBUG = "RCNN_SVM_DEBUG"
# What the machine, the disk or a library raises where no stage has a sentence of its own.
SYSTEM_ERRORS = (OSError, RuntimeError, UnicodeError, MemoryError, ModuleNotFoundError)


@contextmanager
def surroundings() -> Iterator[list[int]]:
    """Let a command run in surroundings that do not end it; they are afterwards as before.

    SIGTERM and SIGHUP stop it as Ctrl-C does, unless they were ignored (`nohup`). What it prints is safe for the
    terminal. Figures are files, whatever backend a notebook has put into `MPLBACKEND`.

    Yields:
        The numbers of the signals, other than Ctrl-C, that came.
    """
    backend = os.environ.get("MPLBACKEND")
    os.environ["MPLBACKEND"] = "agg"
    try:
        with printable_output(), _signals_as_ctrl_c() as received:
            yield received
    finally:
        del os.environ["MPLBACKEND"]
        if backend is not None:
            os.environ["MPLBACKEND"] = backend


@contextmanager
def _signals_as_ctrl_c() -> Iterator[list[int]]:
    received: list[int] = []

    def interrupt(number: int, frame: FrameType | None) -> None:
        received.append(number)
        # A training holds Ctrl-C back until its checkpoint is written. In the background of a script it is ignored.
        handler = signal.getsignal(signal.SIGINT)
        (handler if callable(handler) else signal.default_int_handler)(signal.SIGINT, frame)

    # Only the main thread may ask for signals; Windows has no SIGHUP.
    names = ("SIGTERM", "SIGHUP") if threading.current_thread() is threading.main_thread() else ()
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    taken = [number for number in numbers if signal.getsignal(number) is signal.SIG_DFL]
    for number in taken:
        signal.signal(number, interrupt)
    try:
        yield received
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)


def was_interrupted(error: BaseException | None) -> bool:
    """Return whether Ctrl-C is what an error comes from; a library that is interrupted while it loads raises others."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


def in_words(error: BaseException) -> str:
    """Return one sentence on an error of `SYSTEM_ERRORS`."""
    text = " ".join(str(error).split())
    if isinstance(error, UnicodeError):
        what = f"a name or text has letters that cannot be read or written here ({text})"
        advice = "set PYTHONUTF8=1, or rename what has them"
    elif isinstance(error, MemoryError):
        what = "the memory of this machine is not enough" + (f" ({text})" if text else "")
        advice = "end other programs, or take fewer or smaller images"
    elif isinstance(error, ModuleNotFoundError):  # as where rcnn-svm was installed with --no-deps, for detect alone
        what = f"the package {error.name} is not installed here"
        advice = "install it, or all that rcnn-svm needs by `pip install rcnn-svm`"
    elif isinstance(error, OSError) and error.strerror:
        names = " and ".join(str(name) for name in (error.filename, error.filename2) if name is not None)
        what = f"{names}: {error.strerror}" if names else error.strerror
        advice = "mend that and run the same command again; what was completed is kept"
    else:
        what = f"{type(error).__name__}: {text}" if text else type(error).__name__
        advice = "if that is no fault of the machine or of a file, please report it"
    return f"{what}; {advice} ({DEBUG}=1 shows where it happened)"


def say(sentence: str) -> None:
    """Print a sentence to stderr, where there still is one."""
    try:
        print(sentence, file=sys.stderr, flush=True)
    except OSError:
        _forget(sys.stderr)


def flush_output() -> None:
    """Write what is still to be printed.

    Raises:
        OSError: that failed; nothing more is tried.
    """
    try:
        sys.stdout.flush()
    except OSError:
        _forget(sys.stdout)
        raise


def forget_output() -> None:
    """Drop what is still to be printed: Python would fail once more when it ends."""
    with suppress(OSError):
        flush_output()


def _forget(stream) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
