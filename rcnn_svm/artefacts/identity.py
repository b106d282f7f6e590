"""Whether what is on disk is what is wanted: the one policy of all stages, and where two artefacts differ."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from rcnn_svm.errors import InputError

REMEDY = "give another --out, or --overwrite to replace it"
# Where only images or labels differ.
UPDATE = "give another --out, --update to make again what they change, or --overwrite to replace it"


def already_done(
    path: Path,
    read: Callable[[], Any],
    wanted: Any,
    *,
    overwrite: bool = False,
    update: bool = False,
    same_settings: Callable[[Any], bool] | None = None,
) -> bool:
    """Return whether the result of a stage is on disk, so that nothing is left to do.

    The policy of every stage: the same is there: it is done, and a sentence says so. Something else is there: it
    is refused with the first difference, or made anew with `overwrite`. With `update` it is made again where only
    images or labels differ, and a sentence says that too. What is there stays until its replacement is complete, as
    every artefact is written under a temporary name (`atomic_path`).

    Args:
        path: file or folder that the stage writes.
        read: returns the settings that made what is at `path`, JSON-able; called only where something is there.
        wanted: the settings that the stage would make it with now, JSON-able.
        overwrite: replace what was made with other settings, or cannot be read.
        update: make again what was made with the same settings from other images or labels.
        same_settings: returns whether the settings found differ from those wanted in images and labels alone; where
            None, none do.

    Raises:
        InputError: something else is there, or what is there cannot be read, and `overwrite` is not given.
    """
    _found_done.discard(path)
    if not path.exists():
        return False
    try:
        found = read()
    except InputError as error:
        if overwrite:
            return False
        raise InputError(f"{error}; or replace it with --overwrite") from error
    if found != wanted:
        only_data = same_settings is not None and same_settings(found)
        if update and only_data:
            say_again(path, found, wanted)
        elif overwrite:
            say_again(path, found, wanted, "settings")
        else:
            if update:  # the setting is what is refused
                check_same(path, without_data(found), without_data(wanted))
            check_same(path, found, wanted, UPDATE if only_data else REMEDY)
        return False
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


def say_again(path: Path, found: Any, wanted: Any, what: str = "images or labels") -> None:
    """Print that a stage makes its result again, since images or labels, or settings, are others than before."""
    print(f"made again: {path}, as {what} changed ({first_difference(found, wanted)})", flush=True)


def without_data(identity: Any, *names: str) -> Any:
    """Return what decides the result of a training, or of what depends on one, without images and labels.

    Args:
        identity: JSON-able.
        names: left out wherever they occur, besides the digest of the features and what was read off the training set.
    """
    if not isinstance(identity, dict):
        return identity
    left_out = {
        *names,
        "images",
        "images' files",
        "cache",
        "features",
        "digest",
        "num_images",
        "num_regions",
        "num_held_out",
        "max_per_set",
    }
    return {key: without_data(value, *names) for key, value in identity.items() if key not in left_out}


def only_data_differs(found: Any, wanted: dict[str, Any], derived: Sequence[str] = ()) -> bool:
    """Return whether two trainings, or what depends on them, differ in images and labels alone.

    Args:
        found, wanted: JSON-able.
        derived: names of what follows from images and labels too, besides those of `without_data`.
    """
    return found != wanted and without_data(found, *derived) == without_data(wanted, *derived)


# Results that the stage at work found, and so did not write.
_found_done: set[Path] = set()


def say_done(path: Path) -> None:
    """Print that a stage found its result."""
    _found_done.add(path)
    print(f"done already: {path}", flush=True)


def say_written(path: Path, *parts: Path) -> None:
    """Print that a stage wrote its result, once it is there; nothing where it was done already.

    Args:
        path: the file or folder that the user knows.
        parts: where it is a folder, files that must be in it.

    Raises:
        InputError: someone removed it while the stage ran.
    """
    check_still_there(path, *parts)
    if path not in _found_done:
        print(f"wrote {path}", flush=True)
    _found_done.discard(path)


def check_still_there(*paths: Path) -> None:
    """Check that what was written is there.

    Raises:
        InputError: someone removed it meanwhile.
    """
    for path in paths:
        if not path.exists():
            raise InputError(f"{path} was removed while it was made; run the same command again")


def first_difference(found: Any, wanted: Any, where: str = "") -> str:
    """Return where two JSON-able values differ first, with both values, shortened; `where` is what they are of."""
    where, a, b = next(differences(found, wanted, where), (where, found, wanted))
    if isinstance(a, list) and isinstance(b, list) and len(a) != len(b):
        return f"{where}: {len(a)} there, {len(b)} wanted"
    return f"{where or 'settings'}: {str(a)[:60]} there, {str(b)[:60]} wanted"


def differences(a: Any, b: Any, where: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield everywhere two JSON-able values differ: a dotted name, such as `parameters.scales[2]`, and both values.

    Names are in alphabetical order. A name that only one of them has is None in the other; lists of different lengths
    differ as a whole.
    """
    if isinstance(a, dict) and isinstance(b, dict):
        for key in sorted(a.keys() | b.keys()):
            yield from differences(a.get(key), b.get(key), f"{where}.{key}" if where else key)
    elif isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        for index, pair in enumerate(zip(a, b, strict=True)):
            yield from differences(*pair, f"{where}[{index}]")
    elif a != b:
        yield where, a, b
