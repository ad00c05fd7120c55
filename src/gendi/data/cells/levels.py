"""How further classes of a cell, such as its batch or its donor, change the rates of genes, whatever its main class.

With p_gc the rate of gene g in the main class c, a cell that is also of level b of another condition, d of a third,
has the rate

    p_gcbd = p_gc f_gb f_gd,     S_gb ~ NB(mean E_gb f_gb, ...),     E_gb = sum of p_gc f_gd L over its cells

where S_gb are the counts of the level's cells. Each f is estimated as changes of a rare class are
(`gendi.data.cells.shrinkage`): most genes do not change with the batch, and have the common factor exp(o_b), the median
of S_gb / E_gb with weights by its precision. It is not 1, since rates sum to one: the genes of more counts in a batch
take from the others. Rates of classes and factors are found in turn, since a class may have more cells in one batch.

The distributions of the classes are then those of cells without differences between levels: `without` returns the sums
that such cells would have, so that neither rates nor dispersions of a class contain them.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from gendi.data.cells.marginals import Sums, solve, within_classes
from gendi.data.cells.normalise import depths
from gendi.data.cells.shrinkage import estimate_changes

Floats = NDArray[np.float64]
Labels = Mapping[str, NDArray[np.int64]]
ROUNDS = 3
"""How often the rates of classes and the factors of levels are found in turn."""


@dataclass(frozen=True, eq=False)
class Levels:
    """The factors (B + 1, G) of the levels of conditions, by name; the last row, of ones, is for no level."""

    factors: Mapping[str, Floats] = field(default_factory=dict)

    def of(self, labels: Labels, n: int, columns: NDArray[np.int64] | slice = slice(None)) -> Floats | float:
        """Return the product of the factors (n, g) of n cells, for genes in some columns; 1 if there are no levels.

        A condition that is not among `labels`, and the label -1, change nothing.
        """
        found: Floats | float = 1.0
        for name, table in self.factors.items():
            if name in labels:
                found = found * table[:, columns][rows_of(labels[name], len(table) - 1)]
        return found


def rows_of(labels: NDArray[np.int64], levels: int) -> NDArray[np.int64]:
    """Return the row of each cell in a table of levels: the last one for none, or for an unknown level."""
    return np.where((labels < 0) | (labels >= levels), levels, labels)


@dataclass(frozen=True, eq=False)
class Cells:
    """Cells by their main class and their levels: each combination that occurs, with its sums of depths."""

    classes: NDArray[np.int64]
    """The row of the main class of each combination (M,)."""
    levels: Mapping[str, NDArray[np.int64]]
    """The row of each level of each combination (M,), by condition."""
    of: NDArray[np.int64]
    """The combination (N,) of each cell."""
    depths: Floats
    """Sums of L and of L^2 of each combination, (2, M)."""

    @classmethod
    def count(
        cls, labels: NDArray[np.int64] | None, others: Labels, sizes: Mapping[str, int], depth: Floats
    ) -> "Cells":
        """Return the combinations of cells with main classes (N,), numbers of levels, and depths (N,)."""
        first = np.zeros(len(depth), np.int64) if labels is None else labels
        table = np.stack([first, *(rows_of(others[name], sizes[name]) for name in sizes)], axis=1)
        found, of = np.unique(table, axis=0, return_inverse=True)
        of = of.reshape(-1)
        sums = np.stack([np.bincount(of, depth**power, len(found)) for power in (1, 2)]).astype(np.float64)
        return cls(found[:, 0], {name: found[:, i + 1] for i, name in enumerate(sizes)}, of, sums)


def fit_levels(
    chunks: Callable[[], Iterable[tuple[slice, Any]]],
    labels: NDArray[np.int64] | None,
    others: Labels,
    sizes: Mapping[str, int],
    sums: Sums,
) -> tuple[Levels, Sums]:
    """Return the factors of levels, and the sums that the cells would have without them.

    Args:
        chunks: yields the counts of all cells, sparse, in parts with their slices; called twice.
        labels: the main class (N,) of each cell, -1 for none; None if there are no classes.
        others: the levels (N,) of each cell, by condition.
        sizes: the number of levels of each condition.
        sums: the sums of each main class, with those of cells without one in the last row.
    """
    depth = np.concatenate([depths(counts) for _, counts in chunks()])
    last = sums.classes - 1
    first = np.full(len(depth), last) if labels is None else rows_of(labels, last)
    cells = Cells.count(first, others, sizes, depth)
    of_levels = {name: np.zeros((size + 1, sums.genes)) for name, size in sizes.items()}
    for rows, counts in chunks():
        for name, size in sizes.items():
            of_levels[name] += (_one_hot(rows_of(others[name][rows], size), size + 1) @ counts).toarray()
    levels = Levels({name: np.ones((size + 1, sums.genes)) for name, size in sizes.items()})
    for _ in range(ROUNDS):
        rates = sums.of_k / np.maximum(_exposure(cells, levels, sums, 1), 1e-12)
        plain = solve(sums)
        dispersion = within_classes(sums, plain.rates) if last else plain.dispersions[-1]
        for name, size in sizes.items():
            expected = _expected(cells, levels, name, size, rates)
            for b in range(size):
                if of_levels[name][b].any():
                    mine = cells.levels[name] == b
                    share = cells.depths[1, mine].sum() / max(cells.depths[0, mine].sum(), 1.0) ** 2
                    levels.factors[name][b] = _changes(of_levels[name][b], expected[b], dispersion * share)
    kept = Levels({name: table.astype(np.float32).astype(np.float64) for name, table in levels.factors.items()})
    return kept, without(chunks, first, cells, kept, sums)  # as exact as a bundle keeps it


def _changes(s: Floats, expected: Floats, dispersion: Floats) -> Floats:
    """Return the factors (G,) of a level from its counts and those expected without it, both (G,)."""
    ratios = np.log((s + 0.5) / (expected + 0.5))
    order = np.argsort(ratios)
    trust = np.cumsum((1 / (1 / np.maximum(expected, 1e-12) + dispersion))[order])
    offset = ratios[order][np.searchsorted(trust, trust[-1] / 2)]
    return np.asarray(np.exp(offset + estimate_changes(s, expected * np.exp(offset), dispersion).estimate))


def without(
    chunks: Callable[[], Iterable[tuple[slice, Any]]],
    first: NDArray[np.int64],
    cells: Cells,
    levels: Levels,
    sums: Sums,
) -> Sums:
    """Return sums of which rates and dispersions are those of classes without the differences between levels.

    With F the factor of a cell, sums of k become those of k divided by the mean factor of the class, and sums of k^2
    such that the excess of variance is that around the means p F L, per sum of (F L)^2.
    """
    of_l, of_l2 = (_exposure(cells, levels, sums, power) for power in (1, 2))
    of_kfl = np.zeros_like(sums.of_k)
    depth_of = np.concatenate([depths(counts) for _, counts in chunks()])
    for rows, counts in chunks():
        own = sp.csr_matrix(counts, dtype=np.float64)
        places = np.repeat(np.arange(own.shape[0]), np.diff(own.indptr))
        factor = _products(cells, levels, cells.of[rows][places], own.indices)
        own.data = own.data * factor * depth_of[rows][places]
        of_kfl += (_one_hot(first[rows], sums.classes) @ own).toarray()
    found = Sums(sums.classes, sums.genes)
    n, depth, depth2 = found.of_depths[:] = sums.of_depths
    scale = np.divide(depth[:, None], of_l, out=np.ones_like(of_l), where=of_l > 0)
    found.of_k, found.of_kl = sums.of_k * scale, sums.of_kl * scale
    rates = found.of_k / np.maximum(depth, 1e-12)[:, None]
    unbiased = (n / np.maximum(1.0, n - 1))[:, None]
    excess = (sums.of_k2 - 2 * rates * of_kfl + rates**2 * of_l2) * unbiased - rates * of_l
    excess *= np.divide(depth2[:, None], of_l2, out=np.ones_like(of_l2), where=of_l2 > 0)
    found.of_k2 = (excess + rates * depth[:, None]) / np.maximum(unbiased, 1.0)
    found.of_k2 += 2 * rates * found.of_kl - rates**2 * depth2[:, None]
    return found


def _one_hot(labels: NDArray[np.int64], classes: int) -> Any:
    rows = np.arange(len(labels))
    return sp.csr_matrix((np.ones(len(labels)), (labels, rows)), shape=(classes, len(labels)))


def _products(cells: Cells, levels: Levels, combinations: NDArray[np.int64], genes: NDArray[Any]) -> Floats:
    """Return the products (m,) of the factors of genes (m,) in cells of some combinations (m,)."""
    found = np.ones(len(genes))
    for name, table in levels.factors.items():
        found *= table[cells.levels[name][combinations], genes]
    return found


def _factor(cells: Cells, levels: Levels, m: int, leaving: str = "") -> Floats:
    """Return the factor (G,) of a combination, without that of the condition `leaving`."""
    rows = [table[cells.levels[name][m]] for name, table in levels.factors.items() if name != leaving]
    return np.asarray(np.prod(rows, axis=0)) if rows else np.ones(next(iter(levels.factors.values())).shape[1])


def _exposure(cells: Cells, levels: Levels, sums: Sums, power: int) -> Floats:
    """Return the sums (K + 1, G) of (F L)^power over the cells of each class."""
    out = np.zeros_like(sums.of_k)
    for m, c in enumerate(cells.classes.tolist()):
        out[c] += _factor(cells, levels, m) ** power * cells.depths[power - 1, m]
    return out


def _expected(cells: Cells, levels: Levels, name: str, size: int, rates: Floats) -> Floats:
    """Return the expected counts (B + 1, G) of each level of a condition, if its own factors were 1."""
    out = np.zeros((size + 1, rates.shape[1]))
    for m, c in enumerate(cells.classes.tolist()):
        out[cells.levels[name][m]] += rates[c] * _factor(cells, levels, m, name) * cells.depths[0, m]
    return out


def named(specs: Sequence[Any], label: str | None) -> dict[str, int]:
    """Return the numbers of levels of the conditions with classes other than `label`, by name."""
    return {spec.name: spec.size for spec in specs if spec.kind == "class" and spec.name != label}
