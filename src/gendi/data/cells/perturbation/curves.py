"""The effects of drugs by dose and type, without a form that the dose curve must have.

For each drug, the log-fold changes of gene g over all types and doses are one vector, beta_g. It is 0 or normal, and a
mixture of covariances says in how many ways genes respond (`gendi.data.cells.perturbation.mixture`):

    A x M      any smooth curve: Matern 3/2 in the log dose, with a length of `LENGTH` steps between doses
    L          learned from all genes of the drug, over types and doses together, with A x M as its start
    A . f f^T  the gene follows a profile f over types and doses, up to a factor in each type. Profiles are the two
               leading eigenvectors of L, and the Hill curve of `gendi.data.cells.perturbation.effects`

A, over types, is 1 1^T (all types alike), the kinship K of `gendi.data.cells.perturbation.kinship`, or I (each type by
itself). Each covariance comes in several sizes. A profile that the genes of a drug share, such as one that comes and
goes, one with a threshold, or one that is shifted in some types, is so found once and used for every gene. The shares
of the mixture are fitted to all genes, first of all drugs together and then of each, so that effects are shrunk to 0,
to what the types have in common and to a shared profile as far as the data support each.

The prediction is the posterior mean over the mixture, and its standard deviation is the standard error. Both are
computed at the tested doses and half way between them, in the log. In between, straight lines are drawn. Below the
smallest tested dose the effect is proportional to the dose, and above the largest it stays as it is. A type that never
had the drug gets the weighted mean of the types that had it.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64
from numpy.typing import NDArray

from gendi.data.cells.perturbation.effects import CERTAIN, Prior, noise_scale
from gendi.data.cells.perturbation.hill import hill
from gendi.data.cells.perturbation.kinship import kinship_of, shares_of_others
from gendi.data.cells.perturbation.mixture import Measured, fit_shares, learn_covariance, posterior, root_of, weights_of
from gendi.data.cells.perturbation.shifts import Shifts

SIZES = (0.15, 0.5, 1.5)
"""Typical log-fold changes of the components of a kind."""
LENGTH = 3.0
LEARNERS = 1000
"""Most genes from which L is learned: those that change most clearly."""
LEAST_LEARNERS = 50
LEARNING = 8
"""Rounds of EM of L."""
COMMON = 40.0
"""Weight of the shares of all drugs together in those of each, in genes."""
LEAST_SHARE = 5e-4
"""Components of a smaller share are left out of the prediction."""

Floats = NDArray[np.float64]
Table = Float32[np.ndarray, "c x g"]


@dataclass(frozen=True, eq=False)
class Curves:
    """The effects of one drug: mean and standard error at each of its doses, for all types and genes."""

    doses: Float64[np.ndarray, " x"]
    """The tested doses, and in between one more each."""
    mean: Table
    error: Table
    tested: Float64[np.ndarray, "c 2"]
    """The smallest and the largest dose that each type had; NaN for none."""

    def lfc(self, cell_type: int, dose: float) -> Float64[np.ndarray, " g"]:
        """Return the log-fold change (G,) at any dose."""
        return self._at(self.mean, cell_type, dose)

    def standard_error(self, cell_type: int, dose: float) -> Float64[np.ndarray, " g"]:
        """Return the standard error (G,) of the log-fold change at any dose."""
        return self._at(self.error, cell_type, dose)

    def _at(self, table: Table, cell_type: int, dose: float) -> Floats:
        place = float(np.interp(np.log(dose), np.log(self.doses), np.arange(len(self.doses))))
        below = min(int(place), max(len(self.doses) - 2, 0))
        above = min(below + 1, len(self.doses) - 1)
        low, high = (table[cell_type, i].astype(np.float64) for i in (below, above))
        return np.asarray((low + (place - below) * (high - low)) * min(1.0, dose / self.doses[0]))


@dataclass(frozen=True, eq=False)
class Drug:
    """What is known of a drug before the shares of the mixture are: roots of its covariances, and their evidence."""

    doses: Floats
    measured: Measured
    roots: list[Floats]
    evidence: Float64[np.ndarray, "k g"]
    """Of genes with small errors; the first row is that of no effect."""

    def curves(self, pooled: Floats, kinship: Floats) -> Curves:
        """Return the posterior, for shares (K,) that all drugs have together."""
        shares = fit_shares(self.evidence, COMMON * pooled)
        shares = np.where(shares > LEAST_SHARE, shares, 0.0)
        used = [(b, t) for i, b in enumerate(self.roots) for j, t in enumerate(SIZES) if shares[1 + i * len(SIZES) + j]]
        evidence, genes = [np.zeros((1, len(self.measured.y)))], len(self.measured.y)
        for i, b in enumerate(self.roots):
            counts = shares[1 + i * len(SIZES) :][: len(SIZES)].any()
            evidence.append(self.measured.evidence(b, SIZES) if counts else np.zeros((len(SIZES), genes)))
        weights = weights_of(np.concatenate(evidence), shares / shares.sum())[1:][shares[1:] > 0]
        parts = posterior(self.measured, len(self.roots[0]), [t**2 * b @ b.T for b, t in used], weights)
        shape = (len(kinship), len(self.doses), -1)
        mean, error = (part.T.reshape(shape).astype(np.float32) for part in parts)
        at = self.measured.seen
        tested = np.full((len(kinship), 2), np.nan)
        for c in np.unique(at // len(self.doses)):
            own = self.doses[at[at // len(self.doses) == c] % len(self.doses)]
            tested[c] = own.min(), own.max()
        return Curves(self.doses, with_others(mean, tested, kinship), error, tested)


def with_others(mean: Table, tested: Float64[np.ndarray, "c 2"], kinship: Floats) -> Table:
    """Return the means, with those of a type that never had the drug replaced by the mean of the others."""
    known = np.flatnonzero(np.isfinite(tested[:, 0]))
    out = mean.copy()
    for c in np.flatnonzero(~np.isfinite(tested[:, 0])):
        weights = shares_of_others(kinship, known, int(c)).astype(np.float32)
        out[c] = np.tensordot(weights, mean[known], 1)
    return out


def fit_curves(shifts: Shifts, priors: dict[int, Prior], interactions: bool) -> tuple[dict[int, Curves], Floats]:
    """Return the curves of every drug, and the kinship (T, T) of types.

    `priors` hold the Hill curves of the drugs. Without `interactions` all types are alike.
    """
    noise, types = noise_scale(shifts), len(shifts.marginals.rates) - 1
    kinship = kinship_of(shifts, types, noise)
    over_types = [np.ones((types, types)), kinship, np.eye(types)] if interactions else [np.ones((types, types))]
    drugs = {d: _drug(shifts, d, prior, over_types, noise) for d, prior in priors.items()}
    together = np.concatenate([drug.evidence for drug in drugs.values()], axis=1)
    pooled = fit_shares(together, np.full(len(together), 1 / len(together)))
    return {d: drug.curves(pooled, kinship) for d, drug in drugs.items()}, kinship


def _drug(shifts: Shifts, d: int, prior: Prior, over_types: list[Floats], noise: float) -> Drug:
    tested = np.unique(shifts.doses[shifts.drugs == d])
    doses = np.exp(np.interp(np.arange(2 * len(tested) - 1) / 2, np.arange(len(tested)), np.log(tested)))
    doses[::2] = tested
    measured = observed(shifts, d, doses, noise)
    certain = np.flatnonzero((shifts.variance[shifts.drugs == d] < CERTAIN).any(0))
    sure = measured.genes(certain)
    smooth = np.kron(over_types[min(1, len(over_types) - 1)], matern(np.log(doses), LENGTH))
    clear = sure.evidence(root_of(smooth), [float(np.median(SIZES))])[0]
    most = np.argsort(-clear, kind="stable")[: min(LEARNERS, max(LEAST_LEARNERS, int((clear > 0).sum())))]
    learned = learn_covariance(sure.genes(most), smooth, SIZES, LEARNING)
    _, vectors = np.linalg.eigh(learned)
    roots = [root_of(smooth), root_of(learned)]
    height = np.tile(hill(doses, prior.ec50, prior.slope), len(over_types[0]))
    for profile in (height, vectors[:, -1], vectors[:, max(-2, -vectors.shape[1])]):
        size = np.sqrt(np.square(profile)[measured.seen].mean() + 1e-12)
        roots += [profile[:, None] / size * np.repeat(root_of(a), len(doses), axis=0) for a in over_types]
    evidence = [np.zeros((1, len(certain))), *(sure.evidence(b, SIZES) for b in roots)]
    return Drug(doses, measured, roots, np.concatenate(evidence))


def matern(logs: Floats, length: float) -> Floats:
    """Return (1 + r) e^-r with r = sqrt(3) |difference| / (length * mean step between tested doses), (X, X).

    `logs` (X,) are sorted, and every second one is tested.
    """
    step = (logs[-1] - logs[0]) / max((len(logs) - 1) / 2, 1) or 1.0
    r = np.sqrt(3) * np.abs(logs[:, None] - logs) / (length * step)
    return np.asarray((1 + r) * np.exp(-r))


def observed(shifts: Shifts, drug: int, doses: Floats, noise: float) -> Measured:
    """Return what was measured of a drug; condition (c, x) of all T X has the number c X + x."""
    own = np.flatnonzero(shifts.drugs == drug)
    types = shifts.types[own]
    seen = types * len(doses) + np.searchsorted(doses, shifts.doses[own] * (1 - 1e-9))
    q = np.sqrt(noise * shifts.control_variance[own]).T
    errors = (types[:, None] == types) * q[:, :, None] * q[:, None]
    errors[:, np.arange(len(own)), np.arange(len(own))] += noise * shifts.variance[own].T
    return Measured(np.ascontiguousarray(shifts.y[own].T), errors, seen)
