"""The distribution of each gene's counts in each class of cells: negative binomial, given the cell's depth.

    k_ig ~ NB(mean p_gc L_i, dispersion a_gc)      for cell i of class c and depth L_i

    p_gc = (S_gc + m p_g) / (L_c + m),      S, L: sums of counts and depths over the class, m: `PRIOR` mean depths
    a_gc = (sum_i ((k - mu)^2 - mu) + w a_g M) / (sum_i mu^2 + w M),      M: mean mu^2 over the class, w: `WEIGHT` cells

A rare class therefore borrows from all cells. The last row of each table is the distribution of all cells together. It
serves cells whose class is not given (-1) and classes without cells. The sums are computed chunk by chunk.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float64, Int64
from numpy.typing import NDArray

from gendi.data.cells.normalise import depths

PRIOR = 0.1
"""The number of cells of mean depth that the rates of a class borrow from all cells."""
WEIGHT = 5.0
"""The number of cells that the dispersions of a class borrow from all classes."""
LEAST, MOST = 1e-4, 1e3
"""Bounds of a dispersion; with the lower one, the distribution is as good as Poisson up to means of thousands."""
LEAST_RATE = 1e-12
"""The rate of a gene without a count, so that a count in another cell is unlikely, but not impossible."""


@dataclass(frozen=True, eq=False)
class Marginals:
    """Rates p and dispersions a, each (K + 1, G); the last row is for cells without a class or of an unseen class."""

    rates: Float64[np.ndarray, "k g"]
    dispersions: Float64[np.ndarray, "k g"]

    def rows(self, labels: Int64[np.ndarray, " n"] | None, n: int) -> Int64[np.ndarray, " n"]:
        """Return the row of the tables for each of n cells."""
        last = len(self.rates) - 1
        if labels is None:
            return np.full(n, last, np.int64)
        return np.where((labels < 0) | (labels > last), last, labels)

    def of(
        self, labels: Int64[np.ndarray, " n"] | None, depth: Float64[np.ndarray, " n"]
    ) -> tuple[Float64[np.ndarray, "n g"], Float64[np.ndarray, "n g"]]:
        """Return means and dispersions, each (n, G), for cells of these classes and depths."""
        rows = self.rows(labels, len(depth))
        return self.rates[rows] * depth[:, None], self.dispersions[rows]


@dataclass(eq=False)
class Sums:
    """The sums over the cells of each class: of k, k^2 and k L, (K, G), and of 1, L and L^2, (K,)."""

    classes: int
    genes: int
    of_k: NDArray[np.float64] = field(init=False)
    of_k2: NDArray[np.float64] = field(init=False)
    of_kl: NDArray[np.float64] = field(init=False)
    of_depths: NDArray[np.float64] = field(init=False)

    def __post_init__(self) -> None:
        self.of_k, self.of_k2, self.of_kl = (np.zeros((self.classes, self.genes)) for _ in range(3))
        self.of_depths = np.zeros((3, self.classes))

    def add(self, counts: Any, labels: Int64[np.ndarray, " n"]) -> None:
        """Add a chunk of cells: counts (n, G), sparse or not, and their classes."""
        k, depth = sp.csr_matrix(counts, dtype=np.float64), depths(counts)
        rows = np.arange(len(labels))
        own = sp.csr_matrix((np.ones(len(labels)), (labels, rows)), shape=(self.classes, len(labels)))
        self.of_k += (own @ k).toarray()
        self.of_k2 += (own @ k.power(2)).toarray()
        self.of_kl += (own.multiply(depth[None]).tocsr() @ k).toarray()
        self.of_depths += np.stack([own @ depth**power for power in (0, 1, 2)])


def fit_marginals(chunks: Iterable[tuple[Any, NDArray[np.int64] | None]], classes: int, genes: int) -> Marginals:
    """Return the marginals fitted to chunks of (counts (n, G), classes (n,) or None).

    Cells without classes count for the last row only.
    """
    return solve(sums_of(chunks, classes, genes))


def sums_of(chunks: Iterable[tuple[Any, NDArray[np.int64] | None]], classes: int, genes: int) -> Sums:
    """Return the sums of chunks of (counts (n, G), classes (n,) or None); the last row is that of unclassed cells.

    Counts may be sparse.
    """
    sums = Sums(classes + 1, genes)
    for counts, labels in chunks:
        known = np.full(counts.shape[0], classes) if labels is None else np.where(labels < 0, classes, labels)
        sums.add(counts, known.astype(np.int64))
    return sums


def within_classes(sums: Sums, rates: Float64[np.ndarray, "k g"]) -> Float64[np.ndarray, " g"]:
    """Return the dispersions (G,) of genes around the rates of their classes, (K + 1, G), from all classes together."""
    n, of_l, of_l2 = sums.of_depths
    excess = _excess(sums.of_k, sums.of_k2, sums.of_kl, rates, of_l, of_l2, n)
    return _ratio(excess[:-1].sum(0), (rates**2 * of_l2[:, None])[:-1].sum(0))


def own_excess(sums: Sums, c: int, rates: Float64[np.ndarray, " g"]) -> Float64[np.ndarray, " g"]:
    """Return the sum over the cells of class c of (k - mu)^2 n / (n - 1) - k, (G,), for rates fitted to these cells."""
    n, _, of_l2 = sums.of_depths[:, c]
    squared = sums.of_k2[c] - 2 * rates * sums.of_kl[c] + rates**2 * of_l2
    return np.asarray(squared * (n / max(1.0, n - 1)) - sums.of_k[c])


def solve(sums: Sums) -> Marginals:
    """Return the marginals of the module's docstring, for cells with these sums."""
    n, of_l, of_l2 = sums.of_depths
    cells, total = max(1.0, n.sum()), max(1.0, of_l.sum())
    pooled = np.maximum(sums.of_k.sum(0) / total, LEAST_RATE)
    prior = PRIOR * total / cells
    rates = (sums.of_k + prior * pooled) / (of_l[:, None] + prior)
    rates[-1] = pooled
    excess = _excess(sums.of_k, sums.of_k2, sums.of_kl, rates, of_l, of_l2, n)
    squares = rates**2 * of_l2[:, None]  # sums of mu^2
    within = _ratio(excess[:-1].sum(0), squares[:-1].sum(0)) if len(rates) > 1 else None
    together = _excess(
        sums.of_k.sum(0)[None], sums.of_k2.sum(0)[None], sums.of_kl.sum(0)[None], pooled[None],
        of_l.sum(keepdims=True), of_l2.sum(keepdims=True), n.sum(keepdims=True),
    )[0]  # fmt: skip
    dispersions = np.empty_like(rates)
    dispersions[-1] = _ratio(together, pooled**2 * of_l2.sum())
    if within is not None:
        borrowed = WEIGHT * rates[:-1] ** 2 * (of_l2.sum() / cells)
        dispersions[:-1] = _ratio(excess[:-1] + borrowed * within, squares[:-1] + borrowed)
    return Marginals(rates, np.clip(dispersions, LEAST, MOST))


def _excess(
    k: NDArray[np.float64],
    k2: NDArray[np.float64],
    kl: NDArray[np.float64],
    rates: NDArray[np.float64],
    of_l: NDArray[np.float64],
    of_l2: NDArray[np.float64],
    n: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return sums over cells of (k - mu)^2 n / (n - 1) - mu, (K, G)."""
    squared = k2 - 2 * rates * kl + rates**2 * of_l2[:, None]
    unbiased = n / np.maximum(1.0, n - 1)
    return np.asarray(squared * unbiased[:, None] - rates * of_l[:, None])


def _ratio(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.clip(a / np.maximum(b, 1e-300), LEAST, MOST)
