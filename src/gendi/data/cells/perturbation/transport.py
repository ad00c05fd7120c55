"""From control cells to treated ones: counts moved by a log-fold change, gene by gene.

    up,   f = e^lfc > 1:   k' = k + Poisson((f - 1) p L)      p: the gene's rate in the type, L: the cell's depth
    down, f = e^lfc < 1:   k' ~ Binomial(k, f)

so E[k' | k] is k + (f - 1) p L or f k. Over the cells that p = sum k / sum L was taken from both come to f times the
mean; a gene goes up in cells that had none of it; and counts stay whole.
"""

import numpy as np
from jaxtyping import Float64, Int64
from numpy.typing import NDArray

from gendi.data.cells.normalise import depths

MOST_LFC = 8.0
"""Log-fold changes beyond (a factor of 3000) are taken as this."""


def transport(
    counts: Int64[np.ndarray, "n g"],
    lfc: Float64[np.ndarray, " g"],
    rates: Float64[np.ndarray, " g"],
    rng: np.random.Generator,
) -> Int64[np.ndarray, "n g"]:
    """Return counts moved by log-fold changes; `rates` (G,) are p."""
    fold = np.exp(np.clip(lfc, -MOST_LFC, MOST_LFC))
    out = counts.copy()
    up, down = np.flatnonzero(fold > 1), np.flatnonzero(fold < 1)
    if len(up):
        out[:, up] += rng.poisson(depths(counts)[:, None] * (rates * (fold - 1))[up])
    if len(down):
        out[:, down] = rng.binomial(out[:, down], fold[down])
    return out


def expected(
    counts: Int64[np.ndarray, "n g"], lfc: Float64[np.ndarray, " g"], rates: Float64[np.ndarray, " g"]
) -> NDArray[np.float64]:
    """Return E[k' | k], (n, G)."""
    fold = np.exp(np.clip(lfc, -MOST_LFC, MOST_LFC))
    return np.asarray(np.where(fold > 1, counts + (fold - 1) * rates * depths(counts)[:, None], counts * fold))
