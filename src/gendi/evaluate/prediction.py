"""Prediction intervals: where the next value lies, after some values of the same kind."""

from collections.abc import Sequence

import numpy as np
from scipy.stats import t as student

ALPHA = 0.01
"""How often one gate or another of an evaluation fails for real data."""


def prediction_interval(
    values: Sequence[float], level: float, spread: float = 1.0, freedom: float = np.inf
) -> tuple[float, float]:
    """Return the ends below and above which one more value lies with probability `level` each.

    The values are taken as normal: with K of them, their mean m and standard deviation s, the ends are
    m +- t(K - 1, 1 - level) s sqrt(1 + 1 / K). They are moved outwards, if need be, to the least and the largest value.

    Args:
        values: at least two.
        level: probability beyond each end.
        spread: how many times as far the next value varies as these do, where they are known to vary less.
        freedom: the degrees of freedom of s, where they are fewer than K - 1: values that all rest on the same few
            rows tell less of their deviation than their number suggests.
    """
    k, mean, s = len(values), float(np.mean(values)), spread * float(np.std(values, ddof=1))
    width = float(student.ppf(1 - level, min(k - 1, freedom))) * s * float(np.sqrt(1 + 1 / k))
    return min(mean - width, *values), max(mean + width, *values)
