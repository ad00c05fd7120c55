"""Counts of cells as rows that stay sparse, or on the disk, until some are read."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from gendi.data.split import Rows, RowView
from gendi.errors import DataError


class CountRows:
    """Rows (N, G) of a dense, sparse or backed matrix; `rows[index]` is dense, with the dtype of the matrix.

    `path` is the file of a backed matrix. It is compared with what it was at every read, since HDF5 gives zeros for
    what a file that was cut off no longer has.
    """

    def __init__(self, matrix: Any, path: Path | None = None) -> None:
        self._path, self._stamp = path, _stamp(path)
        self.matrix: Any = matrix.tocsr() if hasattr(matrix, "tocsr") else matrix
        self.shape: tuple[int, ...] = tuple(int(size) for size in matrix.shape)
        self.dtype: np.dtype[Any] = np.dtype(matrix.dtype)

    @property
    def nbytes(self) -> int:
        """The bytes of all rows as one dense array."""
        return self.shape[0] * self.shape[1] * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any, /) -> NDArray[Any]:
        """Return some rows. Raises `DataError` if they cannot be read from their file any more."""
        if self._path is None:
            return self._rows(index)
        try:
            if _stamp(self._path) == self._stamp:
                return self._rows(index)
            reason = "its size or its time of change differs"
        except (OSError, RuntimeError) as error:
            reason = " ".join(str(error).split())
        raise DataError(
            f"{self._path} changed or was cut off while it was read: {reason}. Restore it, and do not write to data in "
            "use."
        )

    def sparse(self, index: Any) -> sp.csr_matrix:
        """Return the rows of a slice or an array of numbers as a sparse matrix. Raises `DataError` as `rows[index]`."""
        if isinstance(self.matrix, sp.csr_matrix):
            return sp.csr_matrix(self.matrix[index])
        return sp.csr_matrix(self[index])

    def with_columns(self, columns: NDArray[np.int64]) -> "CountRows":
        """Return the same rows with these columns, in this order: copied in memory, or taken when rows are read."""
        in_memory = isinstance(self.matrix, np.ndarray) or sp.issparse(self.matrix)
        return CountRows(self.matrix[:, columns] if in_memory else SomeColumns(self.matrix, columns), self._path)

    def _rows(self, index: Any) -> NDArray[Any]:
        if isinstance(index, int | np.integer):
            row: NDArray[Any] = dense(self.matrix[index : index + 1])[0]
            return row
        return dense(self.matrix[index] if isinstance(index, slice) else _taken(self.matrix, np.asarray(index)))


class JoinedCounts:
    """The rows of several `CountRows` of the same genes, one after another; nothing is copied."""

    def __init__(self, parts: Sequence[CountRows]) -> None:
        self.parts = tuple(parts)
        self.ends = np.cumsum([len(part) for part in parts])
        self.shape: tuple[int, ...] = (int(self.ends[-1]), *parts[0].shape[1:])
        self.dtype: np.dtype[Any] = np.result_type(*(part.dtype for part in parts))

    @property
    def nbytes(self) -> int:
        """The bytes of all rows as one dense array."""
        return self.shape[0] * self.shape[1] * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any, /) -> NDArray[Any]:
        """Return some rows as an array. Raises `DataError` as `CountRows`."""
        if isinstance(index, int | np.integer):
            row: NDArray[Any] = self[np.array([index])][0]
            return row
        numbers = np.arange(len(self))[index]
        out = np.empty((len(numbers), *self.shape[1:]), self.dtype)
        for part, mine, own in self._shares(numbers):
            out[mine] = part[own]
        return out

    def sparse(self, index: Any) -> sp.csr_matrix:
        """Return the rows of a slice or an array of numbers as a sparse matrix. Raises `DataError` as `rows[index]`."""
        numbers = np.arange(len(self))[index]
        shares = list(self._shares(numbers))
        if not shares:
            return sp.csr_matrix((0, self.shape[1]), dtype=self.dtype)
        found = sp.vstack([part.sparse(own) for part, _, own in shares], format="csr")
        order = np.concatenate([np.flatnonzero(mine) for _, mine, _ in shares])
        return sp.csr_matrix(found if (np.diff(order) > 0).all() else found[np.argsort(order)])

    def _shares(self, numbers: NDArray[np.int64]) -> Iterator[tuple[CountRows, NDArray[np.bool_], NDArray[np.int64]]]:
        """Yield each part that has some of the rows, which of them, and their numbers in it."""
        source = np.searchsorted(self.ends, numbers, "right")
        for k in np.unique(source).tolist():
            mine = source == k
            yield self.parts[k], mine, numbers[mine] - (self.ends[k - 1] if k else 0)


def sparse_rows(rows: Rows, index: Any) -> sp.csr_matrix:
    """Return some rows as a sparse matrix; those of a sparse matrix never become dense on the way."""
    if isinstance(rows, RowView):
        return sparse_rows(rows.rows, rows.index[index])
    if isinstance(rows, CountRows | JoinedCounts):
        return rows.sparse(index)
    return sp.csr_matrix(rows[index])


class SomeColumns:
    """Some columns of a matrix on the disk; rows are read whole, and the columns are taken from them."""

    def __init__(self, matrix: Any, columns: NDArray[np.int64]) -> None:
        self.matrix, self.columns = matrix, columns
        self.shape: tuple[int, int] = (int(matrix.shape[0]), len(columns))
        self.dtype: np.dtype[Any] = np.dtype(matrix.dtype)

    def __getitem__(self, rows: Any, /) -> Any:
        """Return some rows (n, g), dense or sparse as the matrix is."""
        return self.matrix[rows][:, self.columns]


def _stamp(path: Path | None) -> tuple[int, int] | None:
    """Return the size and the time of a file."""
    if path is None:
        return None
    found = path.stat()
    return found.st_size, found.st_mtime_ns


def dense(part: Any) -> NDArray[Any]:
    """Return some rows of a matrix as an array."""
    return np.asarray(part.toarray() if hasattr(part, "toarray") else part)


def _taken(matrix: Any, index: NDArray[np.integer[Any]]) -> Any:
    """Return rows in any order; from a file they are read in rising order, each once."""
    if isinstance(matrix, np.ndarray | sp.csr_matrix):
        return matrix[index]
    order, back = np.unique(index, return_inverse=True)
    return dense(matrix[order])[back]


def large(path: Path, limit: int = 2**30) -> bool:
    """Return whether a file is so large that its matrix stays on the disk."""
    return path.stat().st_size > limit
