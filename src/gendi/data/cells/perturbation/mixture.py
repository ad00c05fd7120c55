"""Empirical Bayes with a mixture of normal priors, for many genes that were measured under the same conditions.

    y_g = beta_g[seen] + error,   error ~ N(0, N_g)          N_g (m, m) is known
    beta_g ~ pi_0 at 0  +  sum_k pi_k N(0, C_k)              beta_g (P,) over all conditions, m of which were seen

C_k are covariances that all genes share, and so are the shares pi. Then, with S = C_k[seen, seen] + N_g,

    ln p(y | k) = -(ln |S| + y^T S^-1 y) / 2 + constant
    E[beta | y, k] = C_k[:, seen] S^-1 y,      Var[beta | y, k] = C_k - C_k[:, seen] S^-1 C_k[seen, :]

The shares come from EM, and one of the covariances can: `learn_covariance`.  [Stephens 2017; Urbut et al. 2019, whose
data-driven covariances are learned likewise; Bovy et al. 2011 for the EM with known errors]
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float64, Int64
from numpy.typing import NDArray

Floats = NDArray[np.float64]
ROUNDS = 100
"""Rounds of EM for the shares."""
AT_ONCE = 2_000_000
"""Numbers of a block of matrices."""
LEAST_WEIGHT = 1e-4
"""Probability of a component from which it counts in a gene's posterior."""
WORTH = 40.0
"""Weight of the start in a learned covariance, in genes."""


@dataclass(frozen=True, eq=False)
class Measured:
    """G genes under m of P conditions."""

    y: Float64[np.ndarray, "g m"]
    noise: Float64[np.ndarray, "g m m"]
    seen: Int64[np.ndarray, " m"]

    @cached_property
    def precision(self) -> Float64[np.ndarray, "g m m"]:
        """N^-1."""
        return np.linalg.inv(self.noise)

    @cached_property
    def null(self) -> Float64[np.ndarray, " g"]:
        """ln p(y | 0), without the constant."""
        _, log_det = np.linalg.slogdet(self.noise)
        return np.asarray(-(log_det + np.einsum("gi,gij,gj->g", self.y, self.precision, self.y, optimize=True)) / 2)

    def genes(self, kept: NDArray[np.int64]) -> "Measured":
        """Return some of the genes."""
        return Measured(self.y[kept], self.noise[kept], self.seen)

    def evidence(self, root: Float64[np.ndarray, "p r"], sizes: Sequence[float]) -> Float64[np.ndarray, "k g"]:
        """Return ln p(y | t^2 B B^T) - ln p(y | 0) of every size t and gene, (K, G), for a root B (P, r).

        With W = B^T N^-1 B and s = B^T N^-1 y it is t^2 s^T (I + t^2 W)^-1 s / 2 - ln |I + t^2 W| / 2.
        """
        b = root[self.seen]
        left = np.matmul(b.T, self.precision)
        w, s = left @ b, np.einsum("gri,gi->gr", left, self.y)
        out = []
        for t in sizes:
            system = np.eye(b.shape[1]) + t**2 * w
            _, log_det = np.linalg.slogdet(system)
            solved = np.linalg.solve(system, s[:, :, None])[:, :, 0]
            out.append((t**2 * (s * solved).sum(1) - log_det) / 2)
        return np.stack(out)


def root_of(covariance: Float64[np.ndarray, "p p"]) -> Float64[np.ndarray, "p r"]:
    """Return B (P, r) with B B^T the covariance, r its rank."""
    values, vectors = np.linalg.eigh(covariance)
    kept = values > 1e-9 * max(float(values[-1]), 1e-300)
    return np.asarray(vectors[:, kept] * np.sqrt(values[kept]))


def weights_of(evidence: Float64[np.ndarray, "k g"], shares: Floats) -> Float64[np.ndarray, "k g"]:
    """Return the probability of each component for each gene (K, G)."""
    with np.errstate(divide="ignore"):
        joint = evidence + np.log(shares)[:, None]
    return np.asarray(np.exp(joint - np.logaddexp.reduce(joint, axis=0)))


def fit_shares(evidence: Float64[np.ndarray, "k g"], prior: Floats) -> Floats:
    """Return the shares pi (K,) by EM; `prior` (K,) are genes that are added to each component."""
    shares = np.full(len(evidence), 1 / len(evidence))
    likelihood = np.exp(evidence - evidence.max(0))
    for _ in range(ROUNDS):
        total = shares * (likelihood @ (1 / (shares @ likelihood))) + prior
        shares = total / total.sum()
    return np.asarray(shares)


def learn_covariance(
    measured: Measured, start: Float64[np.ndarray, "p p"], sizes: Sequence[float], rounds: int
) -> Float64[np.ndarray, "p p"]:
    """Return the covariance C (P, P) of genes that are 0 or N(0, t^2 C) with a size t among `sizes`, by EM.

    The start counts as `WORTH` genes. What was not seen keeps the regression on the rest that the start has.
    """
    c, shares = start, np.full(len(sizes) + 1, 1 / (len(sizes) + 1))
    seen = measured.seen
    for _ in range(rounds):
        found = []
        for t in sizes:
            s = t**2 * c[np.ix_(seen, seen)] + measured.noise
            inverse = np.linalg.inv(s)
            _, log_det = np.linalg.slogdet(s)
            solved = np.einsum("gij,gj->gi", inverse, measured.y)
            found.append((-(log_det + (measured.y * solved).sum(1)) / 2 - measured.null, inverse, solved))
        evidence = np.stack([np.zeros(len(measured.y)), *(part[0] for part in found)])
        weights = weights_of(evidence, shares)
        shares = (weights.sum(1) + 1) / (weights.sum() + len(weights))
        moment = WORTH * start + weights[1:].sum() * c
        for t, w, (_, inverse, solved) in zip(sizes, weights[1:], found, strict=True):
            inner = t**2 * (np.einsum("g,gi,gj->ij", w, solved, solved) - np.einsum("g,gij->ij", w, inverse))
            moment += c[:, seen] @ inner @ c[seen]
        c = moment / (WORTH + weights[1:].sum())
        c = c / np.diag(c)[seen].mean()
    return c


def posterior(
    measured: Measured, size: int, covariances: Sequence[Floats], weights: Float64[np.ndarray, "k g"]
) -> tuple[Float64[np.ndarray, "g p"], Float64[np.ndarray, "g p"]]:
    """Return mean and standard deviation of beta, each (G, P) with P the `size`.

    `weights` (K, G) are the probabilities of the covariances; what is left to 1 is that of 0.
    """
    genes, m = measured.y.shape
    mean, square = np.zeros((2, genes, size))
    step = max(1, AT_ONCE // (m * max(m, size)))
    for c, w in zip(covariances, weights, strict=True):
        across = c[:, measured.seen]
        counted = np.flatnonzero(w > LEAST_WEIGHT)
        for begin in range(0, len(counted), step):
            part = counted[begin : begin + step]
            inverse = np.linalg.inv(c[np.ix_(measured.seen, measured.seen)] + measured.noise[part])
            own = np.einsum("gij,gj->gi", inverse, measured.y[part]) @ across.T
            left = np.diag(c) - (np.matmul(across, inverse) * across).sum(2)
            mean[part] += w[part, None] * own
            square[part] += w[part, None] * (own**2 + np.maximum(left, 0))
    return mean, np.sqrt(np.maximum(square - mean**2, 0))
