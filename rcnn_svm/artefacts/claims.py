"""Claims on outputs: while one process makes something, another that would make it too is told.

A claim is a small file beside the output. It needs no lock of the file system, only that a file can be made which must
not be there yet; and none outlives its process for long: one whose process is gone is taken over.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import secrets
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rcnn_svm.artefacts.files import file_name, make_folder, writing
from rcnn_svm.artefacts.processes import begin_of, is_running, processes
from rcnn_svm.errors import InputError

# Seconds between two signs of life of a claim, and without one until its process is taken for gone, where it is one of
# another machine or container and cannot be looked for.
SIGN_OF_LIFE = 10.0
SILENCE = 120.0
# How long the words of a claim are waited for that has none: they follow at once, unless its process was killed before.
WORDLESS = 10.0


class ClaimedError(InputError):
    """Another process makes what this one would make."""


# Of what several processes share, the part of one that does all of it: (i, n) is the i-th of n parts, from 0.
WHOLE = 0, 1


def share_of(path: Path, part: tuple[int, int]) -> Path:
    """Return what a process claims that makes a part of `path`: `path` itself for the whole."""
    index, parts = part
    return path if part == WHOLE else path.with_name(f"{path.name} part {index + 1} of {parts}")


@contextlib.contextmanager
def claimed(path: str | os.PathLike) -> Iterator[None]:
    """Let no other process that claims `path` make it while the block runs; its folder is made, and goes if left empty.

    Args:
        path: what is made: a file, or one of the files of a folder.

    Raises:
        ClaimedError: another process makes it.
        InputError: one began to meanwhile, as nothing was heard of this one.
    """
    path = Path(path)
    claim = claim_file(path)
    mine = {
        "process": os.getpid(),
        "began": begin_of(os.getpid()),
        "processes": processes(),
        "host": platform.node(),
        "command": " ".join(sys.argv),
        "time": time.time(),
        "token": secrets.token_hex(8),
    }
    folders = [folder for folder in claim.parents if not folder.exists()]
    _take(path, claim, mine)
    ended = threading.Event()
    threading.Thread(target=_show_life, args=(claim, mine, ended), daemon=True).start()
    try:
        yield
    finally:
        ended.set()
        found = _read(claim)
        if found == mine:
            claim.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # those that hold something stay
            for folder in folders:
                folder.rmdir()
    if found not in (None, mine):
        raise InputError(f"{_by(found, path)} meanwhile, as nothing was heard of this one; run one of the two again")


def claim_file(path: Path) -> Path:
    """Return the file that says that a process makes `path`."""
    path = Path(os.path.realpath(path))
    return path.with_name(f".{file_name(path.name)}.at-work")


def _take(path: Path, claim: Path, mine: dict[str, Any]) -> None:
    with writing(path):
        make_folder(claim.parent)
        while not _create(claim, mine):
            other = _words(claim)
            if other is not None and _is_at_work(claim, other):
                raise ClaimedError(
                    f"{_by(other, path)}{_duration(other)}; wait for it to end and run the same command again, or, if "
                    f"that process is gone, delete {claim} (it counts as gone after {SILENCE:.0f} seconds of silence)"
                )
            if other is not None:
                _remove(claim, other)


def _create(claim: Path, mine: dict[str, Any]) -> bool:
    """Write a claim; False where there is one."""
    try:
        stream = open(claim, "x", encoding="utf-8")  # noqa: SIM115
    except FileExistsError:
        return False
    try:
        with stream:
            json.dump(mine, stream)
    except OSError:
        claim.unlink(missing_ok=True)
        raise
    return True


def _read(claim: Path) -> dict[str, Any] | None:
    """Return what a claim says, nothing where it cannot be read, None where there is none."""
    try:
        found = json.loads(claim.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _words(claim: Path) -> dict[str, Any] | None:
    """Return what a claim says, as `_read`; one that was just made is given time to say it."""
    late = time.monotonic() + WORDLESS
    while not (found := _read(claim)) and found is not None and time.monotonic() < late:
        time.sleep(0.02)
    return found


def _is_at_work(claim: Path, other: dict[str, Any]) -> bool:
    """Return whether the process of a claim is at work, as far as one can see from here."""
    process = other.get("process")
    if other.get("processes") == processes() and isinstance(process, int) and process > 0:
        return is_running(process) and begin_of(process) == other.get("began")
    try:
        # By the clock of the file system, which is that of the claim.
        with tempfile.TemporaryFile(dir=claim.parent) as now:
            silence = os.fstat(now.fileno()).st_mtime - claim.stat().st_mtime
    except FileNotFoundError:
        return False
    return abs(silence) < (SILENCE if other else WORDLESS / 2)


def _remove(claim: Path, other: dict[str, Any]) -> None:
    """Remove the claim of a process that is gone, but not one that a third has put in its place meanwhile."""
    aside = claim.with_name(f"{claim.name}.{secrets.token_hex(8)}")
    with contextlib.suppress(OSError):
        os.rename(claim, aside)
        if _read(aside) != other:
            os.link(aside, claim)
    aside.unlink(missing_ok=True)


def _show_life(claim: Path, mine: dict[str, Any], ended: threading.Event) -> None:
    while not ended.wait(SIGN_OF_LIFE) and _read(claim) == mine:
        with contextlib.suppress(OSError):
            os.utime(claim)


def _by(other: dict[str, Any], path: Path) -> str:
    known = {key: " ".join(str(other.get(key, "?")).split()) for key in ("process", "host", "command")}
    return f"{path} is made by another process ({known['process']} on {known['host']}: {known['command'][:200]})"


def _duration(other: dict[str, Any]) -> str:
    try:
        seconds = max(0.0, time.time() - float(other["time"]))
    except (KeyError, TypeError, ValueError):
        return ""
    return f", begun {seconds / 60:.0f} minutes ago" if seconds >= 120 else f", begun {seconds:.0f} seconds ago"
