"""The look of a matrix of cells: whether it holds counts, or transformed counts, judged by some of its rows.

counts        whole numbers, none of them negative
scaled        negative numbers: z-scores of genes (scanpy.pp.scale)
log1p         fractions below 20: logarithms of normalised counts (scanpy.pp.log1p)
normalised    fractions of any size: counts scaled to one depth (scanpy.pp.normalize_total)
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from gendi.data.cells.rows import sparse_rows
from gendi.data.split import Rows

SOME = 1000
"""Number of cells that are inspected."""
LARGEST_LOG = 20.0
"""A number larger than the logarithm of any count."""
CHUNK = 1024
MOST_COUNT = 2**31 - 1


@dataclass(frozen=True)
class Look:
    """The look of a matrix, and the reason for it."""

    kind: str
    """counts, log1p, normalised, scaled, not finite, text or empty."""
    why: str

    def __str__(self) -> str:
        return f"{self.kind} ({self.why})"


def look_at(matrix: Any) -> Look:
    """Return the look of a matrix (N, G), which is an array, sparse, or on a disk."""
    n, genes = matrix.shape
    if not n or not genes:
        return Look("empty", f"{n} cells, {genes} genes")
    if np.dtype(matrix.dtype).kind not in "biuf":
        return Look("text", f"its type is {matrix.dtype}")
    entries = values(matrix[: min(n, SOME)])
    entries = entries[:50_000_000].astype(np.float64)
    if not np.isfinite(entries).all():
        return Look("not finite", f"{int((~np.isfinite(entries)).sum())} entries are NaN or infinite")
    low, high = float(entries.min(initial=0)), float(entries.max(initial=0))
    spread = f"from {low:.4g} to {high:.4g}"
    if np.array_equal(entries, np.rint(entries)):
        return Look("counts", f"whole numbers {spread}") if low >= 0 else Look("scaled", f"negative, {spread}")
    if low < 0:
        return Look("scaled", f"fractions {spread}: scaled, or regressed")
    if high < LARGEST_LOG:
        return Look("log1p", f"fractions {spread}")
    return Look("normalised", f"fractions {spread}")


def values(matrix: Any) -> NDArray[Any]:
    """Return the entries of a matrix in one row; of a sparse matrix, those that are stored."""
    return np.asarray(getattr(matrix, "data", None) if sp.issparse(matrix) else matrix).reshape(-1)


@dataclass(frozen=True)
class Trouble:
    """The first entry that is not a count."""

    cell: int
    gene: int
    value: float


def first_trouble(rows: Rows) -> Trouble | None:
    """Return the first entry of rows (N, G) that is negative, not whole, not finite or beyond int32, or None."""
    for start in range(0, len(rows), CHUNK):
        part = sparse_rows(rows, slice(start, min(start + CHUNK, len(rows))))
        part.sort_indices()
        with np.errstate(invalid="ignore"):
            bad = ~((part.data >= 0) & (part.data <= MOST_COUNT) & (part.data == np.rint(part.data)))
        if bad.any():
            place = int(bad.argmax())
            cell = int(np.searchsorted(part.indptr, place, "right")) - 1
            return Trouble(start + cell, int(part.indices[place]), float(part.data[place]))
    return None


def blocks(rows: Rows) -> Iterator[tuple[int, NDArray[Any]]]:
    """Yield (number of the first row, dense block of rows)."""
    for start in range(0, len(rows), CHUNK):
        yield start, rows[slice(start, min(start + CHUNK, len(rows)))]
