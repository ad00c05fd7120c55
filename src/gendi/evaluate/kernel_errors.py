"""Standard errors of distances that are means of a kernel over pairs, in closed form.

The unbiased squared distance of two sets x (n rows) and y (m rows),

    D = mean k(x_i, x_j), i != j  +  mean k(y_i, y_j), i != j  -  2 mean k(x_i, y_j),

is a U-statistic: kernel distance, energy distance and squared MMD have this form (Gretton et al. 2012, eq. 3). By
Hoeffding's decomposition its variance is, exactly,

    Var D = 4/n Var a(x) + 4/m Var b(y)  +  2/(n(n-1)) K_xx + 2/(m(m-1)) K_yy + 4/(nm) K_xy,

where a(x) = E k(x, x') - E k(x, y), b likewise for y, and K is the mean square of the doubly centred kernel. The first
two terms are the linear part, which is 0 where the distributions agree, and the others are the quadratic part, which is
all that remains there. Each K has an unbiased estimate in the sums over rows of k and the sum of its squares (Székely
and Rizzo 2014, for pairs within a set). The variance of the rows' means over a set estimates Var a, and what K adds to
it is subtracted. A linear part below 0, which chance brings about where distributions agree, counts as 0, so the errors
are a little cautious there. Everything comes from one pass over the kernel's values, at about the cost of D itself.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

Groups = Int64[np.ndarray, " m"]
"""The group of each row of y."""
Blocks = Iterable[tuple[slice, np.ndarray]]
"""Blocks of rows of a matrix of kernel values: which rows, and their values (b, m)."""
LEAST = 4
"""Fewest rows of a set."""


@dataclass(frozen=True)
class Within:
    """Sums of k over the pairs of different rows of one set of n."""

    rows: Float64[np.ndarray, " n"]
    """Sum over the other rows, for each row."""
    squares: float
    """Sum of k^2 over all pairs, in both orders."""

    @classmethod
    def of(cls, n: int, blocks: Blocks) -> "Within":
        """Return the sums over the blocks of an (n, n) matrix, whose diagonal is left out."""
        rows, squares = np.zeros(n), 0.0
        for part, values in blocks:
            values[np.arange(len(values)), np.arange(part.start, part.start + len(values))] = 0
            rows[part] = values.sum(axis=1)
            squares += float(np.vdot(values, values))
        return cls(rows, squares)

    @property
    def centred(self) -> float:
        """The unbiased estimate of K, the mean square of the doubly centred kernel.  [Székely and Rizzo 2014, eq. 3]"""
        n, total = len(self.rows), float(self.rows.sum())
        square = self.squares - 2 / (n - 2) * float(self.rows @ self.rows) + total**2 / ((n - 1) * (n - 2))
        return max(square, 0.0) / (n * (n - 3))


@dataclass(frozen=True)
class Across:
    """Sums of k over the pairs of a row of one set of n and a row of another of m."""

    rows: Float64[np.ndarray, " n"]
    columns: Float64[np.ndarray, " m"]
    squares: float

    @classmethod
    def of(cls, n: int, m: int, blocks: Blocks) -> "Across":
        """Return the sums over the blocks of an (n, m) matrix."""
        rows, columns, squares = np.zeros(n), np.zeros(m), 0.0
        for part, values in blocks:
            rows[part] = values.sum(axis=1)
            columns += values.sum(axis=0)
            squares += float(np.vdot(values, values))
        return cls(rows, columns, squares)

    @property
    def centred(self) -> float:
        """The unbiased estimate of K, the mean square of the doubly centred kernel."""
        n, m, total = len(self.rows), len(self.columns), float(self.rows.sum())
        square = self.squares - float(self.rows @ self.rows) / m - float(self.columns @ self.columns) / n
        return max(square + total**2 / (n * m), 0.0) / ((n - 1) * (m - 1))


def error_of_both(x: Within, y: Within, across: Across, groups: Groups | None = None) -> float | None:
    """Return the standard error of D over x and y drawn anew; None for fewer than 4 rows of either.

    With `groups` of the rows of y, at least two, whole groups are drawn anew. Then the variance of the mean of b is
    that of sums over groups, G / (G - 1) sum_g (sum_j b(y_j) - mean b)^2 / m^2, if it is larger.
    """
    n, m = len(x.rows), len(y.rows)
    if min(n, m) < LEAST:
        return None
    k = across.centred
    first = 4 / n * (_spread(x, across.rows / m) - k / m)
    second = 4 / m * (_spread(y, across.columns / n) - k / n)
    if groups is not None:
        second = max(second, 4 * mean_variance(y.rows / (m - 2) - across.columns / n, groups))
    return float(np.sqrt(max(first + second, 0.0) + _quadratic(x) + _quadratic(y) + 4 * k / (n * m)))


def mean_variance(values: Float64[np.ndarray, " m"], groups: Groups) -> float:
    """Return the variance of the mean of m values over whole groups drawn anew; two groups or more."""
    _, of = np.unique(groups, return_inverse=True)
    sums = np.bincount(of.reshape(-1), weights=values - values.mean())
    g = len(sums)
    return float(g / (g - 1) * (sums @ sums) / len(values) ** 2)


def error_of_first(x: Within, across: Float64[np.ndarray, " n"]) -> float | None:
    """Return the standard error of D over x drawn anew, while y stays; None for fewer than 4 rows of x.

    `across` holds the mean of k over y for each row of x. Given y, a(x) is E k(x, x') minus that mean.
    """
    if len(x.rows) < LEAST:
        return None
    return float(np.sqrt(max(4 / len(x.rows) * _spread(x, across), 0.0) + _quadratic(x)))


def _spread(x: Within, across: np.ndarray) -> float:
    """Return the estimate of the variance over the set of a(x), up to what the other set's finite size adds.

    Sums over n - 1 others divided by n - 2 have the right slope in the row's own part: the row is missing among the
    others.
    """
    n = len(x.rows)
    return float(np.var(x.rows / (n - 2) - across, ddof=1)) - x.centred / (n - 2)


def _quadratic(x: Within) -> float:
    n = len(x.rows)
    return 2 * x.centred / (n * (n - 1))
