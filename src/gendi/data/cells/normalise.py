"""Counts and log-normalised expression y = ln(1 + s k / L), for k counts of a gene in a cell of depth L."""

from typing import Any

import numpy as np
from jaxtyping import Float64, Int64, Num
from numpy.typing import NDArray

SCALE = 1e4
"""The depth s to which every cell is scaled before the logarithm."""


def depths(counts: Any) -> Float64[np.ndarray, " n"]:
    """Return the depth (library size) of each cell: the sum (n,) of its counts (n, G), which may be sparse."""
    return np.asarray(counts.sum(1, dtype=np.float64)).reshape(-1)


def log_normalise(counts: Num[np.ndarray, "n g"]) -> Float64[np.ndarray, "n g"]:
    """Return ln(1 + s k / L), (n, G); a cell without counts is all zero."""
    factor = SCALE / np.maximum(depths(counts), 1.0)
    return np.asarray(np.log1p(counts * factor[:, None]))


def rounded_counts(y: NDArray[Any], depth: NDArray[Any]) -> Int64[np.ndarray, "n g"]:
    """Return the whole counts (n, G) that are nearest to log-normalised expression y (n, G) at depths (n,)."""
    expected = np.expm1(np.clip(y, 0.0, np.log1p(SCALE))) * (np.asarray(depth)[:, None] / SCALE)
    return np.asarray(np.rint(expected), np.int64)
