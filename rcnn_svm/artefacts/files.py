"""Artefacts on disk: written atomically, opened with checks, carrying what made them."""

from __future__ import annotations

import contextlib
import errno
import glob
import hashlib
import io
import json
import os
import platform
import re
import secrets
import shlex
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from rcnn_svm import __version__
from rcnn_svm.artefacts.processes import is_running, processes
from rcnn_svm.artefacts.schema import check_schema
from rcnn_svm.errors import InputError

if TYPE_CHECKING:
    import h5py

# What the system answers when a place cannot be written to.
WRITE_ERRORS = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO),
    *(errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ENOENT),
)
# An attribute of the root of an HDF5 artefact, written last: these words, then the SHA-256 of all other bytes in hex.
CHECKSUM = "content"
CHECKSUM_MARK = b"SHA-256 of all other bytes of this rcnn-svm file: "
CHECKSUM_DIGITS = 64
CHUNK = 1 << 20
# Bytes that a stream keeps of what is written after a failed write: what HDF5 says of a file, not its arrays.
_KEPT_AFTER_FAILURE = 1 << 24
# What separates folders, the sign that replaces it, and what cannot be written.
_NOT_IN_FILE_NAMES = re.compile(r"[%/\\\x00-\x1f\x7f-\x9f\ud800-\udfff]")
# Bytes of an id in a file name, of which file systems allow 255 with all that stands around it.
_LONGEST_NAME = 180
HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
# What h5py, numpy and what reads their answers raise on damaged bytes.
READ_ERRORS = (OSError, LookupError, ValueError, TypeError, AttributeError, ArithmeticError, RuntimeError, MemoryError)


def fingerprint(settings: Any) -> str:
    """Return 16 hex digits that change whenever the JSON-able `settings` change."""
    text = json.dumps(settings, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def require_regular(path: str | os.PathLike) -> None:
    """Check that a path names a file, before it is opened: a pipe, socket or device may keep its reader for ever.

    Raises:
        InputError: it names something else.
        OSError: there is nothing of that name, or it cannot be looked at.
    """
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode):
        kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket"}
        raise InputError(f"{path} is {kinds.get(stat.S_IFMT(mode), 'a device')}, expected a file; correct the path")


def file_digest(path: str | os.PathLike) -> str:
    """Return the SHA-256 of a file's bytes, 64 hex digits.

    Raises:
        InputError: it is no regular file.
        OSError: it cannot be read.
    """
    require_regular(path)
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def file_name(name: str) -> str:
    """Return an image id or a class name as it stands in names of files: it leads to no other folder, is not too long.

    Separators of folders, `%`, control characters and a name of dots alone are written as in addresses (`%2F`), so
    that different names stay different; what is too long ends in 16 hex digits of the whole.
    """
    dots = name in (".", "..")
    written = "".join(f"%{ord(sign):02X}" if dots or _NOT_IN_FILE_NAMES.match(sign) else sign for sign in name) or "%"
    encoded = written.encode(errors="surrogatepass")
    if len(encoded) > _LONGEST_NAME:
        return f"{encoded[: _LONGEST_NAME - 17].decode(errors='ignore')}-{fingerprint(name)}"
    return written


def parts_folder(path: Path, settings: Any) -> Path:
    """Return the folder for parts of a file, beside it: those of other JSON-able settings are in another."""
    return path.with_name(f"{path.name}.parts") / fingerprint(settings)


def remove_parts(folder: Path) -> None:
    """Remove the parts of a result that is complete, and the folder around them unless it holds those of others."""
    shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(OSError):
        folder.parent.rmdir()


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
        "command": shlex.join(sys.argv),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a temporary path beside `path` that takes its name only if the block ends without an error.

    A reader therefore sees the old file, no file or the complete new one, whenever the writer dies or the power fails.
    What writes by itself, without asking whether every write succeeded, belongs into `atomic_stream`.

    Raises:
        InputError: the disk is full or the folder cannot be written; nothing that was there is touched.
    """
    path = Path(path)
    prefix, temporary = _temporary(path)
    try:
        with writing(path):
            make_folder(path.parent)
            _remove_abandoned(path.parent, prefix)
            yield temporary
            with open(temporary, "rb+") as stream:
                os.fsync(stream.fileno())
            os.replace(temporary, path)
            sync_folder(path.parent)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


@contextlib.contextmanager
def atomic_folder(path: str | os.PathLike, *, overwrite: bool = False) -> Iterator[Path]:
    """Yield an empty folder beside `path` that takes its name, all of it on disk, if the block ends without an error.

    Args:
        path: the folder to be.
        overwrite: what is there then is removed; otherwise it must not be there.

    Raises:
        OSError: something cannot be written, or `path` is there.
    """
    path = Path(path)
    prefix, temporary = _temporary(path)
    _, replaced = _temporary(path)
    make_folder(path.parent)
    _remove_abandoned(path.parent, prefix)
    try:
        temporary.mkdir()
        yield temporary
        for folder, _, names in os.walk(temporary, topdown=False):
            for name in names:
                with open(os.path.join(folder, name), "rb+") as stream:
                    os.fsync(stream.fileno())
            sync_folder(Path(folder))
        if overwrite and path.exists():
            os.rename(path, replaced)
        os.rename(temporary, path)
        sync_folder(path.parent)
    finally:
        for left in (temporary, replaced):
            shutil.rmtree(left, ignore_errors=True)


def _temporary(path: Path) -> tuple[str, Path]:
    """Return how the names begin that processes give to what is not complete, and such a name for this one."""
    prefix = f".{path.name[:40]}.{processes()}."
    return prefix, path.with_name(f"{prefix}{os.getpid()}.{secrets.token_hex(8)}.tmp")


def make_folder(folder: Path) -> None:
    """Make a folder, and those above it, where they are missing; their names are on disk then."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for made in reversed(missing):
        sync_folder(made.parent)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what a full disk, or a folder that cannot be written, makes the block raise into one sentence.

    Args:
        path: what the block writes, for the sentence.

    Raises:
        InputError: the block raised it, or what a failed write explains.
    """
    before = sys.exception()
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        reason = _write_failure(error, before)
        if reason is None:
            raise
        raise InputError(
            f"cannot write {path}: {reason}; everything completed before is intact, "
            "so free some space or choose another place and run the same command again"
        ) from error


@contextlib.contextmanager
def atomic_stream(path: str | os.PathLike) -> Iterator[BinaryIO]:
    """Yield a binary file for any library to write to, which appears at `path` if every write to it succeeded.

    Raises:
        InputError: as `atomic_path`.
    """
    with atomic_path(path) as temporary, open(temporary, "x+b", buffering=0) as file:
        stream = _Stream(file)
        try:
            # It is one, but `BinaryIO` is no protocol, and only the streams of `io` are declared to be it.
            yield stream  # type: ignore[misc]
        except Exception as error:
            if stream.failure is not None:
                raise stream.failure from error
            raise
        if stream.failure is not None:
            raise stream.failure


class _Stream(io.BufferedIOBase):
    """A binary file that keeps the first error and seems to go on after it.

    Libraries in C do not survive failed writes: HDF5 ends the process when it closes a file on a full disk, torch
    throws where nobody catches, Pillow does not look. It has no descriptor, so that none of them passes it by.
    HDF5 also reads what it wrote, and crashes where it is not there: what is written after the first error is kept in
    memory, up to some MB, and is read from there.

    Attributes:
        failure: the first error; None while there was none.
    """

    def __init__(self, file: io.FileIO):
        super().__init__()
        self._file = file
        self.failure: BaseException | None = None
        self._place = 0
        self._end = 0
        self._later: list[tuple[int, bytes]] = []  # (place, what was written there), in order
        self._left = _KEPT_AFTER_FAILURE

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        data = memoryview(data).cast("B")
        left = data
        try:
            while left and self.failure is None:
                self._file.seek(self._place + len(data) - len(left))
                left = left[self._file.write(left) :]
        except BaseException as error:  # Ctrl-C too, which would end HDF5 in the middle of a write
            self.failure = error
        if self.failure is not None and len(data) <= self._left:
            self._later.append((self._place, bytes(data)))
            self._left -= len(data)
        self._place += len(data)
        self._end = max(self._end, self._place)
        return len(data)

    def truncate(self, size: int | None = None) -> int:
        size = self._place if size is None else size
        if self.failure is None:
            try:
                self._file.truncate(size)
            except BaseException as error:
                self.failure = error
        self._end = size
        return size

    def read(self, size: int | None = -1) -> bytes:
        left = max(self._end - self._place, 0)
        buffer = bytearray(left if size is None or size < 0 else min(size, left))
        self.readinto(buffer)
        return bytes(buffer)

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        view = view[: max(self._end - self._place, 0)]
        done = 0
        try:
            self._file.seek(self._place)
            while done < len(view) and (count := self._file.readinto(view[done:])):
                done += count
        except BaseException as error:
            self.failure = self.failure or error
        view[done:] = bytes(len(view) - done)
        for place, data in self._later:
            first, last = max(place, self._place), min(place + len(data), self._place + len(view))
            if first < last:
                view[first - self._place : last - self._place] = data[first - place : last - place]
        self._place += len(view)
        return len(view)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._place = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._end}[whence]
        return self._place

    def tell(self) -> int:
        return self._place


def sync_folder(folder: Path) -> None:
    """Ask the system to keep the names in a folder, so that a power cut brings no old state back."""
    with contextlib.suppress(OSError):  # not every file system knows how
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def check_writable(path: str | os.PathLike) -> None:
    """Check that a file can be written at `path`, before work is spent on what goes there.

    Raises:
        InputError: the path is a folder, or nothing can be written there.
    """
    path = Path(path)
    if os.path.isdir(path):
        raise InputError(f"{path} is a folder, expected the name of a file to write")
    try:
        with contextlib.suppress(FileNotFoundError):
            os.stat(path)  # fails on a name that is too long and on links that lead to each other
        parents = Path(os.path.realpath(path)).parents
        with tempfile.TemporaryFile(dir=next(parent for parent in parents if parent.exists())):
            pass
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}; choose another place") from error


def _remove_abandoned(folder: Path, prefix: str) -> None:
    """Remove temporary files and folders of killed processes; those of processes that we cannot see stay."""
    for left in folder.glob(f"{glob.escape(prefix)}*.tmp"):
        process = left.name.removeprefix(prefix).partition(".")[0]
        if process.isdigit() and int(process) != os.getpid() and not is_running(int(process)):
            if left.is_dir():
                shutil.rmtree(left, ignore_errors=True)
            else:
                left.unlink(missing_ok=True)


def _write_failure(error: BaseException, before: BaseException | None) -> str | None:
    """Return the operating system's words for a failed write, or None if `error` is something else.

    Libraries hide it behind errors of their own, and HDF5 inside its message.

    Args:
        error: what was raised.
        before: what was being handled already when the writing began.
    """
    behind: BaseException | None = error
    while behind is not None and behind is not before:
        for code in WRITE_ERRORS:
            # A missing file inside HDF5 is one that was read, not written.
            named = code != errno.ENOENT and os.strerror(code).lower() in str(behind).lower()
            if getattr(behind, "errno", None) == code or (named and isinstance(behind, (OSError, RuntimeError))):
                return os.strerror(code)
        behind = behind.__cause__ or behind.__context__
    return None


def write_text(path: str | os.PathLike, text: str) -> None:
    """Write a UTF-8 text file atomically."""
    with atomic_stream(path) as stream:
        stream.write(text.encode())


@contextlib.contextmanager
def create_h5(path: str | os.PathLike, kind: str, schema: int, settings: dict[str, Any]) -> Iterator[h5py.File]:
    """Yield a new HDF5 file that appears at `path`, complete, when the block ends.

    Its root attributes say what it is, as `describe` writes them, and have the checksum of the whole file, which
    `open_h5` checks.

    Args:
        path: the file.
        kind, schema, settings: what it is.
    """
    from rcnn_svm.hdf5 import open_hdf5  # here and below, for an exported detector runs without h5py

    with atomic_stream(path) as stream:
        with open_hdf5(stream, "w") as handle:
            # First of all, so that it is near the beginning of the file, where it is looked for.
            handle.attrs[CHECKSUM] = np.bytes_(CHECKSUM_MARK + b"0" * CHECKSUM_DIGITS)
            describe(handle, kind, schema, settings)
            yield handle
        place = _checksum_place(stream)
        if place is not None:
            digest = _digest_around(stream, place)
            stream.seek(place)
            stream.write(digest)


def describe(handle: h5py.File, kind: str, schema: int, settings: dict[str, Any]) -> None:
    """Write what a new file is as root attributes.

    They are `kind`, `schema`, `settings` (JSON), `fingerprint` of the settings and `provenance` (JSON).
    """
    handle.attrs["kind"] = kind
    handle.attrs["schema"] = schema
    handle.attrs["settings"] = json.dumps(settings, sort_keys=True)
    handle.attrs["fingerprint"] = fingerprint(settings)
    handle.attrs["provenance"] = json.dumps(provenance())


def _checksum_place(stream: BinaryIO, *, anywhere: bool = False) -> int | None:
    """Return where the checksum's digits are in a file: near its beginning, or anywhere; None where they are not."""
    stream.seek(0)
    position, seen = 0, b""
    while chunk := stream.read(CHUNK):
        seen += chunk
        found = seen.find(CHECKSUM_MARK)
        if found >= 0:
            return position + found + len(CHECKSUM_MARK)
        if not anywhere:
            break
        kept = seen[1 - len(CHECKSUM_MARK) :]
        position, seen = position + len(seen) - len(kept), kept
    return None


def _digest_around(stream: BinaryIO, place: int) -> bytes:
    """Return the SHA-256 of a file, in hex, without the digits at `place`."""
    digest = hashlib.sha256()
    stream.seek(0)
    left = place
    while left and (chunk := stream.read(min(left, CHUNK))):
        digest.update(chunk)
        left -= len(chunk)
    stream.seek(place + CHECKSUM_DIGITS)
    while chunk := stream.read(CHUNK):
        digest.update(chunk)
    return digest.hexdigest().encode()


def _check_content(path: Path, *, anywhere: bool = False) -> bool:
    """Return whether a file has a checksum; files of earlier versions have none.

    Args:
        path: the file.
        anywhere: look for it in all of the file.

    Raises:
        InputError: the checksum is not that of the file's bytes.
    """
    with open(path, "rb", buffering=0) as stream:
        place = _checksum_place(stream, anywhere=anywhere)
        if place is None:
            return False
        digest = _digest_around(stream, place)
        stream.seek(place)
        if stream.read(CHECKSUM_DIGITS) != digest:
            raise InputError(
                f"{path} is damaged: its bytes are not those that were written (truncated or damaged on disk); "
                "delete it and run the stage that writes it again"
            )
        return True


def require_file(path: Path) -> None:
    """Check that an artefact is there.

    Raises:
        InputError: there is no such file.
    """
    try:
        require_regular(path)
    except OSError as error:
        raise InputError(f"{path} does not exist; run the stage that writes it or correct the path") from error


@contextlib.contextmanager
def open_h5(path: str | os.PathLike, kind: str, schema: int, *, checksum: bool = True) -> Iterator[h5py.File]:
    """Yield an artefact opened for reading after checking that it is one, and as it was written.

    Args:
        path: the file.
        kind, schema: what it must be.
        checksum: as in `open_any_h5`.

    Raises:
        InputError: the file is missing, truncated, damaged, not HDF5, of another kind or of another schema.
    """
    with open_h5_of(path, [kind], checksum=checksum) as handle:
        found = int(handle.attrs.get("schema", -1))
        check_schema(path, kind, found, schema, made_by=_writer(handle) if found > schema else None)
        yield handle


def _writer(handle: h5py.File) -> str | None:
    """Return the version of rcnn-svm that wrote an artefact, or None where it does not say."""
    try:
        return str(json.loads(handle.attrs["provenance"])["rcnn_svm"])
    except READ_ERRORS:
        return None


@contextlib.contextmanager
def open_h5_of(path: str | os.PathLike, kinds: Sequence[str], *, checksum: bool = True) -> Iterator[h5py.File]:
    """Yield an artefact of one of several kinds opened for reading, whatever its schema.

    Args:
        path: the file.
        kinds: what it may be; anything of ours where empty.
        checksum: as in `open_any_h5`.

    Raises:
        InputError: the file is missing, truncated, damaged, not HDF5, of another kind, or refused by `open_hdf5`.
    """
    path, expected = Path(path), " or ".join(kinds) or "what a stage of it writes"
    require_file(path)
    with contextlib.ExitStack() as stack:
        stack.enter_context(reading(path))
        try:
            handle = stack.enter_context(open_any_h5(path, checksum=checksum))
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
        found = handle.attrs.get("kind")
        if found is None or (kinds and found not in kinds):
            raise InputError(f"{path} holds {found or 'something not written by rcnn-svm'}, expected {expected}")
        yield handle


@contextlib.contextmanager
def open_any_h5(path: str | os.PathLike, *, checksum: bool = True) -> Iterator[h5py.File]:
    """Yield an HDF5 file opened for reading, whatever it is, after checking what its checksum says.

    Damaged structures make HDF5 hang or crash. It therefore opens a file once its checksum is right, and one without,
    as earlier versions wrote, when a child process has read it (`open_hdf5`).

    Args:
        path: the file.
        checksum: look for it; not where the file is known to be whole otherwise.

    Raises:
        InputError: the checksum is wrong, or the file is refused by `open_hdf5`.
        Exception: whatever damaged bytes make h5py raise.
    """
    from rcnn_svm.hdf5 import open_hdf5

    path = Path(path)
    checked = checksum and _check_content(path)
    with open_hdf5(path, known_whole=checked or not checksum) as handle:
        if checksum and not checked and CHECKSUM in handle.attrs and not _check_content(path, anywhere=True):
            raise InputError(
                f"{path} is damaged (its checksum is not readable); delete it and run the stage that writes it again"
            )
        yield handle


@contextlib.contextmanager
def reading(path: str | os.PathLike) -> Iterator[None]:
    """Turn whatever damaged content makes the block raise into one sentence.

    Raises:
        InputError: the block raised it, or something that damaged content explains; or it is no regular file.
    """
    try:
        require_regular(path)
        yield
    except (InputError, BrokenPipeError):
        raise
    except READ_ERRORS as error:
        raise InputError(
            f"{path} is damaged ({type(error).__name__} while reading it); "
            "delete it and run the stage that writes it again"
        ) from error


@contextlib.contextmanager
def reading_unsealed(path: str | os.PathLike) -> Iterator[None]:
    """Do as `reading` for what the content of an artefact makes the block raise, where it has no checksum.

    What is whole and makes the block fail is a fault of the program, and stays one.

    Raises:
        InputError: the block raised it, or something that edited content explains.
    """
    try:
        yield
    except (LookupError, ValueError, TypeError, AttributeError, ArithmeticError) as error:
        if isinstance(error, InputError) or _check_content(Path(path), anywhere=True):
            raise
        raise InputError(
            f"{path} was changed by another program ({type(error).__name__} in what is made of it); restore it, or run "
            "the stage that writes it again"
        ) from error


def members(group: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a group of HDF5 holds by name.

    Going through `group.items()` itself holds the lock of h5py, and goes on doing so if an error ends the loop, for as
    long as anybody keeps that: no other thread could use HDF5.
    """
    return {name: group[name] for name in list(group)}


def read_settings(handle: h5py.File) -> dict[str, Any]:
    """Return the settings recorded by `create_h5`.

    Raises:
        ValueError: they are no JSON object.
    """
    settings = json.loads(handle.attrs["settings"])
    if not isinstance(settings, dict):
        raise ValueError("settings are no JSON object")
    return settings
