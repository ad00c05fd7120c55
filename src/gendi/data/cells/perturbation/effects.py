"""The effects of drugs by dose and type, learned by empirical Bayes, gene by gene.

The model of the log-fold change of gene g in type c under dose x of drug d is, for each drug,

    lfc_g(c, d, x) = h_d(x) a_cg,      with a Hill curve h_d that is common to all genes and types
    a_g = 1 b_g + r_g over the types:  b_g ~ N(0, tau_b^2) is the effect that all types share,
                                       r_g ~ N(0, tau_r^2 K) are the interactions with types, K = (1 - w) I + w R
    R_cc' = exp(-|l_c - l_c'|^2 / median),      with l_c the log rates of the type's controls

so types whose controls are alike respond alike, to the degree w that the data show. Drugs change few genes, so each
gene follows one of four hypotheses: no effect, b alone, r alone, or both; pi are the shares of genes that follow each.
The observations y = h a + error have the errors of `gendi.data.cells.perturbation.shifts`, scaled by one factor that
comes from the median of all genes. They enter through

    s_c = h^T Sigma_c^-1 y_c,      lambda_c = h^T Sigma_c^-1 h           for each type; 0 for an unobserved pair
    ln p(y | A) - ln p(y | 0) = -ln |I + Lambda A| / 2 + s^T A (I + Lambda A)^-1 s / 2
    E[a | y, A] = A (I + Lambda A)^-1 s

with A = tau_b^2 1 1^T, tau_r^2 K, or their sum. EC50, slope, tau_b, tau_r and w maximise the likelihood on a grid, and
EM gives pi. The prediction is the posterior mean over the four hypotheses.  [Johnstone & Silverman 2004, for sparse
means]
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float64
from numpy.typing import NDArray

from gendi.data.cells.perturbation.baselines import ShiftModel
from gendi.data.cells.perturbation.hill import hill
from gendi.data.cells.perturbation.shifts import Shifts

SIZES = (0.2, 0.4, 0.7, 1.2, 2.0)
"""The values of tau_b and tau_r on the grid."""
SLOPES = (0.5, 1.0, 2.0, 4.0)
KINSHIPS = (0.0, 0.5, 0.95)
"""The values of w on the grid."""
CURVES = 12
"""Number of EC50s on the grid, which runs from a third of the smallest dose to three times the largest."""
ROUNDS = 2
MEDIAN_CHI2 = 0.4549364231195724
"""The median of the chi-squared distribution with one degree of freedom."""
CERTAIN = 0.5
"""Variance of y below which a gene is used to estimate the scale of all errors, and the prior of a drug."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Prior:
    """The parameters that all genes share under a drug: curve, tau_b and tau_r, kinship w, and the shares pi (4,)."""

    ec50: float
    slope: float
    tau_b: float = 0.7
    tau_r: float = 0.7
    kinship: float = 0.5
    shares: tuple[float, ...] = (0.85, 0.1, 0.025, 0.025)


class HillEffects(ShiftModel):
    """The model in the module's docstring; `interactions=False` leaves r out, and `known` priors of drugs are kept."""

    name = "hill effects"

    def __init__(self, interactions: bool = True, known: dict[int, Prior] | None = None) -> None:
        self.interactions, self.known = interactions, known or {}

    def learn(self, shifts: Shifts) -> None:
        self.related = relatedness(shifts.marginals.rates[:-1])
        self.noise = noise_scale(shifts)
        drugs = np.unique(shifts.drugs)
        self.priors: dict[int, Prior] = {}
        self.ranges: dict[int, tuple[float, float]] = {}
        self.effects: dict[int, Float64[np.ndarray, "c g"]] = {}
        for d in map(int, drugs):
            self.priors[d], self.effects[d] = self._drug(shifts, d)

    def lfc(self, cell_type: int, drug: int, dose: float) -> Floats:
        prior = self.priors[drug]
        return np.asarray(hill(dose, prior.ec50, prior.slope) * self.effects[drug][cell_type])

    def edge(self, drug: int) -> str | None:
        """Return which doses would settle a curve that stands at the edge of the grid, or None if none does."""
        prior, (low, high) = self.priors[drug], self.ranges[drug]
        if low == high:
            return None
        if prior.ec50 >= high * 0.999:
            return "larger"
        if prior.ec50 <= low * 1.001:
            return "smaller"
        return "more" if prior.slope in (SLOPES[0], SLOPES[-1]) else None

    def _drug(self, shifts: Shifts, drug: int) -> tuple[Prior, Floats]:
        if drug in self.known:
            return self.known[drug], self._posterior(shifts, drug, self.known[drug])
        doses = np.unique(shifts.doses[shifts.drugs == drug])
        many = len(doses) > 1
        ec50s = np.geomspace(doses[0] / 3, doses[-1] * 3, CURVES) if many else doses
        self.ranges[drug] = float(ec50s[0]), float(ec50s[-1])
        slopes = SLOPES if many else (1.0,)
        certain = shifts.genes(np.flatnonzero((shifts.variance[shifts.drugs == drug] < CERTAIN).any(0)))
        prior = Prior(float(np.median(ec50s)), 1.0)
        if not self.interactions:
            prior = replace(prior, shares=(0.9, 0.1, 0.0, 0.0))
        for _ in range(ROUNDS):
            prior = self._best(certain, drug, [replace(prior, ec50=float(e), slope=n) for e in ec50s for n in slopes])
            prior = self._best(certain, drug, [replace(prior, tau_b=tau) for tau in SIZES])
            if self.interactions:
                others = [replace(prior, tau_r=tau, kinship=w) for tau in SIZES for w in KINSHIPS]
                prior = self._best(certain, drug, others)
            prior = replace(prior, shares=self._shares(certain, drug, prior))
        return prior, self._posterior(shifts, drug, prior)

    def _best(self, shifts: Shifts, drug: int, priors: list[Prior]) -> Prior:
        def likelihood(prior: Prior) -> float:
            evidence, _ = self._evidence(shifts, drug, prior)
            return float(_log_mix(evidence, prior.shares).sum())

        return max(priors, key=likelihood)

    def _shares(self, shifts: Shifts, drug: int, prior: Prior) -> tuple[float, ...]:
        evidence, _ = self._evidence(shifts, drug, prior)
        shares = prior.shares
        for _ in range(50):
            weights = _weights(evidence, shares)
            total = weights.sum(1) + (np.array(shares) > 0)  # one more gene for each hypothesis, so that none dies out
            shares = tuple(map(float, total / total.sum()))
        return shares

    def _posterior(self, shifts: Shifts, drug: int, prior: Prior) -> Floats:
        evidence, means = self._evidence(shifts, drug, prior)
        weights = _weights(evidence, prior.shares)
        return np.asarray(np.einsum("hg,hgc->cg", weights[1:], means))

    def _evidence(self, shifts: Shifts, drug: int, prior: Prior) -> tuple[Floats, Floats]:
        """Return ln (p(y | A) / p(y | 0)) of each hypothesis (4, G), and E[a | y, A] of all but the first (3, G, T)."""
        s, precision = sufficient(shifts, drug, prior, len(self.related), self.noise)
        n, genes = s.shape
        evidence, means = np.full((4, genes), -np.inf), np.zeros((3, genes, n))
        evidence[0] = 0.0
        together = prior.tau_b**2 * np.ones((n, n))
        apart = prior.tau_r**2 * ((1 - prior.kinship) * np.eye(n) + prior.kinship * self.related)
        for i, a in enumerate((together, apart, together + apart)):
            if prior.shares[i + 1] > 0:
                evidence[i + 1], means[i] = _normal_evidence(s, precision, a)
        return evidence, means


def relatedness(rates: Floats) -> Floats:
    """Return the matrix R (T, T) of the module's docstring from the rates (T, G) of controls."""
    logs = np.log(rates + 1e-4)
    squared = np.square(logs[:, None] - logs[None]).sum(2)
    others = squared[~np.eye(len(logs), dtype=bool)]
    scale = float(np.median(others)) if len(others) else 1.0
    return np.asarray(np.exp(-squared / max(scale, 1e-12)))


def noise_scale(shifts: Shifts) -> float:
    """Return the factor, at least 1, by which all variances are scaled.

    With it, the median of y^2 / variance over observations of small variance is the median of chi-squared.
    """
    variance = shifts.variance + shifts.control_variance
    sure = variance < CERTAIN
    if not sure.any():
        return 1.0
    return max(1.0, float(np.median(np.square(shifts.y[sure]) / variance[sure])) / MEDIAN_CHI2)


def sufficient(shifts: Shifts, drug: int, prior: Prior, types: int, noise: float) -> tuple[Floats, Floats]:
    """Return s and lambda of every type, each (T, G); they are 0 for a type that never had the drug."""
    s, precision = np.zeros((2, types, shifts.y.shape[1]))
    own = shifts.drugs == drug
    for c in np.unique(shifts.types[own]):
        rows = own & (shifts.types == c)
        h = hill(shifts.doses[rows], prior.ec50, prior.slope)[:, None]
        v, q = noise * shifts.variance[rows], np.sqrt(noise * shifts.control_variance[rows])
        shared = 1 + (q**2 / v).sum(0)
        hq = (h * q / v).sum(0)
        precision[c] = (h**2 / v).sum(0) - hq**2 / shared  # Sherman-Morrison: Sigma = diag v + q q^T
        s[c] = (h * shifts.y[rows] / v).sum(0) - hq * (q * shifts.y[rows] / v).sum(0) / shared
    return s, precision


def _normal_evidence(s: Floats, precision: Floats, a: Floats) -> tuple[Floats, Floats]:
    system = np.eye(len(a)) + precision.T[:, :, None] * a  # I + Lambda A, (G, T, T)
    solved = np.linalg.solve(system, s.T[:, :, None])[:, :, 0]
    means = solved @ a
    _, log_det = np.linalg.slogdet(system)
    return np.asarray(-log_det / 2 + (s.T * means).sum(1) / 2), means


def _joint(evidence: Floats, shares: tuple[float, ...]) -> Floats:
    with np.errstate(divide="ignore"):
        joint: Any = evidence + np.log(np.array(shares))[:, None]
    return np.asarray(joint)


def _log_mix(evidence: Floats, shares: tuple[float, ...]) -> Floats:
    return np.asarray(np.logaddexp.reduce(_joint(evidence, shares), axis=0))


def _weights(evidence: Floats, shares: tuple[float, ...]) -> Floats:
    joint = _joint(evidence, shares)
    return np.asarray(np.exp(joint - np.logaddexp.reduce(joint, axis=0)))
