"""Counts of cells as rows that stay sparse, or on the disk, until some are read."""

from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

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

    def _rows(self, index: Any) -> NDArray[Any]:
        if isinstance(index, int | np.integer):
            row: NDArray[Any] = dense(self.matrix[index : index + 1])[0]
            return row
        return dense(self.matrix[index] if isinstance(index, slice) else _taken(self.matrix, np.asarray(index)))


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
