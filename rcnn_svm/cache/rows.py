"""Rows of a matrix in a file: read when they are asked for, each held against a sum that was written with it.

No file is mapped. A mapped page that another program cuts off ends the process, and damage in one goes unseen; what is
read is what was written, or an error. On the way bytes pass through a buffer that stays in the processor's cache, where
they are summed and from where they are widened or copied: the system's own copy to other memory took five times as long
(0.50 against 0.10 s/GiB on an AMD EPYC).
"""

from __future__ import annotations

import functools
import os
import weakref
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from rcnn_svm.compiled import compiled
from rcnn_svm.errors import InputError

BUFFER_BYTES = 1 << 18
# Seeds the factors of the sums, which are in all files: never to be changed.
_SEED = 2014


class OpenFile:
    """A file to read, open as long as somebody holds this.

    Args:
        path: the file.
        descriptor: of the file, which is closed with this.
    """

    def __init__(self, path: Path, descriptor: int):
        self.path = path
        self._descriptor = descriptor
        weakref.finalize(self, os.close, descriptor)

    @property
    def version(self) -> tuple[int, ...]:
        """Numbers that change when somebody writes to the file."""
        status = os.fstat(self._descriptor)
        return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns

    def read(self, offset: int, buffer: np.ndarray) -> None:
        """Fill a contiguous (n,) uint8 buffer with the bytes from `offset` on.

        Raises:
            InputError: the file ends before, or cannot be read.
        """
        left = buffer.data
        while left:
            try:
                count = os.preadv(self._descriptor, [left], offset)
            except OSError as error:
                raise damaged(self.path, f"it cannot be read: {error.strerror}") from error
            if not count:
                raise damaged(self.path, f"it ends at byte {offset:,}; another program has cut it")
            left, offset = left[count:], offset + count


def damaged(path: Path, how: str) -> InputError:
    """Return the error that says how a file is damaged and what to do."""
    return InputError(f"{path} is damaged ({how}); delete it and run the stage that writes it again")


@dataclass(frozen=True)
class StoredRows:
    """The rows of a matrix in a file; nothing is read before `read` and `as_float32`.

    Attributes:
        file: the file.
        offset: place of the first row in it, bytes.
        dtype: type of the numbers.
        shape: (N, ...) of the matrix.
        sums: (N,) uint64, `row_sums` of the rows when they were written; None where the file has none.
        first: number of the first row in the file's matrix, for messages.
    """

    file: OpenFile
    offset: int
    dtype: np.dtype
    shape: tuple[int, ...]
    sums: np.ndarray | None = None
    first: int = 0

    def __len__(self) -> int:
        """Return N, the number of rows."""
        return self.shape[0]

    @functools.cached_property
    def row_bytes(self) -> int:
        """Bytes of a row."""
        return int(np.prod(self.shape[1:], dtype=np.int64)) * self.dtype.itemsize

    def __getitem__(self, rows: slice) -> StoredRows:
        """Return some consecutive rows, which are not read yet."""
        start, stop, _ = rows.indices(len(self))
        return replace(
            self,
            offset=self.offset + start * self.row_bytes,
            shape=(max(stop - start, 0), *self.shape[1:]),
            sums=None if self.sums is None else self.sums[start:stop],
            first=self.first + start,
        )

    def read(self, rows: np.ndarray | slice | None = None) -> np.ndarray:
        """Return rows as they are stored.

        Args:
            rows: which: (n,) int indices, an (N,) bool mask or a slice; all where None.

        Returns:
            (n, ...) of `dtype`.

        Raises:
            InputError: a row is not as it was written, or cannot be read.
        """
        chosen = self._chosen(rows)
        found = np.empty((len(chosen), *self.shape[1:]), self.dtype)
        self._copy(chosen, found)
        return found

    def as_float32(self, rows: np.ndarray | slice | None = None, out: np.ndarray | None = None) -> np.ndarray:
        """Return rows in single precision.

        Args:
            rows: as in `read`.
            out: as in the function `as_float32`.

        Returns:
            (n, D) float32, the first rows of `out`, or a new array.

        Raises:
            InputError: as `read`, or `out` does not fit.
        """
        chosen = self._chosen(rows)
        found = _room((len(chosen), *self.shape[1:]), out)
        if self.dtype == np.float32:
            self._copy(chosen, found)
            return found
        for first, part, sums in self._parts(chosen):
            self._check(chosen[first:], part, sums)
            as_float32(part, found[first : first + len(part)])
        return found

    def parts(self) -> Iterator[np.ndarray]:
        """Yield all rows as they are stored, some at a time, in memory that the next ones overwrite.

        Raises:
            InputError: as `read`.
        """
        for first, part, sums in self._parts(range(len(self))):
            self._check(range(first, len(self)), part, sums)
            yield part

    def _chosen(self, rows: np.ndarray | slice | None) -> range | np.ndarray:
        """Return the numbers of some rows; a range where they follow each other."""
        if rows is None:
            return range(len(self))
        if isinstance(rows, slice) and rows.step in (None, 1):
            return range(len(self))[rows]
        return np.arange(len(self))[rows]

    def _parts(self, chosen: range | np.ndarray) -> Iterator[tuple[int, np.ndarray, np.ndarray | None]]:
        """Yield how many of the chosen rows came before, the next ones, not checked yet, and their recorded sums."""
        at_once = max(BUFFER_BYTES // max(self.row_bytes, 1), 1)
        buffer = np.empty((min(at_once, len(chosen)), *self.shape[1:]), self.dtype)
        in_bytes = buffer.reshape(-1).view(np.uint8)
        for first in range(0, len(chosen), at_once):
            rows = chosen[first : first + at_once]
            for start, stop in _runs(rows):
                place = self.offset + int(rows[start]) * self.row_bytes
                self.file.read(place, in_bytes[start * self.row_bytes : stop * self.row_bytes])
            where = slice(rows.start, rows.stop) if isinstance(rows, range) else rows
            yield first, buffer[: len(rows)], None if self.sums is None else self.sums[where]

    def _copy(self, chosen: range | np.ndarray, out: np.ndarray) -> None:
        """Copy chosen rows to `out`, whose type and shape are theirs, and check them on the way."""
        for first, part, sums in self._parts(chosen):
            target = out[first : first + len(part)]
            if sums is None or not part.size:
                target[...] = part
            else:
                words = _words(part)
                self._refuse(chosen[first:], _copy_words(words, _factors(words.shape[1]), sums, _words(target)))

    def _check(self, rows: range | np.ndarray, part: np.ndarray, sums: np.ndarray | None) -> None:
        """Refuse a part that has other sums; `rows` begin with those of the part."""
        if sums is not None:
            same = row_sums(part) == sums
            self._refuse(rows, -1 if same.all() else int(same.argmin()))

    def _refuse(self, rows: range | np.ndarray, wrong: int) -> None:
        """Refuse the row at a place among `rows`; none where it is -1."""
        if wrong >= 0:
            row = self.first + int(rows[wrong])
            raise damaged(self.file.path, f"row {row} of its features does not match its checksum")


def stored_rows(stored: np.ndarray | StoredRows, rows: np.ndarray | slice | None = None) -> np.ndarray:
    """Return rows as they are stored, of an array or of a file; `rows` as in `StoredRows.read`."""
    if isinstance(stored, StoredRows):
        return stored.read(rows)
    return stored if rows is None else stored[rows]


def _runs(rows: range | np.ndarray) -> list[tuple[int, int]]:
    """Return where rows begin and end that follow each other in the file, which one call reads."""
    if isinstance(rows, range):
        return [(0, len(rows))]
    cuts = [0, *(np.flatnonzero(np.diff(rows) != 1) + 1).tolist(), len(rows)]
    return list(pairwise(cuts))


def row_sums(rows: np.ndarray) -> np.ndarray:
    """Return a checksum of the bytes of every row, (N,) uint64.

    A change of one word of 32 bits always shows, any other but for one in 2^32 or fewer.

    Args:
        rows: (N, D), contiguous.

    It is the multilinear hash of Carter and Wegman (1979) with fixed factors.
    """
    rows = np.ascontiguousarray(rows)
    if not rows.size:
        return np.zeros(len(rows), np.uint64)
    words = _words(rows)
    return _row_sums(words, _factors(words.shape[1]))


def _words(rows: np.ndarray) -> np.ndarray:
    """Return the bytes of rows as words of 32 bits, or of 16 where rows are no whole number of these."""
    return rows.reshape(len(rows), -1).view(np.uint16 if rows[0].nbytes % 4 else np.uint32)


@functools.lru_cache(maxsize=8)
def _factors(count: int) -> np.ndarray:
    """Return odd factors for so many words, (count,) uint32."""
    return np.random.PCG64(_SEED).random_raw(count).astype(np.uint32) | np.uint32(1)


@compiled()
def _row_sums(words, factors):
    sums = np.empty(len(words), np.uint64)
    for i in range(len(words)):
        row, total = words[i], np.uint64(0)
        for j in range(len(factors)):
            total += np.uint64(row[j]) * np.uint64(factors[j])
        sums[i] = total
    return sums


@compiled()
def _copy_words(words, factors, sums, out):
    """Copy rows and return the first whose sum is another, or -1. The loop stores faster than the library's copy."""
    wrong = -1
    for i in range(len(words)):
        row, target, total = words[i], out[i], np.uint64(0)
        for j in range(len(factors)):
            target[j] = row[j]
            total += np.uint64(row[j]) * np.uint64(factors[j])
        if total != sums[i] and wrong < 0:
            wrong = i
    return wrong


def as_float32(features: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """Return stored features in single precision; without a copy where they are stored so.

    Args:
        features: (N, D) float32 or float16.
        out: (M, D) float32, contiguous, M >= N; where half precision is widened to, instead of a new array.
            A buffer of some MB that is used again and again saves the page faults of new memory.

    Returns:
        (N, D) float32: `features` itself, the first rows of `out`, or a new array.

    Raises:
        InputError: the features are of another type, or `out` does not fit.

    numpy's `astype` gives the same numbers, some thirty times slower.
    """
    if features.dtype == np.float32:
        return features
    if features.dtype != np.float16:
        raise InputError(f"features are {features.dtype}, expected float32 or float16")
    widened = _room(features.shape, out)
    bits = np.ascontiguousarray(features).view(np.uint16).reshape(-1)
    _widen(bits, widened.reshape(-1).view(np.uint32))
    return widened


def _room(shape: tuple[int, ...], out: np.ndarray | None) -> np.ndarray:
    """Return an array of some shape, float32: the first rows of `out`, which compiled code fills without a look."""
    if out is None:
        return np.empty(shape, np.float32)
    if out.dtype != np.float32 or not out.flags.c_contiguous or out.shape[1:] != shape[1:] or len(out) < shape[0]:
        raise InputError(
            f"out is {out.dtype} of shape {out.shape}, expected contiguous float32 of shape {shape} or with more rows"
        )
    return out[: shape[0]]


@compiled()
def _widen(bits, out):
    # Fraction and exponent move into place, a product corrects the bias of the exponent, subnormals included.
    # Integers because the processor's own instruction is not everywhere, and its lack ends the process.
    for i in range(len(bits)):
        half = np.uint32(bits[i])
        shifted = np.uint32((half & np.uint32(0x7FFF)) << np.uint32(13))
        single = np.float32(shifted.view(np.float32) * np.float32(2.0**112)).view(np.uint32)
        if shifted >= np.uint32(0x0F800000):  # infinite or not a number
            single = np.uint32(single | np.uint32(0x7F800000))
        out[i] = np.uint32(single | np.uint32((half & np.uint32(0x8000)) << np.uint32(16)))
