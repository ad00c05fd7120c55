"""Control cells made into treated ones: the counts are changed by log-fold changes, gene by gene.

    up,   f = e^lfc > 1:   k' = k + Poisson((f - 1) m)        m: the rate of the gene in this cell, drawn given k
    down, f = e^lfc < 1:   k' ~ Binomial(k, f)

A gene's rates in cells of depth L have the mean mu = p L and a gamma law with the gene's dispersion a, which makes the
counts negative binomial. Given the count k,

    m | k ~ Gamma(shape 1 / a + k, scale a mu / (1 + a mu))

and m = mu without dispersions. If k ~ NB(mu, a), then k' ~ NB(f mu, a) either way: cells that had many of a gene have
many of it afterwards. On average over the cells from which p = sum k / sum L was computed, E[k'] is f times the mean. A
gene can go up in cells that had none of it, and counts stay whole numbers.

Where the dispersion changes too, from a to b, the rate m of the cell becomes m' first:

    more dispersion, b > a:   m' = (b / a) m B,                 B ~ Beta(1 / b, 1 / a - 1 / b)
    less dispersion, b < a:   m' = (b / a) m + b mu Gamma,      Gamma ~ Gamma(1 / b - 1 / a, 1)

and then k' = k + Poisson(f m' - m), or k' ~ Binomial(k, f m' / m) if f m' < m. Products of gamma and beta variates, and
sums of gamma variates, are gamma variates, so if k ~ NB(mu, a), then k' ~ NB(f mu, b). Given the rate m, that of more
dispersion has the mean m, and that of less dispersion is nearer to mu by the factor b / a.
"""

import numpy as np
from jaxtyping import Float64, Int64
from numpy.typing import NDArray

from gendi.data.cells.normalise import depths

LEAST = 1e-6
"""Smaller dispersions are taken as this one, with which counts are as good as Poisson."""
MOST_LFC = 8.0
"""Larger log-fold changes are clipped to this one, a factor of 3000."""
LEAST_CHANGE = 0.1
"""Dispersions that change by less than this, in their logarithm, are taken not to change."""
MOST_CHANGE = 4.0


def transport(
    counts: Int64[np.ndarray, "n g"],
    lfc: Float64[np.ndarray, " g"],
    rates: Float64[np.ndarray, " g"],
    rng: np.random.Generator,
    dispersions: Float64[np.ndarray, " g"] | None = None,
    change: Float64[np.ndarray, " g"] | None = None,
) -> Int64[np.ndarray, "n g"]:
    """Return the counts (n, G) after log-fold changes of their means.

    Args:
        counts: of control cells.
        lfc: log-fold changes (G,).
        rates: p, (G,).
        rng: what draws.
        dispersions: a, (G,).
        change: ln(b / a), (G,), which needs dispersions; None changes none.
    """
    fold = np.exp(np.clip(lfc, -MOST_LFC, MOST_LFC))
    out = counts.copy()
    spread = np.zeros(len(fold), bool) if change is None else np.abs(change) >= LEAST_CHANGE
    up, down = np.flatnonzero((fold > 1) & ~spread), np.flatnonzero((fold < 1) & ~spread)
    if len(up):
        rate = depths(counts)[:, None] * rates[up]
        if dispersions is not None:
            rate = _rates(counts[:, up], rate, np.maximum(dispersions[up], LEAST), rng)
        out[:, up] += rng.poisson(rate * (fold - 1)[up])
    if len(down):
        out[:, down] = rng.binomial(out[:, down], fold[down])
    if change is not None and dispersions is not None and spread.any():
        mean = depths(counts)[:, None] * rates[spread]
        a = np.maximum(dispersions[spread], LEAST)
        before = _rates(counts[:, spread], mean, a, rng)
        factor = np.exp(np.clip(change[spread], -MOST_CHANGE, MOST_CHANGE))
        after = fold[spread] * _dispersed(before, mean, a, a * factor, rng)
        more = rng.poisson(np.maximum(after - before, 0))
        kept = np.minimum(after / np.maximum(before, 1e-300), 1.0)
        out[:, spread] = rng.binomial(counts[:, spread], kept) + more
    return out


def _rates(
    counts: Int64[np.ndarray, "n g"],
    mean: Float64[np.ndarray, "n g"],
    a: Float64[np.ndarray, " g"],
    rng: np.random.Generator,
) -> Float64[np.ndarray, "n g"]:
    """Return m of each cell, drawn given its counts."""
    return np.asarray(rng.gamma(1 / a + counts, a * mean / (1 + a * mean)))


def _dispersed(
    rate: Float64[np.ndarray, "n g"],
    mean: Float64[np.ndarray, "n g"],
    a: Float64[np.ndarray, " g"],
    b: Float64[np.ndarray, " g"],
    rng: np.random.Generator,
) -> Float64[np.ndarray, "n g"]:
    """Return m', of the dispersion b, from rates m of the dispersion a."""
    out = rate * (b / a)
    more, less = b > a, b < a
    out[:, more] *= rng.beta(1 / b[more], 1 / a[more] - 1 / b[more], (len(rate), int(more.sum())))
    out[:, less] += b[less] * mean[:, less] * rng.gamma(1 / b[less] - 1 / a[less], 1.0, (len(rate), int(less.sum())))
    return np.asarray(out)


def expected(
    counts: Int64[np.ndarray, "n g"], lfc: Float64[np.ndarray, " g"], rates: Float64[np.ndarray, " g"]
) -> NDArray[np.float64]:
    """Return E[k' | k], (n, G)."""
    fold = np.exp(np.clip(lfc, -MOST_LFC, MOST_LFC))
    return np.asarray(np.where(fold > 1, counts + (fold - 1) * rates * depths(counts)[:, None], counts * fold))
