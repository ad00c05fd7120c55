"""Energy distance and kernel distance between two sets of vectors, unbiased, with standard errors.

Both have the form of one U-statistic,

    D = mean k(x_i, x_j), i != j  +  mean k(y_i, y_j), i != j  -  2 mean k(x_i, y_j),

with k = -|a - b| for the energy distance (Székely and Rizzo 2013: Euclidean and not squared, as the square would only
compare means) and k = exp(-|a - b|^2 / 2 sigma^2) for the squared maximum mean discrepancy (Gretton et al. 2012,
eq. 3). Where the distributions agree, the expectation of D is 0, so chance can bring it below 0.

A bootstrap draws each row w_i times. A row that is drawn twice would be its own neighbour at distance 0, so pairs of a
row with itself are left out, whatever their weight:

    sum_{i != j} w_i w_j k_ij / sum_{i != j} w_i w_j.

All replicates are computed in one pass over blocks of rows, so the memory needed does not grow with n.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float64

from gendi.errors import UsageError
from gendi.evaluate.kernel_errors import Across, Blocks, Groups, Within, error_of_both
from gendi.evaluate.metrics import Features, energy_kernel, squared_distances

Kernel = Callable[[np.ndarray], np.ndarray]
"""A function from squared distances to k."""
Weights = Float64[np.ndarray, "b _"]
"""How often each row was drawn in each of b replicates."""


def energy_distance(x: Features, y: Features) -> float:
    """Return the unbiased energy distance 2 E|x - y| - E|x - x'| - E|y - y'|.  [Székely and Rizzo 2013]"""
    return float(discrepancy(x, y, energy_kernel, *_once(x, y))[0])


def squared_mmd(x: Features, y: Features, sigma: float) -> float:
    """Return the unbiased squared MMD with a Gaussian kernel of width `sigma`.  [Gretton et al. 2012, eq. 3]"""
    return float(discrepancy(x, y, gaussian_kernel(sigma), *_once(x, y))[0])


def gaussian_kernel(sigma: float) -> Kernel:
    """Return the kernel exp(-|a - b|^2 / 2 sigma^2). Raises `UsageError` unless sigma > 0."""
    if not sigma > 0:
        raise UsageError(f"The kernel's width {sigma} is out of range: it must be above 0. Are all rows the same?")
    return lambda squared: np.exp(-squared / (2 * sigma**2))


def median_distance(x: Features, most: int = 1000) -> float:
    """Return the median distance between different rows of `x`: the usual width of a Gaussian kernel.

    Where there are more than `most` rows, evenly spaced ones are used. Raises `UsageError` for fewer than 2 rows.
    """
    x = x[np.linspace(0, len(x) - 1, min(len(x), most)).round().astype(np.int64)]
    if len(x) < 2:
        raise UsageError(f"{len(x)} rows have no distance between them: give at least 2.")
    parts = [s[np.arange(r.start, r.stop)[:, None] < np.arange(len(x))[None, :]] for r, s in squared_distances(x, x)]
    return float(np.sqrt(np.median(np.concatenate(parts))))


def discrepancy(x: Features, y: Features, kernel: Kernel, weights_x: Weights, weights_y: Weights) -> np.ndarray:
    """Return D for each of b replicates (b,). Raises `UsageError` for fewer than 2 rows and for differing widths."""
    if x.shape[1] != y.shape[1]:
        raise UsageError(f"Rows of {x.shape[1]} and {y.shape[1]} dimensions cannot be compared.")
    across = np.zeros(len(weights_x))
    for rows, squared in squared_distances(x, y):
        across += np.einsum("bi,bi->b", weights_x[:, rows], (kernel(squared) @ weights_y.T).T)
    across /= weights_x.sum(axis=1) * weights_y.sum(axis=1)
    return np.asarray(_within(x, kernel, weights_x) + _within(y, kernel, weights_y) - 2 * across)


def discrepancy_error(x: Features, y: Features, kernel: Kernel, groups: Groups | None = None) -> float | None:
    """Return the standard error of D over x and y drawn anew; None for fewer than 4 rows of either.

    With the group of each row of y, whole groups are drawn anew, and the samples x are independent rows.
    """

    def values(a: Features, b: Features) -> Blocks:
        return ((rows, kernel(squared)) for rows, squared in squared_distances(a, b))

    own, others = (Within.of(len(z), values(z, z)) for z in (x, y))
    return error_of_both(own, others, Across.of(len(x), len(y), values(x, y)), groups)


def _within(x: Features, kernel: Kernel, weights: Weights) -> np.ndarray:
    if len(x) < 2:
        raise UsageError(f"A set of {len(x)} rows has no spread: give at least 2.")
    total = np.zeros(len(weights))
    for rows, squared in squared_distances(x, x):
        k = kernel(squared)
        k[np.arange(len(k)), np.arange(rows.start, rows.stop)] = 0
        total += np.einsum("bi,bi->b", weights[:, rows], (k @ weights.T).T)
    pairs = weights.sum(axis=1) ** 2 - (weights**2).sum(axis=1)
    return np.asarray(total / np.maximum(pairs, 1))


def _once(x: Features, y: Features) -> tuple[np.ndarray, np.ndarray]:
    return np.ones((1, len(x))), np.ones((1, len(y)))
