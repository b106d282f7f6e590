"""Which files and programs a process touches, whatever library does it, and which of them it has nothing to do with.

On Linux with a C compiler `fuzz_watch.c` is preloaded: it sees what HDF5, OpenCV, FFmpeg and ONNX Runtime open, and
what processes do that are started. Elsewhere Python's audit hook sees what goes through Python.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SOURCE = Path(__file__).with_suffix(".c")
PRELOAD, LOG = "LD_PRELOAD", "FUZZ_WATCH"
# The system's, and what a package or its tools read of themselves.
_SYSTEM = ("/proc/", "/sys/", "/dev/", "/usr/", "/lib/", "/etc/fonts/")
_OWN = (f"{ROOT}/", f"{sys.prefix}/", f"{sys.base_prefix}/", *_SYSTEM)
_PROGRAMS = (sys.executable, "uname")  # the second by Python's `platform`
# numba keeps compiled loops beside their source.
_WRITTEN = (f"{ROOT}/rcnn_svm/", "/dev/", "/proc/")


def run_watched(main: Callable[[], int], module: str) -> int:
    """Return what `main` returns, run in a process that has `fuzz_watch.c` preloaded where that can be compiled.

    Args:
        main: the program.
        module: that calls this function when it is run, by its name.
    """
    compiler = shutil.which("cc")
    if not sys.platform.startswith("linux") or compiler is None or is_preloaded():
        return main()
    with tempfile.TemporaryDirectory(prefix="fuzz-watch-") as folder:
        library = Path(folder) / "fuzz_watch.so"
        subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, SOURCE, "-ldl"], check=True)
        before = os.environ.get(PRELOAD)
        variables = {**os.environ, PRELOAD: f"{library}:{before}" if before else str(library)}
        return subprocess.run([sys.executable, "-m", module, *sys.argv[1:]], env=variables).returncode


def is_preloaded() -> bool:
    """Return whether this process has the library."""
    return "fuzz_watch.so" in os.environ.get(PRELOAD, "")


class Watch:
    """What this process and those that it starts touch; one a process, as it ends with it.

    Args:
        log: file that the library writes to.
    """

    def __init__(self, log: Path):
        self._log = log
        self._seen: list[str] = []
        if is_preloaded():
            os.environ[LOG] = str(log)
        else:
            sys.addaudithook(self._look)

    def begin(self) -> None:
        """Forget what was touched."""
        self._seen.clear()
        if is_preloaded():
            os.truncate(self._log, 0) if self._log.exists() else self._log.touch()

    def strays(self, folder: Path, outputs: tuple[str, ...]) -> list[str]:
        """Return what was touched since `begin` that neither the input nor the output is, nor what runs the program.

        Args:
            folder: the input.
            outputs: what may be written in it: beginnings of names, which temporary names have behind a dot.
        """
        if is_preloaded():
            self._seen += self._log.read_text("utf-8", "replace").splitlines()
        return sorted(set(self._stray(folder, outputs)))

    def _stray(self, folder: Path, outputs: tuple[str, ...]) -> Iterator[str]:
        own = {str(self._log), str(folder)}
        for line in self._seen:
            what, _, path = line.partition(" ")
            path = os.path.abspath(path) if what in "rw" else path
            inside = path.startswith(f"{folder}/")
            output = inside and path[len(str(folder)) + 1 :].lstrip(".").startswith(outputs)
            fine = {
                "r": inside or path.startswith(_OWN),
                "w": output or path.startswith(_WRITTEN),
                "x": path.endswith(_PROGRAMS),
            }
            if path not in own and not fine.get(what, False):
                yield line

    def _look(self, event: str, args: tuple[Any, ...]) -> None:
        if event in ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn"):
            command = args[0] if isinstance(args[0], (str, bytes)) else args[0][0]
            self._seen.append(f"x {os.fsdecode(command)}")
        elif event == "socket.connect":
            self._seen.append("n network")
        elif event == "open" and isinstance(args[0], (str, bytes)):
            writes = isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            self._seen.append(f"{'w' if writes else 'r'} {os.path.abspath(os.fsdecode(args[0]))}")
