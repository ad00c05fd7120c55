"""Control cells made into treated ones: the counts are changed by log-fold changes, gene by gene.

    up,   f = e^lfc > 1:   k' = k + Poisson((f - 1) m)        m: the rate of the gene in this cell, drawn given k
    down, f = e^lfc < 1:   k' ~ Binomial(k, f)

A gene's rates in cells of depth L have the mean mu = p L and a gamma law with the gene's dispersion a, which makes the
counts negative binomial. Given the count k,

    m | k ~ Gamma(shape 1 / a + k, scale a mu / (1 + a mu))

and m = mu without dispersions. If k ~ NB(mu, a), then k' ~ NB(f mu, a) either way: cells that had many of a gene have
many of it afterwards. On average over the cells from which p = sum k / sum L was computed, E[k'] is f times the mean. A
gene can go up in cells that had none of it, and counts stay whole numbers.
"""

import numpy as np
from jaxtyping import Float64, Int64
from numpy.typing import NDArray

from gendi.data.cells.normalise import depths

LEAST = 1e-6
"""Smaller dispersions are taken as this one, with which counts are as good as Poisson."""
MOST_LFC = 8.0
"""Larger log-fold changes are clipped to this one, a factor of 3000."""


def transport(
    counts: Int64[np.ndarray, "n g"],
    lfc: Float64[np.ndarray, " g"],
    rates: Float64[np.ndarray, " g"],
    rng: np.random.Generator,
    dispersions: Float64[np.ndarray, " g"] | None = None,
) -> Int64[np.ndarray, "n g"]:
    """Return the counts (n, G) after log-fold changes (G,); `rates` (G,) are p, and `dispersions` (G,) a."""
    fold = np.exp(np.clip(lfc, -MOST_LFC, MOST_LFC))
    out = counts.copy()
    up, down = np.flatnonzero(fold > 1), np.flatnonzero(fold < 1)
    if len(up):
        rate = depths(counts)[:, None] * rates[up]
        if dispersions is not None:
            a = np.maximum(dispersions[up], LEAST)
            rate = rng.gamma(1 / a + counts[:, up], a * rate / (1 + a * rate))
        out[:, up] += rng.poisson(rate * (fold - 1)[up])
    if len(down):
        out[:, down] = rng.binomial(out[:, down], fold[down])
    return out


def expected(
    counts: Int64[np.ndarray, "n g"], lfc: Float64[np.ndarray, " g"], rates: Float64[np.ndarray, " g"]
) -> NDArray[np.float64]:
    """Return E[k' | k], (n, G)."""
    fold = np.exp(np.clip(lfc, -MOST_LFC, MOST_LFC))
    return np.asarray(np.where(fold > 1, counts + (fold - 1) * rates * depths(counts)[:, None], counts * fold))
