"""How well a model does on conditions of its own data: it is fitted once more without them.

Held out are, of single drugs, one dose between the smallest and the largest of every pair of type and drug ("dose"),
and one type of every second drug that three types had ("pair"); and every fourth set of drugs that were given together
("combination"). The squared error of a prediction f is estimated from what was observed, y, whose error has a
part from treated cells, of the variance v, and one from controls, of the variance u. A prediction that is a sum of k
observed changes has the error of the controls k times, and y has it once, so

    sum over genes of w ((y - f)^2 - v + (2 k - 1) u),      w = 1 / (v + u + 0.1)

estimates its squared error against the truth. k is 0 for no change, and for the model, whose shrinkage leaves the error
of controls out; it is the number of drugs for the others. What a prediction explains is 1 less its share of the error
of no change: 1 is perfect, 0 is no better than no change.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from numpy.typing import NDArray

from gendi.data.cells.perturbation.baselines import Additive, Interpolation
from gendi.data.cells.perturbation.dose_curves import PRECISE, held_doses
from gendi.data.cells.perturbation.treatment import Treatment
from gendi.data.cells.perturbation.treatments import Treatments

KINDS = {
    "dose": "a dose of a type and a drug that were seen at other doses",
    "pair": "a drug in a type that was not seen with it",
    "combination": "a combination of drugs that was not seen",
}
MODELS = ("model", "no change", "additive", "interpolation")
LEAST_TYPES, LEAST_SETS = 3, 4
Z = 1.959963984540054


@dataclass(frozen=True, eq=False)
class HeldOut:
    """The kind (m,) of each condition that was held out, and the squared error of each of `MODELS` there."""

    kinds: tuple[str, ...]
    errors: Float64[np.ndarray, "4 m"]

    def explained(self, kind: str, model: str) -> tuple[float, float] | None:
        """Return what a model explains over the conditions of a kind, and its standard error over conditions.

        None if conditions differ too little from controls to tell, or there is one only. The error is a jackknife's.
        """
        own = self.errors[:, np.array(self.kinds) == kind]
        found, nothing = own[MODELS.index(model)], own[MODELS.index("no change")]
        n = len(found)
        left = nothing.sum() - nothing
        if n < 2 or nothing.sum() <= 0 or not (left > 0).all():
            return None
        without = 1 - (found.sum() - found) / left
        error = np.sqrt((n - 1) * np.square(without - without.mean()).mean())
        return float(1 - found.sum() / nothing.sum()), float(error)

    def to_dict(self) -> dict[str, dict[str, float]]:
        """Return what every model explains, by kind, where it can be told."""
        each = {kind: {model: self.explained(kind, model) for model in MODELS} for kind in KINDS}
        return {
            kind: {model: value[0] for model, value in found.items() if value is not None}
            for kind, found in each.items()
            if found["model"] is not None
        }

    def lines(self) -> list[str]:
        """Return a sentence for each kind of condition."""
        out = []
        for kind, what in KINDS.items():
            n = self.kinds.count(kind)
            each = {model: self.explained(kind, model) for model in MODELS if model != "no change"}
            known = {model: value for model, value in each.items() if value is not None}
            if not n or len(known) < len(each):
                continue
            parts = [f"{model} {value:.2f} ± {Z * error:.2f}" for model, (value, error) in known.items()]
            out.append(f"{what} ({n} held out): {', '.join(parts)}")
        return out


def measure(model: Treatments) -> HeldOut | None:
    """Return how well a fitted model does, or None if the data have too few conditions to hold any out."""
    shifts = model.shifts
    kinds = held_conditions(model)
    rest = shifts.rows(np.array([i for i in range(len(shifts.y)) if i not in kinds], np.int64))
    other = Treatments(model.interactions, model.table)
    other.train = model.train
    other.shifts = rest
    other.learn(rest)
    additive, interpolation = Additive(), Interpolation()
    additive.shifts = interpolation.shifts = rest
    rows = []
    for i, kind in kinds.items():
        c, d = int(shifts.types[i]), int(shifts.drugs[i])
        treatment = model.train.combinations.get(d) or Treatment((d,), (float(shifts.doses[i]),))
        if not set(treatment.drugs) <= set(rest.drugs.tolist()):
            continue
        y, v, u = shifts.y[i], shifts.variance[i], shifts.control_variance[i]
        k = len(treatment.drugs)
        predictions: Sequence[tuple[NDArray[np.float64], int]] = (
            (other.effect(c, treatment)[0], 0),
            (np.zeros(len(y)), 0),
            (np.sum([additive.lfc(c, *part) for part in treatment.parts], axis=0), k),
            (np.sum([interpolation.lfc(c, *part) for part in treatment.parts], axis=0), k),
        )
        w = 1 / (v + u + PRECISE)
        rows.append((kind, [float((w * ((y - f) ** 2 - v + (2 * n - 1) * u)).sum()) for f, n in predictions]))
    if not rows:
        return None
    return HeldOut(tuple(kind for kind, _ in rows), np.array([errors for _, errors in rows]).T)


def held_conditions(model: Treatments) -> dict[int, str]:
    """Return the rows of the shifts that are held out, and what kind each is."""
    shifts, together = model.shifts, model.train.combinations
    single = np.flatnonzero([d not in together for d in shifts.drugs.tolist()])
    out: dict[int, str] = {}
    alone = shifts.rows(single)
    for i in single[held_doses(alone, 0)].tolist():
        out[i] = "dose"
    for j, d in enumerate(sorted(set(alone.drugs.tolist()))[::2]):
        types = sorted(set(alone.types[alone.drugs == d].tolist()))
        if len(types) >= LEAST_TYPES:
            chosen = (shifts.drugs == d) & (shifts.types == types[j % len(types)])
            out |= dict.fromkeys(np.flatnonzero(chosen).tolist(), "pair")
    sets = sorted({t.members for d, t in together.items() if model.is_sum(d)})
    for members in sets[LEAST_SETS - 1 :: LEAST_SETS]:
        own = [d for d, treatment in together.items() if treatment.members == members]
        out |= dict.fromkeys(np.flatnonzero(np.isin(shifts.drugs, own)).tolist(), "combination")
    return dict(sorted(out.items()))
