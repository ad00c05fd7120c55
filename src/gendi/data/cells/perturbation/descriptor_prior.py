"""Drugs that few cells had, shrunk to what their descriptors say instead of to nothing.

The regression of `gendi.data.cells.perturbation.unseen` predicts the effects of every drug from those of the others:
m_d = W_d Y, where W_dd = 0 and the rows of W sum to 1. What the cells of the drug show beyond it, y_d - m_d, is
shrunk as effects are by themselves (`gendi.data.cells.perturbation.dose_curves`), with shares and sizes that are
learned anew: where descriptors tell nearly all, what is left is found to be small. The effect is m_d and what is left.

Y enters in two parts. The mean over drugs is one of shrunk effects, since the error of the controls is in every
observation and does not average out; the contrasts, whose weights sum to 0, are of observations, in which the errors of
few cells do average out. The error that is left in m_d counts in the variance of y_d - m_d and in the standard error.
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
    y, variance = shifts.y.copy(), shifts.variance.copy()
    for i, (c, d) in enumerate(zip(shifts.types.tolist(), shifts.drugs.tolist(), strict=True)):
        if d in said:
            k = int(np.argmin(np.abs(np.log(model.curves[d].doses[::2] / shifts.doses[i]))))
            mean, error = said[d]
            y[i] -= mean[c, k]
            variance[i] += error[c, k]
    rest = fitted(replace(shifts, y=y, variance=variance))
    out = dict(model.curves)
    for d, (mean, error) in said.items():
        own = rest.curves[d]
        both = np.sqrt(np.square(own.error) + _halfway(error)).astype(np.float32)
        out[d] = replace(own, mean=(own.mean + _halfway(mean)).astype(np.float32), error=both)
    return out


def _halfway(tested: Float64[np.ndarray, "c x g"]) -> Float64[np.ndarray, "c y g"]:
    """Return a table with the doses of a curve from one with the tested doses: between two there is one more."""
    out = np.zeros((tested.shape[0], 2 * tested.shape[1] - 1, tested.shape[2]))
    out[:, ::2] = tested
    out[:, 1::2] = (tested[:, 1:] + tested[:, :-1]) / 2
    return out


def predictions(
    model: DoseCurves, shifts: Shifts, unseen: Unseen
) -> dict[int, tuple[Float64[np.ndarray, "c x g"], Float64[np.ndarray, "c x g"]]]:
    """Return m of every drug with descriptors, for all types at the doses that the drug was tested at.

    Beside it is the variance that m has from the errors of what was observed of the other drugs.
    """
    drugs, others = unseen.drugs.tolist(), unseen.left_out_weights()
    evenly = (1 - np.eye(len(drugs))) / (len(drugs) - 1)
    doses = {d: model.curves[d].doses[::2] for d in drugs}
    types, genes = len(shifts.marginals.rates) - 1, shifts.y.shape[1]
    out = {d: (np.zeros((types, len(doses[d]), genes)), np.zeros((types, len(doses[d]), genes))) for d in drugs}
    place = {d: j for j, d in enumerate(drugs)}
    for x in np.unique(np.concatenate(list(doses.values()))).tolist():
        for c in range(types):
            shrunk = np.stack([model.lfc(c, d, x) for d in drugs])
            variance = np.stack([np.square(model.standard_error(c, d, x)) for d in drugs])
            observed = shrunk.copy()
            for i in np.flatnonzero((shifts.types == c) & (shifts.doses == x)).tolist():
                j = place.get(int(shifts.drugs[i]))
                if j is not None:
                    observed[j], variance[j] = shifts.y[i], shifts.variance[i]
            mean = evenly @ shrunk + (others - evenly) @ observed
            error = np.square(others - evenly) @ variance
            for d in drugs:
                out[d][0][c, doses[d] == x] = mean[place[d]]
                out[d][1][c, doses[d] == x] = error[place[d]]
    return out
