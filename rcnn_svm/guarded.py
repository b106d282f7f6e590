"""Reads files that are not known to be whole in a child process, with limits of time and memory.

HDF5, and SciPy's reader of MATLAB files, believe what a file says: damaged bytes make them crash, or loop where not
even Ctrl-C reaches them. That ends the child, which costs a second to start and then serves all files of a process.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, TypeVar

if sys.platform == "win32":
    resource = None
else:
    import resource

from rcnn_svm.errors import InputError

T = TypeVar("T")

# What reading may take of the processor, and of memory beside what the child has: this, and so much for every byte.
SECONDS, SECONDS_PER_BYTE = 10.0, 1e-6
MEMORY, MEMORY_PER_BYTE = 1 << 30, 50
# Compressed arrays take in all so many bytes, and so many times those of their file: more is a trap for memory.
UNPACKED, UNPACKED_RATIO = 1 << 28, 50
# A child that waits uses no processor; it is ended after so many times its seconds.
_WAITING = 10
_START = "import sys; sys.path[:] = sys.argv[1:]; from rcnn_svm.guarded import _serve; _serve()"
_READY = b"ready\n"


def check_unpacked(path: str | os.PathLike, unpacked: int, packed: int) -> None:
    """Check how much memory the compressed arrays of a file take, before they are read.

    Args:
        path: what a message calls the file.
        unpacked, packed: bytes of its arrays in memory, and of the file.

    Raises:
        InputError: it is more than any arrays of use.
    """
    if unpacked > UNPACKED + UNPACKED_RATIO * packed:
        raise InputError(
            f"{path} is refused: its arrays would take {unpacked:,} bytes, the file has {packed:,}; save them without "
            "compression"
        )


def guarded(function: Callable[..., T], path: str | os.PathLike, *args: Any) -> T:
    """Return `function(path, *args)`, called in the child process.

    Args:
        function: one of a module, by whose name the child finds it.
        path: file that it reads.
        args: more of its arguments; what it returns or raises comes back pickled.

    Raises:
        InputError: reading ended the child, or took more time or memory than a whole file needs.
        Exception: what the function raises.
    """
    size = os.stat(path).st_size
    return _child.ask(function, path, args, SECONDS + size * SECONDS_PER_BYTE, MEMORY + size * MEMORY_PER_BYTE)


class _Child:
    """The child of this process; started when it is first asked, and again after one that was ended."""

    def __init__(self) -> None:
        self._process: subprocess.Popen | None = None
        self._parent = os.getpid()
        self._lock = threading.Lock()

    def ask(self, function: Callable[..., T], path: str | os.PathLike, args: Any, seconds: float, memory: int) -> T:
        with self._lock:
            process = self._started()
            limit = threading.Timer(seconds * (_WAITING if resource else 1), process.kill)
            limit.daemon = True
            limit.start()
            try:
                requests, answers = _pipes(process)
                pickle.dump((os.getcwd(), seconds, memory, function, path, args), requests)
                requests.flush()
                is_value, answer = pickle.load(answers)
            except (EOFError, OSError, pickle.UnpicklingError) as error:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(5)  # to know how it ended
                self.end()
                if limit.finished.is_set() or process.returncode == -getattr(signal, "SIGXCPU", 0):
                    how = f"did not end within {seconds:.0f} seconds"
                else:
                    how = f"ended the process that read it (exit code {process.returncode})"
                raise InputError(f"{path} is damaged: reading it {how}; make or fetch it again") from error
            except BaseException:  # Ctrl-C
                self.end()
                raise
            finally:
                limit.cancel()
        if is_value:
            return answer
        if isinstance(answer, MemoryError):
            raise InputError(
                f"{path} is damaged: reading it takes more than {memory:,} bytes of memory; make or fetch it again"
            )
        raise answer

    def _started(self) -> subprocess.Popen:
        if self._parent != os.getpid():  # a fork must not talk to its parent's child
            self._process, self._parent = None, os.getpid()
        if self._process is None or self._process.poll() is not None:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _START, *sys.path],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
                start_new_session=True,  # Ctrl-C is for the parent
            )
            try:
                started = _pipes(self._process)[1].readline() == _READY
            except BaseException:
                self.end()
                raise
            if not started:
                raise RuntimeError("a process that reads files which may be damaged could not be started")
        return self._process

    def end(self) -> None:
        """End the child, if there is one."""
        process, self._process = self._process, None
        if process is not None and self._parent == os.getpid():
            process.kill()
            process.wait()
            for stream in _pipes(process):
                with contextlib.suppress(OSError):
                    stream.close()


def _pipes(process: subprocess.Popen) -> tuple[IO[bytes], IO[bytes]]:
    """Return where a child reads requests and where it writes answers."""
    if process.stdin is None or process.stdout is None:
        raise RuntimeError("a process that reads files which may be damaged has no pipes")
    return process.stdin, process.stdout


_child = _Child()
atexit.register(_child.end)


def _serve() -> None:
    """Answer requests until there are no more: the child's life."""
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    with open(os.devnull, "r+b") as nothing:  # what libraries print is no answer
        os.dup2(nothing.fileno(), 0)
        os.dup2(nothing.fileno(), 1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers.write(_READY)
    answers.flush()
    while True:
        try:
            folder, seconds, memory, function, path, args = pickle.load(requests)
        except EOFError:
            return
        try:
            os.chdir(folder)
            with _limited(seconds, memory):
                answer = True, function(path, *args)
        except Exception as error:
            answer = False, error
        try:
            written = pickle.dumps(answer, pickle.HIGHEST_PROTOCOL)
        except Exception:
            written = pickle.dumps((False, RuntimeError(f"{type(answer[1]).__name__}: {answer[1]}")))
        answers.write(written)
        answers.flush()


@contextlib.contextmanager
def _limited(seconds: float, memory: int):
    """Limit the processor and memory of this process, beside what it has used; where the system knows how."""
    if resource is None:
        yield
        return
    used = resource.getrusage(resource.RUSAGE_SELF)
    limits = {resource.RLIMIT_CPU: int(used.ru_utime + used.ru_stime + seconds) + 1}
    with contextlib.suppress(OSError):  # not Linux
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        limits[resource.RLIMIT_AS] = pages * resource.getpagesize() + memory
    before = {which: resource.getrlimit(which) for which in limits}
    for which, limit in limits.items():
        hard = before[which][1]
        resource.setrlimit(which, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))
    try:
        yield
    finally:
        for which, both in before.items():
            resource.setrlimit(which, both)
