"""Rows of an array in a file, read when they are asked for.

The file is read, not mapped: a memory map of a file that shrinks kills the process (SIGBUS) at the next look at what is
gone. A read of such a file ends early, and raises an error that says so.
"""

import math
import os
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import DTypeLike, NDArray

from gendi.errors import DataError


class FileRows:
    """The rows of an array of `shape` and `dtype` that begins at byte `offset` of a file, in C order.

    It can be indexed as an array, along its first axis. The file is compared with what it was at every read. Raises
    `ValueError` if the file is shorter than the array, and `OSError` if it cannot be opened.

    Args:
        path: the file.
        dtype: the type of the numbers.
        shape: the shape (N, ...) of the array in the file.
        offset: where it begins, in bytes.
        axes: the order in which the axes of the array are given, as in `numpy.transpose`; the first one stays first.
        channels: how many entries of the last axis are given, the first ones; by default all.
    """

    def __init__(
        self,
        path: Path,
        dtype: DTypeLike,
        shape: tuple[int, ...],
        offset: int,
        axes: tuple[int, ...] | None = None,
        channels: int | None = None,
    ) -> None:
        self.path, self.dtype, self._inside, self._offset = path, np.dtype(dtype), shape, offset
        self._axes, self._channels = axes, channels
        self._row = math.prod(shape[1:]) * self.dtype.itemsize
        self._file = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        weakref.finalize(self, os.close, self._file)
        self._stamp = self._stat()
        if self._stamp[0] < offset + shape[0] * self._row:
            raise ValueError(f"{path} has {self._stamp[0]} bytes, and {offset + shape[0] * self._row} are wanted")

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape (N, ...)."""
        shape = self._inside if self._axes is None else tuple(self._inside[axis] for axis in self._axes)
        return shape if self._channels is None else (*shape[:-1], self._channels)

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """The number of numbers."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """The bytes that all rows take as one array."""
        return self.size * self.dtype.itemsize

    def __len__(self) -> int:
        return self._inside[0]

    def __getitem__(self, index: Any, /) -> NDArray[Any]:
        """Return the rows at `index`: a number, a slice, or an array of numbers or of truth values.

        Raises `DataError` if the file has changed.
        """
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            if step == 1:
                return self._shown(self._read(start, max(start, stop)))
            index = np.arange(start, stop, step)
        picked = np.asarray(index)
        if picked.dtype == np.bool_:
            picked = np.flatnonzero(picked)
        flat = picked.astype(np.int64).ravel()
        if len(flat) and not (-len(self) <= flat.min() and flat.max() < len(self)):
            raise IndexError(f"there are {len(self)} rows")
        out = np.empty((len(flat), *self._inside[1:]), self.dtype)
        for place, row in enumerate((flat % len(self)).tolist()):
            out[place] = self._read(row, row + 1)[0]
        shown = self._shown(out)
        return shown.reshape(*picked.shape, *shown.shape[1:])

    def __iter__(self) -> Iterator[NDArray[Any]]:
        return (self[i] for i in range(len(self)))

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        return self[:] if dtype is None else self[:].astype(dtype)

    def viewed(
        self, shape: tuple[int, ...] | None = None, axes: tuple[int, ...] | None = None, channels: int | None = None
    ) -> "FileRows":
        """Return the same rows in another shape, with their axes in another order, or with fewer channels."""
        shape, axes = shape or self._inside, axes or self._axes
        return FileRows(self.path, self.dtype, shape, self._offset, axes, channels or self._channels)

    def first(self, n: int) -> "FileRows":
        """Return the first n rows."""
        return self.viewed((n, *self._inside[1:]))

    def _shown(self, rows: NDArray[Any]) -> NDArray[Any]:
        rows = rows if self._axes is None else rows.transpose(self._axes)
        return rows if self._channels is None else rows[..., : self._channels]

    def _read(self, start: int, stop: int) -> NDArray[Any]:
        """Return the rows from `start` to `stop`, as they are in the file."""
        out = np.empty((stop - start, *self._inside[1:]), self.dtype)
        rest, place = memoryview(out.reshape(-1).view(np.uint8).data), self._offset + start * self._row
        if self._stat() != self._stamp:
            raise self._changed()
        try:
            while rest:
                found = _read_at(self._file, len(rest), place)
                if not found:
                    raise self._changed()
                rest[: len(found)] = found
                rest, place = rest[len(found) :], place + len(found)
        except OSError as error:
            raise DataError(f"{self.path} could not be read: {(error.strerror or str(error)).lower()}.") from error
        return out

    def _stat(self) -> tuple[int, int]:
        found = os.fstat(self._file)
        return found.st_size, found.st_mtime_ns

    def _changed(self) -> DataError:
        return DataError(
            f"{self.path} changed while it was read: it had {self._stamp[0]:,} bytes, and has {self._stat()[0]:,} now. "
            "Restore it, and do not write to data in use."
        )


_LOCK = threading.Lock()


def _read_at(descriptor: int, count: int, place: int) -> bytes:
    """Return up to `count` bytes of a file from `place` on; none at its end."""
    if hasattr(os, "pread"):
        return os.pread(descriptor, count, place)
    with _LOCK:  # Windows has one place per file
        os.lseek(descriptor, place, os.SEEK_SET)
        return os.read(descriptor, count)


ArrayRows: TypeAlias = NDArray[Any] | FileRows
"""An array in memory, or the rows of one in a file."""
