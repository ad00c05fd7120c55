"""The model of effects that `gendi.cells.perturbation` fits: curves without a form, averaged with Hill curves.

Both models are fitted to all conditions (`gendi.data.cells.perturbation.curves`, `.effects`), and twice more without
some of the doses between the smallest and the largest of each pair of type and drug (with the EC50 and the slope of the
whole fit). The held-out doses decide how much each model counts for a drug: with the observations y, the predictions f
and h of both, and w = 1 / (variance of y + 0.1),

    a_d = sum w (y - f)(h - f) / sum w (h - f)^2,  clipped to [0, 1],  with sums of all drugs together added to those of
    d lfc = a_d h + (1 - a_d) f

They also say whether the result is worse than straight lines between the pair's own doses: `Check`. The controls of a
type have an error that is common to y and to these lines, with the variance u, and shrinkage takes it out of lfc. So
the squared errors against the truth, which are compared, are those against y less v + u for lfc, and less v - u for the
lines.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Self

import numpy as np
from jaxtyping import Float64
from numpy.typing import NDArray

from gendi.data.cells.perturbation.baselines import Interpolation, ShiftModel
from gendi.data.cells.perturbation.curves import Curves, fit_curves, with_others
from gendi.data.cells.perturbation.dispersions import fit_dispersions
from gendi.data.cells.perturbation.effects import HillEffects, Prior
from gendi.data.cells.perturbation.experiment import Experiment
from gendi.data.cells.perturbation.shifts import Shifts

FOLDS = 2
LEAST_DOSES = 3
"""Fewest doses of a pair of which one is held out."""
PRECISE = 0.1
SURE = 2.0
"""Standard errors by which interpolation must be better to be named."""
RELIED = 0.3
"""Weight of the Hill curve from which it matters that its fit stands at the edge of the grid."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Check:
    """Squared errors at held-out doses without u, weighted by w, of each condition (m,) of some drugs."""

    drugs: NDArray[np.int64]
    model: Float64[np.ndarray, " m"]
    interpolation: Float64[np.ndarray, " m"]

    def worse(self, drug: int) -> float | None:
        """Return by how much the model's error is above that of interpolation, as a share; None if it is not clear."""
        own = self.drugs == drug
        if own.sum() < 2:
            return None
        gap = (self.model - self.interpolation)[own]
        if gap.mean() <= SURE * gap.std(ddof=1) / np.sqrt(len(gap)):
            return None
        return float(gap.mean() / max(float(self.interpolation[own].mean()), 1e-12))


class DoseCurves(ShiftModel):
    """The model in the module's docstring. With `interactions=False`, all types respond alike."""

    name = "dose curves"
    dispersions: Mapping[int, Curves] = MappingProxyType({})
    """The change of the logarithms of dispersions of each drug, where it was learned."""

    def __init__(self, interactions: bool = True) -> None:
        self.interactions = interactions

    def fit(self, train: Experiment) -> Self:
        super().fit(train)
        self.dispersions = fit_dispersions(train, self.shifts, self.hill.priors, self.interactions)
        return self

    def learn(self, shifts: Shifts) -> None:
        self.hill, curves, kinship = self._both(shifts)
        found = [part for k in range(FOLDS) for part in self._held_out(shifts, k)]
        numbers = np.unique(shifts.drugs).tolist()
        sums = {d: np.zeros(2) for d in numbers}
        for d, y, f, h, _, w, _ in found:
            sums[d] += [(w * (y - f) * (h - f)).sum(), (w * (h - f) ** 2).sum()]
        together = sum(sums.values(), np.zeros(2))
        self.weights = {d: _ratio(together + own) for d, own in sums.items()}
        self.curves = {d: self._averaged(own, d, kinship) for d, own in curves.items()}
        rows = [
            (d, (w * ((y - f - self.weights[d] * (h - f)) ** 2 - u)).sum(), (w * ((y - line) ** 2 + u)).sum())
            for d, y, f, h, line, w, u in found
        ]
        self.check_of_doses = Check(
            np.array([row[0] for row in rows], np.int64), *(np.array([row[i] for row in rows]) for i in (1, 2))
        )

    def lfc(self, cell_type: int, drug: int, dose: float) -> Floats:
        return self.curves[drug].lfc(cell_type, dose)

    def standard_error(self, cell_type: int, drug: int, dose: float) -> Floats:
        """Return the standard error (G,) of each predicted log-fold change."""
        return self.curves[drug].standard_error(cell_type, dose)

    def dispersion_change(self, cell_type: int, drug: int, dose: float) -> Floats | None:
        own = self.dispersions.get(drug)
        return None if own is None else own.lfc(cell_type, dose)

    def warnings(self) -> list[str]:
        """Return what the fit says against itself, one sentence or two for each drug and matter."""
        out = []
        for d, prior in self.hill.priors.items():
            name = self.train.drug_names[d]
            edge = self.hill.edge(d)
            if edge and self.weights[d] > RELIED:
                out.append(
                    f"The dose curve of {name!r} stands at the edge of what is tried (EC50 {prior.ec50:.3g}, slope "
                    f"{prior.slope:g}): the tested doses do not say where the effect begins or ends. Test {edge} doses."
                )
            worse = self.check_of_doses.worse(d)
            if worse is not None:
                out.append(
                    f"At held-out doses of {name!r}, straight lines between the doses of the same type are better than "
                    f"the model: its squared error is {worse:.0%} larger. Do not rely on it for doses in between."
                )
        return out

    def outside(self, drug: int, dose: float) -> str | None:
        """Return how far a dose lies outside the tested ones of a drug, or None if it does not."""
        low, high = self.curves[drug].doses[[0, -1]]
        name = self.train.drug_names[drug]
        if dose > high * (1 + 1e-9):
            return (
                f"The dose {dose:g} is {dose / high:.3g} times the largest tested dose of {name!r}, {high:g}. The "
                "effect at that dose is used, because nothing is known of larger ones."
            )
        if dose < low * (1 - 1e-9):
            return (
                f"The dose {dose:g} is {low / dose:.3g} times smaller than the smallest tested dose of {name!r}, "
                f"{low:g}. The effect is taken to be proportional to the dose, as nothing is known of smaller ones."
            )
        return None

    def _both(
        self, shifts: Shifts, priors: dict[int, Prior] | None = None
    ) -> tuple[HillEffects, dict[int, Curves], Floats]:
        parametric = HillEffects(self.interactions, priors)
        parametric.learn(shifts)
        return parametric, *fit_curves(shifts, parametric.priors, self.interactions)

    def _held_out(self, shifts: Shifts, fold: int) -> list[tuple[int, Floats, Floats, Floats, Floats, Floats, Floats]]:
        """Return drug, y, both predictions, interpolation, w and u of conditions that were held out."""
        gone = held_doses(shifts, fold)
        if not len(gone):
            return []
        rest = np.setdiff1d(np.arange(len(shifts.y)), gone)
        kept = shifts.rows(rest)
        parametric, curves, _ = self._both(kept, self.hill.priors)
        lines = Interpolation()
        lines.shifts = kept
        out = []
        for i in gone:
            c, d, x = int(shifts.types[i]), int(shifts.drugs[i]), float(shifts.doses[i])
            u = shifts.control_variance[i]
            w = 1 / (shifts.variance[i] + u + PRECISE)
            out.append((d, shifts.y[i], curves[d].lfc(c, x), parametric.lfc(c, d, x), lines.lfc(c, d, x), w, u))
        return out

    def _averaged(self, curves: Curves, d: int, kinship: Floats) -> Curves:
        weight, types = self.weights[d], range(len(curves.mean))
        if not weight:
            return curves
        h = np.array([[self.hill.lfc(c, d, float(x)) for x in curves.doses] for c in types], np.float32)
        mean = (weight * h + (1 - weight) * curves.mean).astype(np.float32)
        return replace(curves, mean=with_others(mean, curves.tested, kinship))


def held_doses(shifts: Shifts, fold: int) -> NDArray[np.int64]:
    """Return the conditions of a fold: one inner dose of each pair of type and drug with `LEAST_DOSES` or more."""
    out = []
    for c, d in sorted(set(zip(shifts.types.tolist(), shifts.drugs.tolist(), strict=True))):
        own = np.flatnonzero((shifts.types == c) & (shifts.drugs == d))
        inner = own[np.argsort(shifts.doses[own])][1:-1]
        if len(own) >= LEAST_DOSES:
            out.append(inner[(c + d + fold) % len(inner)])
    return np.array(out, np.int64)


def _ratio(sums: Floats) -> float:
    return float(np.clip(sums[0] / sums[1], 0.0, 1.0)) if sums[1] > 0 else 0.0
