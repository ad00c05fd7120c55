"""The effects of drugs that no cell had, from descriptors of drugs: ridge regression of effects on descriptors.

Let Z (D, p) be the standardised descriptors of the drugs whose effects are known, and Y (D, ...) these effects. The
effects of a drug with descriptors z are

    y = mean(Y) + z Z^T (Z Z^T + lambda I)^-1 (Y - mean(Y)) = w^T Y

so effects are linear in the descriptors, and shrunk to the mean effect of drugs. The weights w (D,) are the same for
all genes, types and doses: at dose x, Y holds what the curves of the known drugs say of x. lambda minimises the squared
errors of drugs that are left out one by one, for which the hat matrix H of the regression has a formula,

    y_i - prediction without i = (y_i - (H Y)_i) / (1 - H_ii)            [Allen 1974; Golub, Heath & Wahba 1979]

How well this does is measured on drugs that are left out of everything, the choice of lambda too.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64, Int64
from numpy.typing import NDArray

from gendi.data.cells.perturbation.descriptors import Descriptors
from gendi.data.cells.perturbation.scores import pearson
from gendi.evaluate.intervals import of_deals
from gendi.evaluate.result import Estimate

LEAST_DRUGS = 5
"""Fewest drugs with effects and descriptors."""
PENALTIES = (*np.geomspace(1e-3, 1e3, 19).tolist(), 1e9)
"""The values of lambda / D that are tried; the last one is the mean effect."""
FOLDS = 20
"""Most groups of drugs that are left out one after the other."""
FAR = 2.0
"""Distance to the nearest known drug, in typical ones between known drugs, from which it is said."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Unseen:
    """A fitted regression."""

    table: Descriptors
    drugs: Int64[np.ndarray, " d"]
    """The numbers of the drugs whose effects are known, and their rows in the table."""
    rows: Int64[np.ndarray, " d"]
    penalty: float
    correlations: Float64[np.ndarray, "2 d"]
    """Of each drug that was left out, the correlation of its effects with the prediction, and with the mean effect."""
    spread: Float32[np.ndarray, "c g"]
    """The standard deviation of what a prediction misses of a drug that was left out, by type and gene."""

    def weights(self, row: int) -> Floats:
        """Return w (D,) of the drug in a row of the table."""
        known, z = self._standard()
        return weights_of(known, z[row], self.penalty)

    def left_out_weights(self) -> Floats:
        """Return the weights (D, D) of the other drugs in the prediction of each known one."""
        known, _ = self._standard()
        return np.asarray(np.eye(len(known)) - _left_out(known, self.penalty))

    def far(self, row: int) -> float:
        """Return the distance to the nearest known drug, over the median of that between known drugs."""
        known, z = self._standard()
        between = np.linalg.norm(known[:, None] - known, axis=2)
        np.fill_diagonal(between, np.inf)
        typical = float(np.median(between.min(1)))
        return float(np.linalg.norm(known - z[row], axis=1).min()) / max(typical, 1e-12)

    def quality(self) -> tuple[Estimate, Estimate]:
        """Return the mean correlation of drugs that were left out, and that of the mean effect, with 95% intervals."""
        own, mean = (of_deals(row.tolist(), least=-1.0, most=1.0) for row in self.correlations)
        return own, mean

    def warning(self) -> str | None:
        """Return what there is to say against the descriptors, or None."""
        own, mean = self.quality()
        gain = of_deals((self.correlations[0] - self.correlations[1]).tolist())
        if own.interval is not None and own.interval[0] <= 0:
            what = "is not clearly above zero: the descriptors do not tell the effects of these drugs"
        elif gain.interval is not None and gain.interval[0] <= 0:
            what = f"is not clearly above that of the mean effect of the other drugs, {mean.value:.2f}"
        else:
            return None
        return (
            f"The effects of drugs that were left out correlate at {shown(own)} with what their descriptors say, which "
            f"{what}. Do not rely on predictions of drugs that no cell had."
        )

    def _standard(self) -> tuple[Floats, Floats]:
        return standardised(self.table.values, self.rows)


def shown(estimate: Estimate) -> str:
    """Return a value with its interval."""
    low, high = estimate.interval or (np.nan, np.nan)
    return f"{estimate.value:.2f} ({low:.2f} to {high:.2f})"


def standardised(values: Floats, rows: Int64[np.ndarray, " d"]) -> tuple[Floats, Floats]:
    """Return Z of the known drugs (D, p) and of all (n, p); columns that do not vary are 0."""
    known = values[rows]
    spread = known.std(0)
    z = np.where(spread > 1e-12, (values - known.mean(0)) / np.where(spread > 1e-12, spread, 1.0), 0.0)
    return z[rows], z


def weights_of(known: Floats, z: Floats, penalty: float) -> Floats:
    """Return w (D,) of descriptors z (p,) from those of the known drugs (D, p), for lambda = D * penalty."""
    n = len(known)
    centre = known.mean(0)
    own = known - centre
    a = np.linalg.solve(own @ own.T + n * penalty * np.eye(n), own @ (z - centre))
    return np.asarray(1 / n + a - a.mean())


def fit_unseen(
    table: Descriptors,
    drugs: Sequence[int],
    rows: Sequence[int],
    effects: Float64[np.ndarray, "d f"],
    shape: tuple[int, int],
) -> Unseen:
    """Learn how effects depend on descriptors.

    Args:
        table: the descriptors.
        drugs: the numbers of D drugs whose effects are known, `LEAST_DRUGS` or more.
        rows: their rows in the table.
        effects: the effects of each drug, over types, genes and doses, the doses first.
        shape: number of types and of genes.
    """
    at = np.array(rows, np.int64)
    z, _ = standardised(table.values, at)
    gram = effects @ effects.T
    penalty = best_penalty(z, gram)
    left = _left_out(z, penalty) @ effects
    spread = np.sqrt(np.square(left).mean(0).reshape(-1, *shape).max(0))
    folds, found = min(FOLDS, len(at)), np.zeros((2, len(at)))
    for fold in range(folds):
        out = np.arange(len(at)) % folds == fold
        rest = np.flatnonzero(~out)
        own = best_penalty(z[rest], gram[np.ix_(rest, rest)])
        mean = effects[rest].mean(0)
        for i in np.flatnonzero(out):
            predicted = weights_of(z[rest], z[i], own) @ effects[rest]
            found[:, i] = pearson(predicted, effects[i]), pearson(mean, effects[i])
    return Unseen(table, np.array(drugs, np.int64), at, penalty, found, spread.astype(np.float32))


def best_penalty(z: Floats, gram: Float64[np.ndarray, "d d"]) -> float:
    """Return lambda / D with the smallest squared error of drugs left out one by one; `gram` is Y Y^T."""

    def error(penalty: float) -> float:
        left = _left_out(z, penalty)
        return float(np.einsum("ij,jk,ik->", left, gram, left, optimize=True))

    return float(min(PENALTIES[::-1], key=error))


def _left_out(z: Floats, penalty: float) -> Floats:
    """Return the matrix (D, D) that takes effects to the errors of drugs left out one by one."""
    n = len(z)
    own = z - z.mean(0)
    inner = own @ own.T
    hat = 1 / n + np.linalg.solve(inner + n * penalty * np.eye(n), inner)
    return np.asarray((np.eye(n) - hat) / (1 - np.diag(hat))[:, None])
