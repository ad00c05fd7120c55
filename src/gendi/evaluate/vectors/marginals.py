"""Statistics of columns and of pairs of columns: means, variances, zeros, depth and correlations of two sets of rows.

Errors are mean absolute differences over columns, in the units of the rows; agreement is Pearson's r over columns.
A high r is easy to reach: samples that are mere class means have an r of 0.99 for the means. So each r stands beside an
error.
"""

import warnings

import numpy as np
from jaxtyping import Float64, Num
from scipy.stats import ks_2samp

from gendi.evaluate.metrics import Features

Raw = Num[np.ndarray, "_ _"]
Column = Float64[np.ndarray, " _"]


def pearson(a: Column, b: Column) -> float | None:
    """Return Pearson's r of two profiles over columns; None if either is constant."""
    a, b = a - a.mean(), b - b.mean()
    norm = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / norm if norm > 0 else None


def means(x: Features) -> Column:
    """Return the mean of each column, in float64."""
    return np.asarray(x.mean(axis=0, dtype=np.float64))


def variances(x: Features) -> Column:
    """Return the unbiased variance of each column, in float64."""
    return np.asarray(x.var(axis=0, ddof=1, dtype=np.float64))


def zeros(counts: Raw) -> Column:
    """Return the share of zeros in each column."""
    return np.asarray((counts == 0).mean(axis=0, dtype=np.float64))


def mean_error(a: Column, b: Column) -> float:
    """Return the mean absolute difference over columns."""
    return float(np.abs(a - b).mean())


def depth_distance(x: Raw, y: Raw) -> float:
    """Return the Kolmogorov-Smirnov distance between the totals of rows (for cells, their depths or library sizes)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of an exact p-value for ties, which nobody asked for
        return float(ks_2samp(x.sum(axis=1), y.sum(axis=1)).statistic)


def correlations(x: Features) -> Float64[np.ndarray, "_ _"]:
    """Return the Pearson correlations between columns (d, d), with 0 for constant columns."""
    centred = x - x.mean(axis=0, dtype=np.float64)
    norm = np.sqrt(np.einsum("ij,ij->j", centred, centred))
    scale = np.divide(1, norm, out=np.zeros_like(norm), where=norm > 1e-12)
    return np.asarray(np.clip((centred * scale).T @ (centred * scale), -1, 1))


def correlation_error(x: Features, y: Features) -> float | None:
    """Return the mean absolute difference between the correlations of different columns; None for a single column.

    Two real halves of n rows differ by about 1.13 / sqrt(n): for independent columns, the mean absolute value of a
    normal variable with variance 2 / n. That is the floor.
    """
    d = x.shape[1]
    if d < 2:
        return None
    upper = np.triu_indices(d, 1)
    return float(np.abs(correlations(x)[upper] - correlations(y)[upper]).mean())
