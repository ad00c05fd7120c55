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
from jaxtyping import Float32, Float64
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

LEAST_RESIDUAL = 0.02
"""The smallest share of a score's variance that belongs to the gene alone."""

Scores = Float32[np.ndarray, "n g"]
Floats = NDArray[np.float64]


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


def cut_normal(mean: Scores, std: Float32[np.ndarray, " g"], lower: Scores, upper: Scores, e: Scores) -> Scores:
    """Return N(mean, std^2) truncated at the bounds, as a function of standard normal numbers e, all (n, G) of float32.

    mean + std e is the result where it lies between the bounds, which is so for most zeros. Beyond a bound, e is by its
    rank among the numbers beyond it a uniform one, and so decides a quantile: that of the bound itself if e is just
    beyond, so that the result is continuous in e.
    """
    z = mean + std * e
    beyond = np.flatnonzero((z > upper) | (z < lower))
    if len(beyond):
        of = np.asarray(std, np.float64)[beyond % z.shape[1]]
        own, low, high, number = (a.reshape(-1)[beyond].astype(np.float64) for a in (mean, lower, upper, e))
        z.reshape(-1)[beyond] = _between(own, of, low, high, number)
    return np.asarray(z)


def _between(mean: Floats, std: Floats, lower: Floats, upper: Floats, e: Floats) -> Floats:
    """Return truncated numbers (m,) for numbers e (m,) of which each lies beyond one of its bounds."""
    a, b = (lower - mean) / std, (upper - mean) / std
    side = np.where(a + b > 0, -1.0, 1.0)  # in the lower tail, where Phi has all its digits
    a, b = np.where(side > 0, a, -b), np.where(side > 0, b, -a)
    above = side * e > b
    low, high = ndtr(a), ndtr(b)
    outer = np.where(above, ndtr(-b), low)
    share = np.clip(ndtr(np.where(above, -side * e, side * e)) / np.maximum(outer, 1e-300), 0.0, 1.0)
    x = ndtri(low + np.where(above, share, 1 - share) * (high - low))
    return np.asarray(np.clip(mean + std * side * np.where(np.isfinite(x), x, b), lower, upper))


def first_factors(z: Scores, k: int) -> Factors:
    """Return factors from the first k principal components of standard scores (n, G); any beyond the n-th are 0."""
    _, s, rows = np.linalg.svd(z / np.sqrt(len(z), dtype=z.dtype), full_matrices=False)
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

    def normal(*shape: int) -> Scores:
        return rng.standard_normal(shape, np.float32)

    z = cut_normal(np.zeros_like(lower), np.ones(genes, np.float32), lower, upper, normal(n, genes))
    factors = first_factors(z, k)
    of_zf, of_ff, of_zz = np.zeros((genes, k)), np.eye(k), np.ones(genes)
    for sweep in range(sweeps):
        weights, covariance = factors.posterior()
        f = z @ weights.astype(np.float32) + normal(n, k) @ np.linalg.cholesky(covariance).T.astype(np.float32)
        std = np.sqrt(factors.residual).astype(np.float32)
        z = cut_normal(f @ factors.loadings.T.astype(np.float32), std, lower, upper, normal(n, genes))
        gain = 1.0 if sweep < burn else 1 / (sweep - burn + 1)
        mean = z @ weights.astype(np.float32)
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
