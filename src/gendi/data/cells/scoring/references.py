"""Simple predictions of a change in mean expression, made from the other real conditions.

    control         no change
    training mean   the mean change of the other conditions of the type (of all types, if it has no others)
    additive        the mean change that the same perturbation makes in the other types; between doses, straight lines
                    in the log of the dose
    ridge           ridge regression on type, perturbation, log dose within perturbation, and pair of both
    interpolation   between the nearest other doses of the same type and perturbation, in the log of the dose

A combination whose parts have doses of their own is compared with the same doses only: nothing lies between two of them
on a line. Its log dose in the regression is the mean of those of its parts.

The other conditions are the real ones that were not predicted. Where all were predicted, they are all but the one in
question (leave one out).
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from gendi.data.cells.scoring.inputs import Condition

REFERENCES = ("control", "training mean", "additive", "ridge", "interpolation")
PENALTY = 1.0

Floats = NDArray[np.float64]


def reference_shifts(
    shifts: Mapping[Condition, Floats], scored: Sequence[Condition]
) -> tuple[dict[str, dict[Condition, Floats]], bool]:
    """Return the predicted changes (G,) of each reference, for the scored conditions that it can be made for, and
    whether each condition is predicted from all others.

    Args:
        shifts: the change of mean expression (G,) of every real condition.
        scored: the conditions to predict.
    """
    rest = [condition for condition in shifts if condition not in set(scored)]
    one_out = not rest
    out: dict[str, dict[Condition, Floats]] = {name: {} for name in REFERENCES}
    for condition in scored:
        known = [other for other in (shifts if one_out else rest) if other != condition]
        out["control"][condition] = np.zeros_like(shifts[condition])
        same_type = [other for other in known if other.cell_type == condition.cell_type] or known
        if same_type:
            out["training mean"][condition] = np.mean([shifts[other] for other in same_type], axis=0)
        own = [k for k in known if k.perturbation == condition.perturbation and k.parts == condition.parts]
        if elsewhere := [other for other in own if other.cell_type != condition.cell_type]:
            out["additive"][condition] = _at_dose(elsewhere, condition, shifts)
        if condition.dose and (doses := [other for other in own if other.cell_type == condition.cell_type]):
            out["interpolation"][condition] = _at_dose(doses, condition, shifts)
    out["ridge"] = _ridge(shifts, scored, rest)
    return {name: found for name, found in out.items() if found}, one_out


def _log(dose: float) -> float:
    return float(np.log(dose)) if dose else 0.0


def _at_dose(known: Sequence[Condition], asked: Condition, shifts: Mapping[Condition, Floats]) -> Floats:
    """Return the mean change at each dose, between doses by a straight line in its log, and constant beyond them."""
    doses = sorted({other.dose for other in known})
    means = np.stack([np.mean([shifts[k] for k in known if k.dose == dose], axis=0) for dose in doses])
    place = float(np.interp(_log(asked.dose), [_log(dose) for dose in doses], np.arange(len(doses))))
    below = min(int(place), len(doses) - 1)
    above = min(below + 1, len(doses) - 1)
    return np.asarray(means[below] + (place - below) * (means[above] - means[below]))


def _ridge(
    shifts: Mapping[Condition, Floats], scored: Sequence[Condition], rest: Sequence[Condition]
) -> dict[Condition, Floats]:
    """Return the predictions of ridge regression, of those perturbations that were observed elsewhere.

    With the kernel K of the features and H = (K + penalty)^-1, the prediction without row k is
    y_k - (H Y)_k / H_kk.  [Rasmussen and Williams 2006, section 5.4.2]
    """
    known = list(rest) or list(shifts)
    y = np.stack([shifts[k] for k in known])
    inverse = np.linalg.inv(_kernel(known, known) + PENALTY * np.eye(len(known)))
    solved = inverse @ y
    out = {}
    for condition in scored:
        if not any(k.perturbation == condition.perturbation and k != condition for k in known):
            continue
        if rest:
            out[condition] = np.asarray((_kernel([condition], known) @ solved)[0])
        else:
            i = known.index(condition)
            out[condition] = np.asarray(y[i] - solved[i] / inverse[i, i])
    return out


def _kernel(one: Sequence[Condition], other: Sequence[Condition]) -> Floats:
    """Return the inner products (n, m) of the features: types, perturbations, their log doses, and pairs."""
    logs = [_log(condition.dose) for condition in other]
    centre, spread = float(np.mean(logs)), float(np.std(logs)) or 1.0
    a, b = ([(_log(condition.dose) - centre) / spread for condition in each] for each in (one, other))
    same_type = np.array([[k.cell_type == j.cell_type for j in other] for k in one], np.float64)
    same_drug = np.array([[k.perturbation == j.perturbation for j in other] for k in one], np.float64)
    return same_type + same_drug * (1 + np.outer(a, b)) + same_type * same_drug
