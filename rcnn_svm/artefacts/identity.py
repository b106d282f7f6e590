"""Whether what is on disk is what is wanted: the one policy of all stages, and where two artefacts differ."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from rcnn_svm.errors import InputError

REMEDY = "give another --out, or --overwrite to replace it"


def already_done(path: Path, read: Callable[[], Any], wanted: Any, *, overwrite: bool = False) -> bool:
    """Return whether the result of a stage is on disk, so that nothing is left to do.

    The policy of every stage: the same is there: it is done, and a sentence says so. Something else is there: it
    is refused with the first difference, or made anew with `overwrite`. What is there stays until its replacement
    is complete, as every artefact is written under a temporary name (`atomic_path`).

    Args:
        path: file or folder that the stage writes.
        read: returns the settings that made what is at `path`, JSON-able; called only where something is there.
        wanted: the settings that the stage would make it with now, JSON-able.
        overwrite: replace what was made with other settings, or cannot be read.

    Raises:
        InputError: something else is there, or what is there cannot be read, and `overwrite` is not given.
    """
    if not path.exists():
        return False
    try:
        found = read()
    except InputError as error:
        if overwrite:
            return False
        raise InputError(f"{error}; or replace it with --overwrite") from error
    if found != wanted:
        if overwrite:
            return False
        check_same(path, found, wanted)
    say_done(path)
    return True


def check_same(path: Path, found: Any, wanted: Any, remedy: str = REMEDY) -> None:
    """Check that what is on disk was made with the settings that are wanted.

    Args:
        path: what is on disk.
        found: the settings that made it, JSON-able.
        wanted: the settings now, JSON-able.
        remedy: what the user can do where they differ.

    Raises:
        InputError: they differ.
    """
    if found != wanted:
        raise InputError(f"{path} was made with other settings ({first_difference(found, wanted)}); {remedy}")


def say_done(path: Path) -> None:
    """Print that a stage found its result."""
    print(f"done already: {path}", flush=True)


def say_written(path: Path, *parts: Path) -> None:
    """Print that a stage wrote its result, once it is there.

    Args:
        path: the file or folder that the user knows.
        parts: where it is a folder, files that must be in it.

    Raises:
        InputError: someone removed it while the stage ran.
    """
    check_still_there(path, *parts)
    print(f"wrote {path}", flush=True)


def check_still_there(*paths: Path) -> None:
    """Check that what was written is there.

    Raises:
        InputError: someone removed it meanwhile.
    """
    for path in paths:
        if not path.exists():
            raise InputError(f"{path} was removed while it was made; run the same command again")


def first_difference(found: Any, wanted: Any, where: str = "") -> str:
    """Return where two JSON-able values differ first, with both values, shortened."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        for key in sorted(found.keys() | wanted.keys()):
            if found.get(key) != wanted.get(key):
                return first_difference(found.get(key), wanted.get(key), f"{where}.{key}" if where else key)
    if isinstance(found, list) and isinstance(wanted, list):
        if len(found) != len(wanted):
            return f"{where}: {len(found)} there, {len(wanted)} wanted"
        for index, (a, b) in enumerate(zip(found, wanted, strict=True)):
            if a != b:
                return first_difference(a, b, f"{where}[{index}]")
    return f"{where or 'settings'}: {str(found)[:60]} there, {str(wanted)[:60]} wanted"
