"""How drugs change the dispersion of each gene: by how much its counts vary beyond chance, given depth and mean.

The counts of gene g in the cells i of a condition are taken to be negative binomial with the mean p_g L_i, where p_g is
the rate of these very cells (of each batch, where cells have batches), and the dispersion a_g. Its logarithm has the
profile likelihood, adjusted for the means that come from the same cells [Cox & Reid 1987; McCarthy, Chen & Smyth 2012]

    l(ln a) = sum_i ln NB(k_i; p L_i, a) - sum over batches of ln(sum_i p L_i / (1 + a p L_i)) / 2

of which the maximum is an observation; v / 2 is added to it for the bias of a logarithm (v / (2 + 2 v), as the prior
that bounds the maximum makes it smaller). Its error has the variance v = 1 / (c I), where I is the information of
second moments, at the means of the cells and the dispersion of the controls, and c the mean curvature of l over I in
the conditions of the type: an error that depended on y itself would favour large dispersions. What a drug changes is

    y_g = ln a_g of treated cells - ln a_g of the controls of the type

with an error v of its own and an error u of the controls, which all conditions of the type share. So y has the form of
a mean effect (`gendi.data.cells.perturbation.shifts`) and is treated as one: a mixture of normal priors over types and
doses, whose shares are learned from all genes, shrinks it to nothing, to what types have in common and to shared
profiles (`gendi.data.cells.perturbation.curves`).
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64
from numpy.typing import NDArray
from scipy.special import gammaln

from gendi.data.cells.normalise import depths
from gendi.data.cells.perturbation.curves import Curves, fit_curves
from gendi.data.cells.perturbation.effects import CERTAIN, Prior
from gendi.data.cells.perturbation.experiment import Experiment
from gendi.data.cells.perturbation.shifts import Shifts

STEP, STEPS = 0.7, 4
"""The grid of ln a around the start: its step, and steps to each side."""
NEAR = 0.15
"""The step in ln a of the derivatives at the maximum."""
WIDE = 1.5
"""Standard deviation in ln a of the prior around the start, which bounds the maximum and is taken out again."""
LEAST_CURVATURE = 1e-3
LEAST_CELLS = 3
"""A condition of fewer cells says nothing."""

Floats = NDArray[np.float64]


def fit_dispersions(
    experiment: Experiment, shifts: Shifts, priors: dict[int, Prior], interactions: bool
) -> dict[int, Curves]:
    """Return the change of ln a by dose and type of every drug of `priors`; none where no gene tells anything.

    Args:
        experiment: the cells.
        shifts: the conditions (m,) of these drugs.
        priors: the Hill curves of the drugs.
        interactions: whether types may respond differently.
    """
    observed = observe_dispersions(experiment, shifts)
    known = {d: prior for d, prior in priors.items() if (observed.variance[observed.drugs == d] < CERTAIN).any()}
    kept = observed.rows(np.flatnonzero(np.isin(observed.drugs, list(known))))
    return fit_curves(kept, known, interactions)[0] if known else {}


def observe_dispersions(experiment: Experiment, shifts: Shifts) -> Shifts:
    """Return the conditions of `shifts` with y, v and u of the module's docstring."""
    start, types = shifts.marginals.dispersions, np.unique(shifts.types).tolist()
    controls = [_observed(experiment, experiment.control & (experiment.types == c), start[c]) for c in types]
    triples = zip(shifts.types.tolist(), shifts.drugs.tolist(), shifts.doses.tolist(), strict=True)
    treated = [
        _observed(experiment, (experiment.types == c) & (experiment.drugs == d) & (experiment.doses == x), start[c])
        for c, d, x in triples
    ]
    y, v, u = np.zeros((3, *shifts.y.shape))
    for c, control in zip(types, controls, strict=True):
        rows = np.flatnonzero(shifts.types == c)
        own = [control, *(treated[i] for i in rows)]
        more = np.sum([each.curvature for each in own], axis=0) / np.sum([each.information for each in own], axis=0)
        (at, error), *found = (each.estimate(more) for each in own)
        for i, (here, variance) in zip(rows, found, strict=True):
            y[i], v[i], u[i] = here - at, variance, error
    return replace(shifts, y=y, variance=v, control_variance=u)


class Observed(NamedTuple):
    """ln a less that of the start (G,), minus the second derivative of its likelihood, and an information."""

    at: Floats
    curvature: Floats
    information: Floats

    def estimate(self, more: Floats) -> tuple[Floats, Floats]:
        """Return ln a and the variance of its error, (G,), for a curvature that is expected to be `more` I."""
        v = 1 / np.maximum(self.information * more, LEAST_CURVATURE)
        return self.at + v / (2 * (1 + v)), v


def _observed(experiment: Experiment, own: NDArray[np.bool_], start: Floats) -> Observed:
    batches = experiment.batches[own] if experiment.batches is not None else np.zeros(int(own.sum()), np.int64)
    counts = experiment.counts[own]
    return log_dispersion([counts[batches == b] for b in np.unique(batches)], start)


def log_dispersion(parts: Sequence[Int64[np.ndarray, "_ g"]], start: Float64[np.ndarray, " g"]) -> Observed:
    """Return what the cells of each batch say of ln a, less that of `start` (G,)."""
    if sum(map(len, parts)) < LEAST_CELLS:
        nothing = np.full(len(start), LEAST_CURVATURE)
        return Observed(np.zeros(len(start)), nothing, nothing)
    profiles = [_Profile(part) for part in parts]

    def likelihood(at: Floats) -> Floats:
        return np.asarray(np.sum([profile(start * np.exp(at)) for profile in profiles], axis=0))

    grid = STEP * np.arange(-STEPS, STEPS + 1)
    values = np.stack([likelihood(np.full(len(start), t)) for t in grid])
    best = np.argmax(values - (grid**2 / (2 * WIDE**2))[:, None], axis=0).clip(1, len(grid) - 2)
    rows = np.arange(len(start))
    below, here, above = (values[best + i, rows] for i in (-1, 0, 1))
    slope, curvature = _derivatives(below, here, above, STEP)
    prior = 1 / WIDE**2
    at = grid[best] + ((slope - prior * grid[best]) / (curvature + prior)).clip(-STEP, STEP)
    slope, curvature = _derivatives(likelihood(at - NEAR), likelihood(at), likelihood(at + NEAR), NEAR)
    information = np.sum([profile.information(start) for profile in profiles], axis=0)
    return Observed(at + (slope / curvature).clip(-STEP, STEP), curvature, np.maximum(information, 1e-9))


def _derivatives(below: Floats, here: Floats, above: Floats, step: float) -> tuple[Floats, Floats]:
    """Return the slope of a function, and minus its second derivative, which is above 0."""
    curvature = (2 * here - below - above) / step**2
    return (above - below) / (2 * step), np.maximum(curvature, LEAST_CURVATURE)


class _Profile:
    """The adjusted profile likelihood of the dispersions of cells (n, G) that have the same rates."""

    def __init__(self, counts: Int64[np.ndarray, "n g"]) -> None:
        depth = depths(counts)
        self.genes = counts.shape[1]
        self.counts = counts
        self.mean = depth[:, None] * (counts.sum(0) / max(float(depth.sum()), 1.0))
        rows, self.columns = np.nonzero(counts)
        self.positive = counts[rows, self.columns].astype(np.float64)

    def __call__(self, a: Float64[np.ndarray, " g"]) -> Float64[np.ndarray, " g"]:
        r, k, g = 1 / a, self.positive, self.columns
        terms = gammaln(k + r[g]) - gammaln(r)[g] + k * np.log(a)[g]
        logs = np.log1p(a * self.mean)
        value = np.bincount(g, terms, self.genes) - np.einsum("ng,ng->g", self.counts + r, logs)
        of_mean = np.einsum("ng,ng->g", self.mean, np.exp(-logs))
        return np.asarray(value - np.log(np.maximum(of_mean, 1e-12)) / 2)

    def information(self, a: Float64[np.ndarray, " g"]) -> Float64[np.ndarray, " g"]:
        """Return I at the dispersions a (G,)."""
        mu = self.mean
        variance = mu + a * mu**2
        of_square = variance**2 * (2 + 6 * a) + variance - 2 * variance * (1 + 2 * a * mu) + variance
        return np.asarray(np.square(a * mu**2).sum(0) / np.maximum(of_square.sum(0) / len(mu), 1e-12))
