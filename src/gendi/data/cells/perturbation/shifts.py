"""The observed change in each condition: the log-fold change of every gene, and its variance.

A condition is a combination of type, drug and dose. Let p_g be the rates of the type's controls, L the total depth of
the condition's cells, and S_g the sum of their counts of gene g. Then

    y_g = ln((S_g + m) / (E_g + m)),      E_g = s p_g L,      m = `PSEUDO` counts
    s   = median of S_g / (p_g L) over genes with counts      [the size factor of Anders & Huber 2010]

Where cells have batches, E_g is the sum over the batches of p L, with the rates p of the controls of that batch. The
factor s removes what is common to all genes: cells that happen to be deep, and depth that comes from the genes that
went up. The variance of y_g is that of a sum of negative binomial counts. It has a part from treated cells, v_g, and a
part from controls, u_g, which is common to all conditions of a type:

    v_g = (E_g + a_g s^2 p_g^2 sum L_i^2) / (E_g + m)^2,      u_g = E_g^2 / (E_g + m)^2 (1 / C_g + a_g / n_eff)

with the gene's dispersion a_g, the depth L_i of each cell, the controls' counts C_g, and the effective number of
controls n_eff = (sum of their depths)^2 / sum of their squared depths.
"""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from jaxtyping import Float64, Int64
from numpy.typing import NDArray

from gendi.data.cells.marginals import Marginals, fit_marginals
from gendi.data.cells.normalise import depths
from gendi.data.cells.perturbation.experiment import Experiment
from gendi.errors import DataError

PSEUDO = 1.0
"""Counts that are added to observed and expected ones, so that genes with few counts have small changes."""
FEWEST = 10
"""Fewest counts of a gene that is used for the size factor, and fewest such genes."""


@dataclass(frozen=True, eq=False)
class Shifts:
    """The m conditions of an experiment, their log-fold changes `y` with variances, and the marginals of controls."""

    types: Int64[np.ndarray, " m"]
    drugs: Int64[np.ndarray, " m"]
    doses: Float64[np.ndarray, " m"]
    y: Float64[np.ndarray, "m g"]
    variance: Float64[np.ndarray, "m g"]
    """The part v of the variance, which comes from the treated cells."""
    control_variance: Float64[np.ndarray, "m g"]
    """The part u, which comes from the controls."""
    marginals: Marginals
    """The marginals of control cells, one row per type."""

    def genes(self, kept: NDArray[np.int64]) -> Self:
        """Return the shifts of some genes."""
        marginals = Marginals(self.marginals.rates[:, kept], self.marginals.dispersions[:, kept])
        parts = {name: getattr(self, name)[:, kept] for name in ("y", "variance", "control_variance")}
        return replace(self, **parts, marginals=marginals)

    def rows(self, kept: NDArray[np.int64]) -> Self:
        """Return the shifts of some conditions."""
        names = ("types", "drugs", "doses", "y", "variance", "control_variance")
        return replace(self, **{name: getattr(self, name)[kept] for name in names})


def observe(experiment: Experiment) -> Shifts:
    """Return the shifts of every condition.

    Raises `DataError` without conditions, and for a condition whose type has no controls.
    """
    conditions = experiment.conditions()
    if not conditions or not experiment.control.any():
        raise DataError("The effects of drugs are learned from control and treated cells, and one of them is missing.")
    for c in sorted({c for c, _, _ in conditions}):
        experiment.controls(c)
    own = experiment.control
    marginals = fit_marginals(
        [(experiment.counts[own], experiment.types[own])], len(experiment.type_names), experiment.counts.shape[1]
    )
    rows = [_observed(experiment, marginals, *condition) for condition in conditions]
    y, variance, control = (np.stack(part) for part in zip(*rows, strict=True))
    types, drugs, doses = (np.array(part) for part in zip(*conditions, strict=True))
    return Shifts(types, drugs, doses.astype(np.float64), y, variance, control, marginals)


def _observed(
    experiment: Experiment, marginals: Marginals, cell_type: int, drug: int, dose: float
) -> tuple[NDArray[np.float64], ...]:
    own = (experiment.types == cell_type) & (experiment.drugs == drug) & (experiment.doses == dose)
    counts, a = experiment.counts[own], marginals.dispersions[cell_type]
    depth, total = depths(counts), counts.sum(0).astype(np.float64)
    mean, squares, of_controls = np.zeros((3, counts.shape[1]))
    known = experiment.batches is not None
    batches = experiment.batches[own] if experiment.batches is not None else np.zeros(len(counts), np.int64)
    for b in np.unique(batches):
        part, p = depth[batches == b], marginals.rates[cell_type]
        control = experiment.beside(cell_type, [int(b)] if known else None)
        p = shrunk_rates(control, p) if known else p
        of_control = depths(control)
        effective = of_control.sum() ** 2 / max(np.square(of_control).sum(), 1.0)
        mean += p * part.sum()
        squares += p**2 * np.square(part).sum()
        of_controls += (p * part.sum()) ** 2 * (1 / np.maximum(control.sum(0), 1.0) + a / effective)
    s = size_factor(total, mean)
    y = np.log((total + PSEUDO) / (s * mean + PSEUDO))
    scale = (s * mean + PSEUDO) ** 2
    return y, (s * mean + a * s**2 * squares) / scale, s**2 * of_controls / scale


def shrunk_rates(cells: NDArray[np.int64], rates: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the rates (G,) of cells (n, G), with one more cell of average depth that has other `rates` (G,)."""
    depth = depths(cells)
    more = max(float(depth.mean()), 1.0)
    return np.asarray((cells.sum(0) + more * rates) / (depth.sum() + more))


def size_factor(total: NDArray[np.float64], expected: NDArray[np.float64]) -> float:
    """Return the median of total / expected over the genes with counts; 1 if fewer than `FEWEST` genes have them."""
    used = (total >= FEWEST) & (expected >= FEWEST)
    return float(np.median(total[used] / expected[used])) if used.sum() >= FEWEST else 1.0
