"""The scale of a matrix of expression, and log-normalised rows of two files on one scale.

    counts      whole numbers from 0 on
    scaled      numbers of any size from 0 on that are not whole: counts that were divided by the depth of their cell
    log1p       their logarithms ln(1 + y)
    z-scores    as many negative numbers as a standardised gene has

All scores are of y = ln(1 + s k / L), with s = 10,000. Counts and scaled numbers are brought to it; logarithms are
taken as they are.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gendi.data.cells.looks import LARGEST_LOG, SOME
from gendi.data.cells.normalise import log_normalise
from gendi.data.cells.rows import dense
from gendi.errors import DataError

NEGATIVE = 0.05
"""Share of numbers below -0.1 up to which a matrix is taken for logarithms: a network predicts some below 0."""
APART = 2.0
"""Two files of logarithms differ in scale if the sums of their cells differ by more than this factor."""
CONSTANT = 0.02
"""Relative spread of the sums of cells up to which they were scaled to one sum."""


@dataclass(frozen=True)
class Scale:
    """What a matrix looks like, and the usual sum of a cell without the logarithm."""

    kind: str
    total: float
    constant: bool
    """Whether all cells have this sum."""

    @property
    def logged(self) -> bool:
        """Whether the numbers are logarithms."""
        return self.kind == "log1p"

    def __str__(self) -> str:
        per = f"{'' if self.constant else 'about '}{_round(self.total, self.constant)} per cell"
        match self.kind:
            case "counts":
                return f"counts ({per})"
            case "scaled":
                return f"normalised expression without a logarithm ({per})"
            case "log1p":
                return f"log1p of normalised expression ({per})"
        return self.kind


def _round(total: float, constant: bool) -> str:
    return f"{total:,.0f}" if constant or total < 100 else f"{round(total, 1 - len(str(int(total)))):,.0f}"


def scale_of(matrix: Any) -> Scale:
    """Return the scale of a matrix (N, G), judged by some of its rows."""
    n = matrix.shape[0]
    if np.dtype(matrix.dtype).kind not in "biuf":
        return Scale(f"no numbers (its type is {matrix.dtype})", 0.0, False)
    rows = np.unique(np.linspace(0, n - 1, min(n, SOME)).round().astype(np.int64))
    x = dense(matrix[rows]).astype(np.float64)
    if bad := int((~np.isfinite(x)).sum()):
        return Scale(f"expression with {bad:,} entries that are NaN or infinite among {len(rows):,} cells", 0.0, False)
    if (x < -0.1).mean() > NEGATIVE:
        return Scale(f"z-scores of genes ({100 * (x < 0).mean():.0f}% of the numbers are negative)", 0.0, False)
    whole = bool((x >= 0).all() and np.array_equal(x, np.rint(x)))
    kind = "counts" if whole else "log1p" if x.max(initial=0) < LARGEST_LOG else "scaled"
    sums = (np.expm1(np.maximum(x, 0)) if kind == "log1p" else x).sum(1)
    usual = float(np.median(sums))
    return Scale(kind, usual, bool(np.abs(sums - usual).max() <= CONSTANT * max(usual, 1e-12)))


def log_rows(matrix: Any, rows: NDArray[np.int64], columns: NDArray[np.int64], logged: bool) -> NDArray[np.float64]:
    """Return log-normalised expression (n, g) of some cells and genes. Raises `DataError` for NaN and infinity."""
    x = dense(matrix[rows]).astype(np.float64)[:, columns]
    if not np.isfinite(x).all():
        raise DataError(
            f"{int((~np.isfinite(x)).sum()):,} entries of the expression are NaN or infinite. Fill them in."
        )
    return x if logged else log_normalise(np.maximum(x, 0.0))


def same(one: Scale, other: Scale) -> bool:
    """Return whether two matrices can be brought to one scale without knowing more."""
    for scale in (one, other):
        if scale.kind not in ("counts", "scaled", "log1p"):
            return False
    if one.logged != other.logged:
        return False
    ratio = max(one.total, 1e-12) / max(other.total, 1e-12)
    return not one.logged or 1 / APART <= ratio <= APART
