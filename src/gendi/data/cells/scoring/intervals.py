"""Means over conditions with 95% intervals, and whether one model is better than another.

With `ENOUGH` conditions, conditions are drawn anew, and the interval says how the mean could differ with other
conditions. With fewer, cells are drawn anew, and the interval is the mean +- 1.96 standard errors.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gendi.data.cells.scoring.compare import ENOUGH
from gendi.diffusion.randomness import stream

DRAWS = 2000
Z = 1.959963984540054

Floats = NDArray[np.float64]


def mean_of(values: Sequence[Floats]) -> float | None:
    """Return the mean over the conditions in which a metric has a value."""
    first = np.array([value[0] for value in values])
    known = first[np.isfinite(first)]
    return float(known.mean()) if len(known) else None


def interval_of(values: Sequence[Floats]) -> tuple[float, float] | None:
    """Return the 95% interval of the mean of values (b,) of conditions; None where it cannot be told."""
    known = [value for value in values if np.isfinite(value[0])]
    if not known:
        return None
    if len(values) >= ENOUGH:
        if len(known) < 2:
            return None
        first = np.array([value[0] for value in known])
        drawn = stream(0, "conditions drawn anew").integers(len(first), size=(DRAWS, len(first)))
        low, high = np.quantile(first[drawn].mean(1), (0.025, 0.975))
        return float(low), float(high)
    if min(len(value) for value in known) < 3:
        return None
    means = np.mean(known, axis=0)
    half = Z * float(np.nanstd(means[1:], ddof=1))
    return float(means[0] - half), float(means[0] + half)


def loss(metric_better: str, values: Sequence[Floats]) -> list[Floats]:
    """Return values of which the lower one is better."""
    match metric_better:
        case "higher":
            return [-value for value in values]
        case "lower":
            return list(values)
    return [np.abs(value - 1) for value in values]


def difference(better: str, one: Sequence[Floats], other: Sequence[Floats]) -> tuple[float, tuple[float, float]] | None:
    """Return by how much `one` is worse than `other` in the same conditions, with its interval; None if unknown.

    The mean of a difference is that of losses: of the metric, of minus the metric, or of its distance from 1.
    """
    pairs = zip(loss(better, one), loss(better, other), strict=True)
    both = [a - b for a, b in pairs]
    mean, interval = mean_of(both), interval_of(both)
    return None if mean is None or interval is None else (mean, interval)
