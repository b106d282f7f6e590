"""A command in a process that can be disturbed: forked from one that holds all libraries, or a new interpreter."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# Seconds after which a command that has not ended is said to hang: many times what one takes on a busy machine.
HANGS = 600.0
# A command as users start it, but with the same name in its provenance as those that are forked.
_NEW_INTERPRETER = "import sys; sys.argv[0] = 'rcnn-svm'; from rcnn_svm.__main__ import main; sys.exit(main())"
_CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate"}
_CLONE_NEWNS = 0x20000
_CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH, _CAP_VERSION = 1, 2, 0x20080522


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Attributes:
        code: its exit code; that of a signal that ended it is negative, None where it hung.
        seconds: what it took of the processor.
        printed: all that it printed.
    """

    code: int | None
    seconds: float
    printed: str

    @property
    def fault(self) -> str:
        """In words, what no command may do however it is disturbed, or ""."""
        if self.code is None:
            return "it hangs"
        for sign in ("Traceback (most recent call last)", "Exception ignored", "HDF5-DIAG", "terminate called"):
            if sign in self.printed:
                return f"it printed {sign!r}: {self.last_line}"
        return ""

    @property
    def last_line(self) -> str:
        """The last line that it printed."""
        return next((line for line in reversed(self.printed.splitlines()) if line.strip()), "")


class Command:
    """A running command.

    Args:
        words: the command and its arguments.
        folder: where it runs.
        log: file for what it prints.
        prepare: called in its process before it begins.
        fresh: begin a new interpreter.
    """

    def __init__(
        self,
        words: Sequence[str],
        folder: Path,
        log: Path,
        prepare: Callable[[], None] | None = None,
        *,
        fresh: bool = False,
    ):
        self._log = log
        self._status: tuple[int, float] | None = None
        sys.stdout.flush()
        self.pid = os.fork()
        if not self.pid:
            _become(words, folder, log, prepare, fresh)

    def wait_for(self, seconds: float) -> bool:
        """Wait until it has had so many seconds of the processor; return False if it ended before."""
        # The processor's clock of another process, as clock_getcpuclockid(3) makes it of the process's number. Unlike
        # the clock on the wall, it stands still while a busy machine does something else.
        clock = (~self.pid << 3) | 2
        while not self.has_ended():
            left = seconds - time.clock_gettime(clock)
            if left <= 0:
                return True
            time.sleep(max(left / 2, 0.0005))
        return False

    def has_ended(self) -> bool:
        """Return whether it has ended, without waiting."""
        return self._status is not None or (
            os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        )

    def signal(self, number: int) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    def wait(self) -> Ended:
        """Wait until it has ended, and say how."""
        late = time.monotonic() + HANGS
        while not self.has_ended() and time.monotonic() < late:
            time.sleep(0.002)
        hangs = not self.has_ended()
        self.end()
        code, seconds = self._status
        return Ended(None if hangs else code, seconds, self._log.read_text(errors="replace"))

    def end(self) -> None:
        """End it at once, with all processes that it began."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        if self._status is None:
            _, status, usage = os.wait4(self.pid, 0)
            self._status = os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime


def _become(words: Sequence[str], folder: Path, log: Path, prepare: Callable | None, fresh: bool) -> None:
    """Let this process, which was forked, be a command; it does not return."""
    code = 1
    try:
        os.setpgid(0, 0)
        os.chdir(folder)
        printed = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        for descriptor in (1, 2):
            os.dup2(printed, descriptor)
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if prepare is not None:
            prepare()
        if fresh:
            os.execve(sys.executable, [sys.executable, "-c", _NEW_INTERPRETER, *words], _environment())
        sys.argv = ["rcnn-svm", *words]
        from rcnn_svm.__main__ import main

        code = main()
    except SystemExit as error:
        code = error.code
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
        os._exit(code)


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}


def load_libraries() -> None:
    """Import all that commands import, so that a fork begins with the command itself."""
    import importlib
    import pkgutil

    import rcnn_svm

    for module in pkgutil.walk_packages(rcnn_svm.__path__, "rcnn_svm."):
        if module.name != "rcnn_svm.__main__":
            importlib.import_module(module.name)
    for name in (
        "rcnn_svm.cli.main",
        "torch",
        "sklearn.svm",
        "cv2",
        "h5py",
        "matplotlib.pyplot",
        "onnxruntime",
        "jinja2",
    ):
        importlib.import_module(name)


def watch_changes(folder: Path, note: Callable[[], None]) -> None:
    """Have `note` called before every change of what is in a folder: of files, of names, and before every fsync."""
    inside = f"{folder}{os.sep}"

    def look(event: str, args: tuple) -> None:
        if event == "open":
            writes = isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR)
        else:
            writes = event in _CHANGES
        if writes and isinstance(args[0], (str, bytes)) and os.path.abspath(os.fsdecode(args[0])).startswith(inside):
            note()

    fsync = os.fsync

    def noted_fsync(descriptor: int) -> None:
        note()
        fsync(descriptor)

    os.fsync = noted_fsync
    sys.addaudithook(look)


def record_order(log: Path) -> None:
    """Write down, a line each, what this process has put on disk and what it has given a name.

    `synced INODE` is a file or a folder that fsync has put on disk, `made PATH` a new folder, `named PATH` what was
    renamed so.
    """
    lines = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    fsync, mkdir, names = os.fsync, os.mkdir, {"replace": os.replace, "rename": os.rename}

    def note(what: str, which: object) -> None:
        os.write(lines, f"{what} {which}\n".encode())

    def noted_fsync(descriptor: int) -> None:
        fsync(descriptor)
        note("synced", os.fstat(descriptor).st_ino)

    def noted(function: Callable) -> Callable:
        def rename(source: str | os.PathLike, target: str | os.PathLike, **more: int) -> None:
            function(source, target, **more)
            note("named", os.path.abspath(target))

        return rename

    def noted_mkdir(path: str | os.PathLike, *more: int, **options: int) -> None:
        mkdir(path, *more, **options)
        note("made", os.path.abspath(path))

    os.fsync, os.mkdir = noted_fsync, noted_mkdir
    for name, function in names.items():
        setattr(os, name, noted(function))


def files_up_to(size: int) -> None:
    """Have the system refuse this process files of more bytes, as a full disk does."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def obey_modes() -> None:
    """Let this process, if it is that of the superuser, obey the modes of files and folders."""
    if os.geteuid() != 0:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(_CAP_VERSION, 0)
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable: the first 32 of each, then the others
    if libc.capget(header, sets):
        raise OSError(ctypes.get_errno(), "capget")
    for which in (0, 1, 2):
        sets[which] &= ~(1 << _CAP_DAC_OVERRIDE | 1 << _CAP_DAC_READ_SEARCH)
    if libc.capset(header, sets):
        raise OSError(ctypes.get_errno(), "capset")


def mounts_of_our_own() -> bool:
    """Let what this process mounts be seen by it and its children alone, and return whether it may mount at all."""
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "unshare") or libc.unshare(_CLONE_NEWNS):
        return False
    return not os.system("mount --make-rprivate / 2>/dev/null")
