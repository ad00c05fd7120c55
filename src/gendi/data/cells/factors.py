"""Linear factors behind normal scores that are known only to lie between bounds.

    z_ig = (loadings f_i)_g + sqrt(1 - |loadings_g|^2) eps_ig,      f_i ~ N(0, I),      lower_ig < z_ig <= upper_ig

A count says of its score z only between which two bounds it lies. Scores drawn evenly from between them (the randomised
transform) are right one gene at a time, but carry noise of their own in place of what a cell's other genes say, so
their correlations are too small, and counts made of such scores are less correlated than those that went in. Here both
f and z are drawn from their posterior, by Gibbs sampling,

    z_ig | f_i   normal, cut off at the bounds,
    f_i | z_i    normal: covariance V = (I + loadings^T Psi^-1 loadings)^-1, mean V loadings^T Psi^-1 z_i,

and the loadings follow by stochastic approximation of EM: regression of z on f from averaged moments.
[Delyon, Lavielle & Moulines 1999]
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

LEAST_RESIDUAL = 0.02
"""Least share of a score's variance that is a gene's own."""

Scores = Float64[np.ndarray, "n g"]


@dataclass(frozen=True, eq=False)
class Factors:
    """Loadings (G, k); the residual variance of a gene is 1 - |its loadings|^2."""

    loadings: Float64[np.ndarray, "g k"]

    @property
    def residual(self) -> Float64[np.ndarray, " g"]:
        """The variance (G,) of each gene's own."""
        return np.asarray(1 - np.square(self.loadings).sum(1))

    def posterior(self) -> tuple[Float64[np.ndarray, "g k"], Float64[np.ndarray, "k k"]]:
        """Return the weights W (G, k) and the covariance V (k, k) of f given z: f | z ~ N(z W, V)."""
        weighted = self.loadings / self.residual[:, None]
        covariance = np.linalg.inv(np.eye(self.loadings.shape[1]) + self.loadings.T @ weighted)
        return weighted @ covariance, (covariance + covariance.T) / 2


def cut_normal(mean: Scores, std: Float64[np.ndarray, " g"], lower: Scores, upper: Scores, v: Scores) -> Scores:
    """Return the quantiles v of N(mean, std^2) cut off at the bounds, (n, G)."""
    a, b = (lower - mean) / std, (upper - mean) / std
    side = np.where(a + b > 0, -1.0, 1.0)  # in the lower tail, where Phi has all its digits
    a, b = np.where(side > 0, a, -b), np.where(side > 0, b, -a)
    low, high = ndtr(a), ndtr(b)
    v = np.where(side > 0, v, 1 - v)
    e = ndtri(low + v * (high - low))
    return np.asarray(np.clip(mean + std * side * np.where(np.isfinite(e), e, b), lower, upper))


def first_factors(z: Scores, k: int) -> Factors:
    """Return the loadings of the k first principal components of standard scores (n, G), 0 beyond the n-th."""
    _, s, rows = np.linalg.svd(z / np.sqrt(len(z)), full_matrices=False)
    noise = np.mean(s[k:] ** 2) if len(s) > k else 0.0
    loadings = np.zeros((z.shape[1], k))
    loadings[:, : len(s)] = (rows[:k] * np.sqrt(np.clip(s[:k] ** 2 - noise, 0.0, None))[:, None]).T
    return bounded(loadings)


def bounded(loadings: NDArray[np.float64]) -> Factors:
    """Return the factors of loadings, scaled down where less than `LEAST_RESIDUAL` would be a gene's own."""
    length = np.sqrt(np.square(loadings).sum(1, keepdims=True))
    return Factors(loadings * np.minimum(1.0, np.sqrt(1 - LEAST_RESIDUAL) / np.maximum(length, 1e-12)))


def fit_factors(
    lower: Scores, upper: Scores, k: int, rng: np.random.Generator, sweeps: int = 40, burn: int = 15, ridge: float = 1.0
) -> Factors:
    """Fit k factors to cells whose scores lie between bounds (n, G)."""
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
