"""Drugs that few cells had, shrunk to what their descriptors say instead of to nothing.

The regression of `gendi.data.cells.perturbation.unseen` predicts the effects of every drug from those of the others:
m_d = W_d Y, where W_dd = 0 and the rows of W sum to 1. What the cells of the drug show beyond it, y_d - m_d, is
shrunk as effects are by themselves (`gendi.data.cells.perturbation.dose_curves`), with shares and sizes that are
learned anew: where descriptors tell nearly all, what is left is found to be small. The effect is m_d and what is left.

Y enters in two parts. The mean over drugs is one of shrunk effects, since the error of the controls is in every
observation and does not average out; the contrasts, whose weights sum to 0, are of observations, in which the errors of
few cells do average out.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from jaxtyping import Float64
from numpy.typing import NDArray

from gendi.data.cells.perturbation.curves import Curves
from gendi.data.cells.perturbation.dose_curves import DoseCurves
from gendi.data.cells.perturbation.shifts import Shifts
from gendi.data.cells.perturbation.unseen import Unseen

Floats = NDArray[np.float64]


def shrunk_to_descriptors(
    model: DoseCurves, shifts: Shifts, unseen: Unseen, fitted: Callable[[Shifts], DoseCurves]
) -> dict[int, Curves]:
    """Return the curves of all drugs, with those of drugs that have descriptors shrunk to what these say.

    Args:
        model: the model that was fitted to the shifts.
        shifts: what was observed.
        unseen: the regression on descriptors.
        fitted: fits a model to shifts.
    """
    said = predictions(model, shifts, unseen)
    y = shifts.y.copy()
    for i, (c, d, x) in enumerate(
        zip(shifts.types.tolist(), shifts.drugs.tolist(), shifts.doses.tolist(), strict=True)
    ):
        if d in said:
            y[i] -= said[d][c, int(np.argmin(np.abs(np.log(model.curves[d].doses[::2] / x))))]
    rest = fitted(replace(shifts, y=y))
    out = dict(model.curves)
    for d, tested in said.items():
        own = rest.curves[d]
        table = np.zeros(own.mean.shape)
        table[:, ::2] = tested
        table[:, 1::2] = (tested[:, 1:] + tested[:, :-1]) / 2
        out[d] = replace(own, mean=(own.mean + table).astype(np.float32))
    return out


def predictions(model: DoseCurves, shifts: Shifts, unseen: Unseen) -> dict[int, Float64[np.ndarray, "c x g"]]:
    """Return m of every drug with descriptors, for all types at the doses that the drug was tested at."""
    drugs, others = unseen.drugs.tolist(), unseen.left_out_weights()
    evenly = (1 - np.eye(len(drugs))) / (len(drugs) - 1)
    doses = {d: model.curves[d].doses[::2] for d in drugs}
    types, genes = len(shifts.marginals.rates) - 1, shifts.y.shape[1]
    out = {d: np.zeros((types, len(doses[d]), genes)) for d in drugs}
    place = {d: j for j, d in enumerate(drugs)}
    for x in np.unique(np.concatenate(list(doses.values()))).tolist():
        for c in range(types):
            shrunk = np.stack([model.lfc(c, d, x) for d in drugs])
            observed = shrunk.copy()
            for i in np.flatnonzero((shifts.types == c) & (shifts.doses == x)).tolist():
                if int(shifts.drugs[i]) in place:
                    observed[place[int(shifts.drugs[i])]] = shifts.y[i]
            said = evenly @ shrunk + (others - evenly) @ observed
            for d in drugs:
                out[d][c, doses[d] == x] = said[place[d]]
    return out
