"""Linear factors behind normal scores, of which only bounds are known.

    z_ig = (loadings f_i)_g + sqrt(1 - |loadings_g|^2) eps_ig,      f_i ~ N(0, I),      lower_ig < z_ig <= upper_ig

A count gives only two bounds of its score z. Scores that are drawn uniformly between the bounds (the randomised
transform) are right for one gene at a time. But their noise ignores the cell's other genes, so their correlations are
too small, and counts made from such scores are less correlated than the data. Here both f and z are drawn from their
posterior, by Gibbs sampling:

    z_ig | f_i   normal, truncated at the bounds,
    f_i | z_i    normal with covariance V = (I + loadings^T Psi^-1 loadings)^-1 and mean V loadings^T Psi^-1 z_i,

where Psi is the diagonal matrix of residual variances. The loadings come from a stochastic approximation of EM: the
regression of z on f, from averaged moments.  [Delyon, Lavielle & Moulines 1999]
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

LEAST_RESIDUAL = 0.02
"""The smallest share of a score's variance that belongs to the gene alone."""

Scores = Float64[np.ndarray, "n g"]


@dataclass(frozen=True, eq=False)
class Factors:
    """Loadings (G, k); the residual variance of a gene is 1 - |its loadings|^2."""

    loadings: Float64[np.ndarray, "g k"]

    @property
    def residual(self) -> Float64[np.ndarray, " g"]:
        """The residual variance (G,) of each gene, which the factors do not explain."""
        return np.asarray(1 - np.square(self.loadings).sum(1))

    def posterior(self) -> tuple[Float64[np.ndarray, "g k"], Float64[np.ndarray, "k k"]]:
        """Return the weights W (G, k) and the covariance V (k, k) of f given z: f | z ~ N(z W, V)."""
        weighted = self.loadings / self.residual[:, None]
        covariance = np.linalg.inv(np.eye(self.loadings.shape[1]) + self.loadings.T @ weighted)
        return weighted @ covariance, (covariance + covariance.T) / 2


def cut_normal(mean: Scores, std: Float64[np.ndarray, " g"], lower: Scores, upper: Scores, v: Scores) -> Scores:
    """Return the quantiles v (n, G) of N(mean, std^2) truncated at the bounds."""
    a, b = (lower - mean) / std, (upper - mean) / std
    side = np.where(a + b > 0, -1.0, 1.0)  # in the lower tail, where Phi has all its digits
    a, b = np.where(side > 0, a, -b), np.where(side > 0, b, -a)
    low, high = ndtr(a), ndtr(b)
    v = np.where(side > 0, v, 1 - v)
    e = ndtri(low + v * (high - low))
    return np.asarray(np.clip(mean + std * side * np.where(np.isfinite(e), e, b), lower, upper))


def first_factors(z: Scores, k: int) -> Factors:
    """Return factors from the first k principal components of standard scores (n, G); any beyond the n-th are 0."""
    _, s, rows = np.linalg.svd(z / np.sqrt(len(z)), full_matrices=False)
    noise = np.mean(s[k:] ** 2) if len(s) > k else 0.0
    loadings = np.zeros((z.shape[1], k))
    loadings[:, : len(s)] = (rows[:k] * np.sqrt(np.clip(s[:k] ** 2 - noise, 0.0, None))[:, None]).T
    return bounded(loadings)


def bounded(loadings: NDArray[np.float64]) -> Factors:
    """Return factors with these loadings, scaled down where the residual variance would be below `LEAST_RESIDUAL`."""
    length = np.sqrt(np.square(loadings).sum(1, keepdims=True))
    return Factors(loadings * np.minimum(1.0, np.sqrt(1 - LEAST_RESIDUAL) / np.maximum(length, 1e-12)))


def fit_factors(
    lower: Scores, upper: Scores, k: int, rng: np.random.Generator, sweeps: int = 40, burn: int = 15, ridge: float = 1.0
) -> Factors:
    """Return k factors fitted to cells whose scores lie between the bounds (n, G)."""
    n, genes = lower.shape
    std = np.ones(genes)
    z = cut_normal(np.zeros_like(lower), std, lower, upper, rng.random((n, genes)))
    factors = first_factors(z, k)
    of_zf, of_ff, of_zz = np.zeros((genes, k)), np.eye(k), np.ones(genes)
    for sweep in range(sweeps):
        weights, covariance = factors.posterior()
        mean = z @ weights
        f = mean + rng.standard_normal((n, k)) @ np.linalg.cholesky(covariance).T
        z = cut_normal(f @ factors.loadings.T, np.sqrt(factors.residual), lower, upper, rng.random((n, genes)))
        gain = 1.0 if sweep < burn else 1 / (sweep - burn + 1)
        mean = z @ weights
        of_zf += gain * (z.T @ mean / n - of_zf)
        of_ff += gain * (mean.T @ mean / n + covariance - of_ff)
        of_zz += gain * (np.square(z).mean(0) - of_zz)
        factors = _regressed(of_zf, of_ff, of_zz, ridge / n)
    return factors


def _regressed(
    of_zf: NDArray[np.float64], of_ff: NDArray[np.float64], of_zz: NDArray[np.float64], ridge: float
) -> Factors:
    """Return the loadings of the regression of z on f, for f of unit covariance and z of unit variance."""
    k = len(of_ff)
    loadings = np.linalg.solve(of_ff + ridge * np.eye(k), of_zf.T).T
    loadings = loadings @ np.linalg.cholesky(of_ff)
    return bounded(loadings / np.sqrt(of_zz)[:, None])
