"""Control cells made into treated ones: the counts are changed by log-fold changes, gene by gene.

    up,   f = e^lfc > 1:   k' = k + Poisson((f - 1) p L)      p: the gene's rate in the type, L: the cell's depth
    down, f = e^lfc < 1:   k' ~ Binomial(k, f)

so E[k' | k] is k + (f - 1) p L or f k. On average over the cells from which p = sum k / sum L was computed, both are f
times the mean. A gene can go up in cells that had none of it, and counts stay whole numbers.
"""

import numpy as np
from jaxtyping import Float64, Int64
from numpy.typing import NDArray

from gendi.data.cells.normalise import depths

MOST_LFC = 8.0
"""Larger log-fold changes are clipped to this one, a factor of 3000."""


def transport(
    counts: Int64[np.ndarray, "n g"],
    lfc: Float64[np.ndarray, " g"],
    rates: Float64[np.ndarray, " g"],
    rng: np.random.Generator,
) -> Int64[np.ndarray, "n g"]:
    """Return the counts (n, G) after log-fold changes (G,); `rates` (G,) are p."""
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
