"""Cells from Gaussian mixtures in the principal components of log-normalised expression, without the noise of counts.

    y = ln(1 + s k / L),   f = V^T (y - m),   f | class ~ sum_j w_j N(mu_j, C_j),   k = round(L expm1(m + V f) / s)

The depth L is drawn from the cells of the class. Samples look right in two dimensions, but have neither the zeros nor
the variances of counts, so any two-sample test should catch this baseline.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int64, Num
from numpy.typing import NDArray

from gendi.data.cells.normalise import depths, log_normalise, rounded_counts
from gendi.diffusion.randomness import stream
from gendi.errors import DataError

COMPONENTS = 20
"""Number of principal components."""
CELLS_PER_GAUSSIAN = 50


@dataclass(frozen=True, eq=False)
class PCAMixture:
    """One mixture for each class, in a common basis; see the module's docstring."""

    mean: NDArray[np.float64]
    basis: NDArray[np.float64]
    mixtures: dict[int, Any]
    depths: dict[int, NDArray[np.float64]]

    @classmethod
    def fit(cls, counts: Num[np.ndarray, "n g"], labels: Int64[np.ndarray, " n"]) -> "PCAMixture":
        """Fit to counts (N, G) of classes (N,); one Gaussian for each 50 cells of a class, 10 at most."""
        from sklearn.mixture import GaussianMixture

        y, depth = log_normalise(counts), depths(counts)
        mean = y.mean(0)
        _, _, rows = np.linalg.svd(y - mean, full_matrices=False)
        basis = rows[:COMPONENTS].T
        factors = (y - mean) @ basis
        mixtures = {}
        for c in np.unique(labels):
            own = factors[labels == c]
            own = np.repeat(own, 2, axis=0) if len(own) == 1 else own  # a Gaussian of one cell is that cell
            k = int(np.clip(len(own) // CELLS_PER_GAUSSIAN, 1, 10))
            mixtures[int(c)] = GaussianMixture(k, reg_covar=1e-3, random_state=0).fit(own)
        return cls(mean, basis, mixtures, {int(c): depth[labels == c] for c in np.unique(labels)})

    def sample(self, n: int, labels: Int64[np.ndarray, " n"], seed: int) -> Int64[np.ndarray, "n g"]:
        """Draw counts (n, G) for classes (n,). Raises `DataError` for a class without a training cell."""
        if unseen := [int(c) for c in np.unique(labels) if int(c) not in self.mixtures]:
            raise DataError(
                f"No training cell has the class {unseen[0]}: a baseline draws only the classes of its training cells."
            )
        out = np.empty((n, len(self.mean)), np.int64)
        for c in np.unique(labels):
            rows = np.flatnonzero(labels == c)
            rng = stream(seed, "pca-mixture", index=int(c))
            mixture, own = self.mixtures[int(c)], self.depths[int(c)]
            which = rng.choice(len(mixture.weights_), len(rows), p=mixture.weights_)
            noise = rng.standard_normal((len(rows), self.basis.shape[1]))
            roots = np.linalg.cholesky(mixture.covariances_)
            factors = mixture.means_[which] + np.einsum("nij,nj->ni", roots[which], noise)
            out[rows] = rounded_counts(self.mean + factors @ self.basis.T, rng.choice(own, len(rows)))
        return out
