"""Artefacts on disk: written atomically, opened with checks, carrying what made them."""

from __future__ import annotations

import contextlib
import errno
import glob
import hashlib
import json
import os
import platform
import sys
import tempfile
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from rcnn_svm import __version__
from rcnn_svm.errors import InputError
from rcnn_svm.hdf5 import open_hdf5

# What the system answers when a place cannot be written to.
WRITE_ERRORS = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO),
    *(errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ENOENT),
)
HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
# What h5py, numpy and what reads their answers raise on damaged bytes.
READ_ERRORS = (OSError, LookupError, ValueError, TypeError, AttributeError, ArithmeticError, RuntimeError, MemoryError)


def fingerprint(settings: Any) -> str:
    """Return 16 hex digits that change whenever the JSON-able `settings` change."""
    text = json.dumps(settings, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def file_digest(path: str | os.PathLike) -> str:
    """Return the SHA-256 of a file's bytes, 64 hex digits."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def array_digest(*arrays: np.ndarray) -> str:
    """Return 16 hex digits that change with any value of the arrays."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype} {array.shape} ".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:16]


def provenance() -> dict[str, str]:
    """Return who, what and when made an artefact: versions, command line and UTC time."""
    return {
        "rcnn_svm": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "command": " ".join(sys.argv),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a temporary path beside `path` that takes its name only if the block ends without an error.

    A reader therefore sees the old file, no file or the complete new one, whenever the writer dies.

    Raises:
        InputError: the disk is full or the folder cannot be written; nothing that was there is touched.
    """
    path = Path(path)
    host = platform.node()
    temporary = path.with_name(f".{path.name}.{host}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(path, host)
        yield temporary
        with open(temporary, "rb+") as stream:
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:
        reason = _write_failure(error)
        if reason is None:
            raise
        raise InputError(
            f"cannot write {path}: {reason}; everything completed before is intact, "
            "so free some space or choose another place and run the same command again"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def check_writable(path: str | os.PathLike) -> None:
    """Check that a file can be written at `path`, before work is spent on what goes there.

    Raises:
        InputError: the path is a folder, or nothing can be written there.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path} is a folder, expected the name of a file to write")
    try:
        path.exists()  # fails on a name that is too long
        with tempfile.TemporaryFile(dir=next(parent for parent in path.resolve().parents if parent.exists())):
            pass
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}; choose another place") from error


def _remove_abandoned(path: Path, host: str) -> None:
    """Remove what killed processes of this machine left of `path`."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.{glob.escape(host)}.*.tmp"):
        process = left.name.removesuffix(".tmp").rpartition(".")[2]
        if process.isdigit() and int(process) != os.getpid() and not _is_running(int(process)):
            left.unlink(missing_ok=True)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _write_failure(error: BaseException) -> str | None:
    """Return the operating system's words for a failed write, or None if `error` is something else.

    HDF5 hides the errno of a failed write inside its message.
    """
    for code in WRITE_ERRORS:
        # A missing file inside HDF5 is one that was read, not written.
        named = code != errno.ENOENT and os.strerror(code).lower() in str(error).lower()
        if getattr(error, "errno", None) == code or named:
            return os.strerror(code)
    return None


def write_text(path: str | os.PathLike, text: str) -> None:
    """Write a UTF-8 text file atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextlib.contextmanager
def create_h5(
    path: str | os.PathLike, kind: str, schema: int, settings: dict[str, Any], *, alignment: int = 1
) -> Iterator[h5py.File]:
    """Yield a new HDF5 file that appears at `path`, complete, when the block ends.

    Its root attributes say what it is: `kind`, `schema`, `settings` (JSON), `fingerprint` of the settings and
    `provenance` (JSON). `alignment`: every dataset starts at a multiple of this many bytes.
    """
    options = {"alignment_threshold": 1, "alignment_interval": alignment} if alignment > 1 else {}
    with atomic_path(path) as temporary, open_hdf5(temporary, "w", **options) as handle:
        handle.attrs["kind"] = kind
        handle.attrs["schema"] = schema
        handle.attrs["settings"] = json.dumps(settings, sort_keys=True)
        handle.attrs["fingerprint"] = fingerprint(settings)
        handle.attrs["provenance"] = json.dumps(provenance())
        yield handle


def require_file(path: Path) -> None:
    """Check that an artefact is there.

    Raises:
        InputError: there is no such file.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist; run the stage that writes it or correct the path")


@contextlib.contextmanager
def open_h5(path: str | os.PathLike, kind: str, schema: int) -> Iterator[h5py.File]:
    """Yield an artefact opened for reading after checking that it is one.

    Raises:
        InputError: the file is missing, truncated, not HDF5, of another kind or of another schema.
    """
    with open_h5_of(path, [kind]) as handle:
        version = int(handle.attrs.get("schema", -1))
        if version != schema:
            raise InputError(
                f"{path} has {kind} schema {version}, this version of rcnn-svm reads {schema}; make it again"
            )
        yield handle


@contextlib.contextmanager
def open_h5_of(path: str | os.PathLike, kinds: Sequence[str]) -> Iterator[h5py.File]:
    """Yield an artefact of one of several kinds opened for reading, whatever its schema.

    Raises:
        InputError: the file is missing, truncated, not HDF5 or of another kind.
    """
    path, expected = Path(path), " or ".join(kinds)
    require_file(path)
    try:
        handle = open_hdf5(path)
    except OSError as error:
        with open(path, "rb") as stream:
            if stream.read(len(HDF5_SIGNATURE)) not in (HDF5_SIGNATURE, b""):
                # Perhaps hours of someone's work: not to be deleted on our advice.
                raise InputError(
                    f"{path} is no HDF5 file but something else, expected {expected}; correct the path"
                ) from error
        raise InputError(
            f"{path} is not a readable HDF5 file (truncated or damaged); "
            "delete it and run the stage that writes it again"
        ) from error
    with handle, reading(path):
        found = handle.attrs.get("kind")
        if found not in kinds:
            raise InputError(f"{path} holds {found or 'something not written by rcnn-svm'}, expected {expected}")
        yield handle


@contextlib.contextmanager
def reading(path: str | os.PathLike) -> Iterator[None]:
    """Turn whatever damaged content makes the block raise into one sentence.

    Raises:
        InputError: the block raised it, or something that damaged content explains.
    """
    try:
        yield
    except (InputError, BrokenPipeError):
        raise
    except READ_ERRORS as error:
        raise InputError(
            f"{path} is damaged ({type(error).__name__} while reading it); "
            "delete it and run the stage that writes it again"
        ) from error


def read_settings(handle: h5py.File) -> dict[str, Any]:
    """Return the settings recorded by `create_h5`."""
    return json.loads(handle.attrs["settings"])
