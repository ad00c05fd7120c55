"""The observed change in each condition: the log-fold change of every gene, and its variance.

A condition is a combination of type, drug and dose. Let p_g be the rates of the type's controls, L the total depth of
the condition's cells, and S_g the sum of their counts of gene g. Then

    y_g = ln((S_g + m) / (E_g + m)),      E_g = s p_g L,      m = `PSEUDO` counts
    s   = median of S_g / (p_g L) over genes with counts      [the size factor of Anders & Huber 2010]

The factor s removes what is common to all genes: cells that happen to be deep, and depth that comes from the genes
that went up. The variance of y_g is that of a sum of negative binomial counts. It has a part from treated cells, v_g,
and a part from controls, u_g, which is common to all conditions of a type:

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
    counts, control = experiment.of(cell_type, drug, dose), experiment.controls(cell_type)
    p, a = marginals.rates[cell_type], marginals.dispersions[cell_type]
    depth, total = depths(counts), counts.sum(0).astype(np.float64)
    expected = p * depth.sum()
    s = size_factor(total, expected)
    mean = s * expected
    y = np.log((total + PSEUDO) / (mean + PSEUDO))
    variance = (mean + a * (s * p) ** 2 * np.square(depth).sum()) / (mean + PSEUDO) ** 2
    of_control = depths(control)
    effective = of_control.sum() ** 2 / max(np.square(of_control).sum(), 1.0)
    share = (mean / (mean + PSEUDO)) ** 2
    return y, variance, share * (1 / np.maximum(control.sum(0), 1.0) + a / effective)


def size_factor(total: NDArray[np.float64], expected: NDArray[np.float64]) -> float:
    """Return the median of total / expected over the genes with counts; 1 if fewer than `FEWEST` genes have them."""
    used = (total >= FEWEST) & (expected >= FEWEST)
    return float(np.median(total[used] / expected[used])) if used.sum() >= FEWEST else 1.0
