"""95% intervals of metrics: how far a value would move if the samples were drawn anew from the same model.

A bootstrap, which draws rows with replacement, is wrong for these metrics: a row drawn twice is its own nearest
neighbour, and a set with repeated rows has a Fréchet distance that is biased upwards. So rows are drawn without
replacement, as **paired halves**: a set of n rows is split at random into halves A and B, many times over, and the
metric T of each half is taken. Write the variance of T(n) as L / n + Q / n^2, where L comes from the part of T that is
linear in the rows' distribution, and Q from the part that is quadratic and all that remains where two distributions
agree (Hoeffding's decomposition; Efron and Stein 1981). Then

    E[(T(A) - T(B))^2] / 4               = L / n + 2 Q / n^2
    Var over splits of (T(A) + T(B)) / 2 =           Q / n^2,

and the difference of the two is the variance sought, whatever bias T has at n / 2 rows. Metrics that are means over
samples need no splits, and shares have the interval of Wilson (1927), which is right for shares of 0 and 1 too.

The interval covers the chance in drawing samples. It does not cover the chance in training: another seed of training
makes another model.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float, Float64, Int64

from gendi.diffusion.randomness import stream
from gendi.evaluate.comparison import Z95
from gendi.evaluate.result import Estimate, Interval

SPLITS = 50
"""Random splits behind a standard error: its own relative error is then about 1 / sqrt(2 * 50) = 10%."""
Numbers = Float[np.ndarray, " _"]
Pairs = Float64[np.ndarray, "_ 2"]
"""A metric of both halves, one row for each split."""


def halves(n: int, count: int, seed: int, purpose: str) -> Iterator[tuple[Int64[np.ndarray, " h"], ...]]:
    """Yield `count` random pairs of disjoint halves of range(n), n // 2 indices each."""
    rng = stream(seed, purpose)
    for _ in range(count):
        order = rng.permutation(n).astype(np.int64)
        yield order[: n // 2], order[n // 2 : 2 * (n // 2)]


def group_halves(
    groups: Int64[np.ndarray, " n"], count: int, seed: int, purpose: str
) -> Iterator[tuple[Int64[np.ndarray, " _"], ...]]:
    """Yield `count` random pairs of disjoint halves of n rows, each of whole groups; two groups or more.

    The halves of an odd number G of groups have one group more or less. The mean of (T(A) - T(B))^2 / 4 is then too
    large, by 1 in G^2 - 1.
    """
    rng, names = stream(seed, purpose), np.unique(groups)
    for _ in range(count):
        first = np.isin(groups, rng.permutation(names)[: len(names) // 2])
        yield np.flatnonzero(first).astype(np.int64), np.flatnonzero(~first).astype(np.int64)


def of_groups(groups: int | None) -> float:
    """Return the quantile behind an interval whose error rests on so many groups: Student's; None for rows."""
    from scipy.stats import t as student

    return Z95 if groups is None else float(student.ppf(0.975, groups - 1))


def cut(n: int, parts: int, count: int, seed: int, purpose: str) -> Iterator[list[Int64[np.ndarray, " h"]]]:
    """Yield `count` random cuts of range(n) into disjoint parts of n // parts indices each."""
    rng = stream(seed, purpose)
    for _ in range(count):
        order, h = rng.permutation(n).astype(np.int64), n // parts
        yield [order[i * h : (i + 1) * h] for i in range(parts)]


def halves_error(pairs: Pairs, *, quadratic: bool = True) -> float | None:
    """Return the standard error of a metric from its values on paired halves; see the module's docstring.

    Splits with a value that is not finite are left out. With `quadratic` the quadratic part, which the first formula
    counts twice, is subtracted once; that part is at most one half of the first formula, so no more than one half is
    subtracted. None for fewer than two splits.
    """
    pairs = pairs[np.isfinite(pairs).all(axis=1)]
    if len(pairs) < 2:
        return None
    twice = float(np.mean((pairs[:, 0] - pairs[:, 1]) ** 2)) / 4
    once = float(np.var(pairs.mean(axis=1), ddof=1)) if quadratic else 0.0
    return float(np.sqrt(twice - min(once, twice / 2)))


def around(
    value: float, error: float, *, least: float | None = None, most: float | None = None, quantile: float = Z95
) -> Interval:
    """Return value +- quantile * error, cut off at the smallest and the largest possible value of the metric."""
    low, high = value - quantile * error, value + quantile * error
    if least is not None:
        low = max(low, min(least, value))
    if most is not None:
        high = min(high, max(most, value))
    return low, high


def measured(
    value: float,
    error: float | None,
    *,
    least: float | None = None,
    most: float | None = None,
    quantile: float = Z95,
) -> Estimate:
    """Return a value with the interval that its standard error gives; without an error it has none."""
    interval = None if error is None else around(value, error, least=least, most=most, quantile=quantile)
    return Estimate(value, error, interval)


def measured_distance(value: float, error: float | None) -> Estimate:
    """Return a distance above 0 with the interval of its logarithm, value * exp(+-1.96 error / value).

    The Fréchet distance of small sets has a long upper tail: its standard error grows with its value. An error of more
    than half of the value has no meaning for a logarithm, and then the interval is symmetric.
    """
    if error is None or error > value / 2:
        return measured(value, error, least=0.0)
    factor = float(np.exp(Z95 * error / value))
    return Estimate(value, error, (value / factor, value * factor))


def measured_correlation(value: float, error: float | None, quantile: float = Z95) -> Estimate:
    """Return a correlation r with the interval of Fisher's z = atanh r, whose error is error / (1 - r^2)."""
    if error is None or abs(value) >= 1:
        return measured(value, error, least=-1.0, most=1.0, quantile=quantile)
    low, high = np.tanh(np.arctanh(value) + quantile * error / (1 - value * value) * np.array([-1, 1]))
    return Estimate(value, error, (float(low), float(high)))


def of_mean(terms: Numbers, *, least: float | None = None, most: float | None = None) -> Estimate:
    """Return the mean of n independent terms; for n = 1 it has no interval."""
    error = float(np.std(terms, ddof=1, dtype=np.float64) / np.sqrt(len(terms))) if len(terms) > 1 else None
    return measured(float(np.mean(terms, dtype=np.float64)), error, least=least, most=most)


def of_share(share: float, n: float) -> Estimate:
    """Return a share of n independent rows with the interval of Wilson (1927).

    The error is half of the interval's width over 1.96, so it is not 0 for a share of 0 or 1.
    """
    z = Z95 * Z95 / n
    centre, half = (share + z / 2) / (1 + z), Z95 * float(np.sqrt(share * (1 - share) / n + z / (4 * n))) / (1 + z)
    low, high = max(centre - half, 0.0), min(centre + half, 1.0)
    return Estimate(share, half / Z95, (min(low, share), max(high, share)))


def of_dependent_share(share: float, effect: float | None, n: int) -> Estimate:
    """Return a share over n rows that are not independent, with the interval of n / effect independent rows, at most n.

    The design effect is the variance of the share over that of n independent rows. None is unknown: no interval.
    """
    return Estimate(share) if effect is None else of_share(share, n / max(effect, 1.0))


def of_median(values: Numbers) -> Estimate:
    """Return the median of n independent values, with an interval between order statistics for n of 6 or more.

    The number of values below the true median is binomial(n, 1/2), whatever the distribution.
    """
    from scipy.stats import binom

    n, median = len(values), float(np.median(values))
    if n < 6:  # even the extremes enclose the median in fewer than 95 of 100 sets
        return Estimate(median)
    k = int(binom.ppf(0.025, n, 0.5))  # P(fewer than k values below the median) <= 2.5%
    ordered = np.sort(values)
    low, high = float(ordered[k - 1]), float(ordered[n - k])
    return Estimate(median, (high - low) / (2 * Z95), (low, high))


def of_deals(values: Sequence[float], *, least: float | None = None, most: float | None = None) -> Estimate:
    """Return the mean of a metric over at least 2 disjoint sets, with the interval of Student's t."""
    from scipy.stats import t as student

    k, value = len(values), float(np.mean(values))
    error = float(np.std(values, ddof=1)) / float(np.sqrt(k))
    quantile = float(student.ppf(0.975, k - 1))
    return Estimate(value, error, around(value, error, least=least, most=most, quantile=quantile))
