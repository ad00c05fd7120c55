"""The metrics of a predicted condition, from groups of cells.

With means x of predicted and y of real treated cells, u and v of their controls, all (G,) of log-normalised expression:

    mae               mean |x_g - y_g| over genes                                    [as the package cell-eval has it]
    pearson           correlation of x - u with y - v over all genes                 [as the package cell-eval has it]
    pearson-changed   the same over the genes that change: Welch's t-test of real treated cells against controls, with
                      a false discovery rate of 5% [Benjamini and Hochberg 1995], of e^y - 1
    slope             of the line through the origin, x - u on y - v, over these genes
    overlap           share of these n genes among the n genes with the largest |t| of predicted cells against controls
    rank              share of the other real conditions of the type whose y - v is nearer to x - u than the right one
    energy            energy distance of predicted to real treated cells, in principal components of real cells
    mmd               squared maximum mean discrepancy there, with a Gaussian kernel of the median distance

Tests are of e^y - 1, the counts per 10,000, whose mean does not depend on the depths of cells. The mean of y does: of
two groups that differ in nothing else, the shallower one has the lower mean in every gene with few counts.

Energy and MMD are unbiased, so that chance can bring them below 0, the value of the right distribution. A prediction of
one cell is a distribution without spread.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64
from numpy.typing import NDArray
from scipy import stats

from gendi.data.cells.scoring.groups import Floats, Group
from gendi.evaluate.metrics import energy_kernel
from gendi.evaluate.vectors.distances import Kernel, discrepancy, gaussian_kernel

BETTER = {
    "pearson": "higher",
    "pearson-changed": "higher",
    "slope": "nearest to 1",
    "overlap": "higher",
    "mae": "lower",
    "energy": "lower",
    "mmd": "lower",
    "rank": "lower",
}
"""The metrics, and which values are better."""
RANGE = {"pearson": (-1.0, 1.0), "pearson-changed": (-1.0, 1.0), "overlap": (0.0, 1.0), "rank": (0.0, 1.0)}
"""The smallest and the largest value of metrics that have both; they limit intervals."""
LEAST = {"energy": 0.0, "mmd": 0.0}
"""The value of the right distribution in metrics that chance can bring below it; nothing is better than it."""
RATE = 0.05
"""False discovery rate of the genes that change."""
FEWEST = 3
"""Fewest genes that change of a condition of which their metrics are computed."""


@dataclass(frozen=True, eq=False)
class Truth:
    """What is true of a condition."""

    treated: Group
    control: Group
    changed: Bool[np.ndarray, " g"]
    others: Float64[np.ndarray, "m g"]
    """The changes of the other conditions of the type."""
    sigma: float
    """The width of the kernel of the MMD."""


def t_statistics(one: Group, other: Group) -> tuple[Floats, Floats]:
    """Return Welch's t (b, G) of a difference of two groups in counts per 10,000, and its degrees of freedom."""
    a, b = one.plain_variances / one.n, other.plain_variances / other.n
    squared = np.maximum(a + b, 1e-24)
    freedom = squared**2 / np.maximum(a**2 / max(one.n - 1, 1) + b**2 / max(other.n - 1, 1), 1e-300)
    return (one.plain_means - other.plain_means) / np.sqrt(squared), freedom


def changed_genes(treated: Group, control: Group) -> NDArray[np.bool_]:
    """Return which genes (G,) change, by Welch's t-test and the procedure of Benjamini and Hochberg."""
    t, freedom = t_statistics(treated, control)
    p = 2 * stats.t.sf(np.abs(t[0]), freedom[0])
    order = np.argsort(p)
    passed = np.flatnonzero(p[order] <= RATE * np.arange(1, len(p) + 1) / len(p))
    out = np.zeros(len(p), bool)
    out[order[: passed.max(initial=-1) + 1]] = True
    return out


def measure(predicted: Group, control: Group, truth: Truth) -> dict[str, Floats]:
    """Return the value of every metric for each version (b,) of the groups; NaN where a metric has no meaning.

    Args:
        predicted: the predicted treated cells.
        control: the predicted controls.
        truth: the real cells.
    """
    shift, true = predicted.means - control.means, truth.treated.means - truth.control.means
    versions, changed = len(shift), truth.changed
    nothing = np.full(versions, np.nan)
    out = dict.fromkeys(BETTER, nothing)
    out["pearson"] = correlation(shift, true)
    out["mae"] = np.abs(predicted.means - truth.treated.means).mean(1)
    n = int(changed.sum())
    if n >= FEWEST:
        out["pearson-changed"] = correlation(shift[:, changed], true[:, changed])
        out["slope"] = (shift * true)[:, changed].sum(1) / np.square(true[:, changed]).sum(1)
        t, _ = t_statistics(predicted, control)
        most = np.argsort(-np.abs(t), axis=1, kind="stable")[:, :n]
        out["overlap"] = changed[most].mean(1) * (np.abs(t) > 0).any(1)
    if len(truth.others):
        own = np.square(shift - true).sum(1)
        others = np.stack([np.square(shift - other).sum(1) for other in truth.others])
        out["rank"] = (others < own).mean(0)
    out["energy"] = distance(predicted, truth.treated, energy_kernel)
    if truth.sigma > 0:
        out["mmd"] = distance(predicted, truth.treated, gaussian_kernel(truth.sigma))
    return out


def correlation(x: Floats, y: Floats) -> Floats:
    """Return Pearson's correlation (b,) of rows (b, g); 0 where one of them does not vary."""
    x, y = x - x.mean(1, keepdims=True), y - y.mean(1, keepdims=True)
    size = np.sqrt(np.square(x).sum(1) * np.square(y).sum(1))
    return np.asarray(np.where(size > 1e-12, (x * y).sum(1) / np.maximum(size, 1e-300), 0.0))


def distance(x: Group, y: Group, kernel: Kernel) -> Floats:
    """Return the discrepancy D (b,) of `gendi.evaluate.vectors.distances`; NaN for fewer than 2 real cells."""
    if len(y.z) < 2:
        return np.full(len(x.weights), np.nan)
    if len(x.z) > 1:
        return discrepancy(x.z, y.z, kernel, x.weights, y.weights)
    twice = np.repeat(x.z, 2, axis=0)  # one cell is a point: two of it are at distance 0 from each other
    return discrepancy(twice, y.z, kernel, np.ones((len(y.weights), 2)), y.weights)
