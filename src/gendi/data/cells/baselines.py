"""Simple models of cells, which a learned one must beat; each is fitted to counts and classes, and draws counts.

    resampling    training cells of the class again
    nb            every gene by itself: negative binomial in the class, at a depth drawn from the class's
    nb-copula     the same with correlated normal scores: the randomised transform's correlation, shrunk towards none
                  [Ledoit & Wolf 2004], the same in all classes
    pca-mixture   Gaussians in principal components (`gendi.data.cells.pca_mixture`)

On little labelled data the copula is hard to beat: it is the bar.
"""

from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np
from jaxtyping import Int64, Num
from numpy.typing import NDArray

from gendi.data.cells.marginals import Marginals, fit_marginals
from gendi.data.cells.negative_binomial import normal_scores, quantile
from gendi.data.cells.normalise import depths
from gendi.data.cells.pca_mixture import PCAMixture
from gendi.diffusion.randomness import stream
from gendi.errors import DataError

Counts = Num[np.ndarray, "n g"]
Labels = Int64[np.ndarray, " n"]


class Baseline(Protocol):
    """Counts (n, G) for classes (n,)."""

    @classmethod
    def fit(cls, counts: Counts, labels: Labels) -> Self: ...
    def sample(self, n: int, labels: Labels, seed: int) -> Int64[np.ndarray, "n g"]: ...


def rows_like(own: Labels, asked: Int64[np.ndarray, " m"], rng: np.random.Generator) -> Int64[np.ndarray, " m"]:
    """Return a random training row of each asked class. Raises `DataError` for a class without a row."""
    out = np.empty(len(asked), np.int64)
    for c in np.unique(asked):
        known = np.flatnonzero(own == c)
        if not len(known):
            raise DataError(f"No training cell has the class {c}: a baseline can draw only what it has seen.")
        out[asked == c] = rng.choice(known, int((asked == c).sum()))
    return out


@dataclass(frozen=True, eq=False)
class Resampling:
    """Training cells of the class again, with replacement."""

    counts: NDArray[Any]
    labels: NDArray[np.int64]

    @classmethod
    def fit(cls, counts: Counts, labels: Labels) -> "Resampling":
        """Keep the cells."""
        return cls(counts, labels)

    def sample(self, n: int, labels: Labels, seed: int) -> Int64[np.ndarray, "n g"]:
        """Draw counts (n, G) for classes (n,)."""
        rows = rows_like(self.labels, labels, stream(seed, "resampling"))
        return np.asarray(self.counts[rows], np.int64)


@dataclass(frozen=True, eq=False)
class NegativeBinomials:
    """Every gene by itself, or with `root` (G, G) the Cholesky factor of its scores' correlation."""

    marginals: Marginals
    depths: NDArray[np.float64]
    labels: NDArray[np.int64]
    root: NDArray[np.float64] | None = None

    @classmethod
    def fit(cls, counts: Counts, labels: Labels) -> "NegativeBinomials":
        """Fit to counts (N, G) of classes (N,)."""
        marginals = fit_marginals([(counts, labels)], int(labels.max()) + 1, counts.shape[1])
        return cls(marginals, depths(counts), labels)

    def sample(self, n: int, labels: Labels, seed: int) -> Int64[np.ndarray, "n g"]:
        """Draw counts (n, G) for classes (n,)."""
        rng = stream(seed, "negative binomials")
        depth = self.depths[rows_like(self.labels, labels, rng)]
        z = rng.standard_normal((n, self.marginals.rates.shape[1]))
        if self.root is not None:
            z = z @ self.root.T
        return quantile(z, *self.marginals.of(labels, depth))


class GaussianCopula(NegativeBinomials):
    """Negative binomials with the correlation of their normal scores."""

    @classmethod
    def fit(cls, counts: Counts, labels: Labels) -> "GaussianCopula":
        """Fit to counts (N, G) of classes (N,)."""
        from sklearn.covariance import ledoit_wolf

        alone = NegativeBinomials.fit(counts, labels)
        v = stream(0, "randomised transform").random(counts.shape)
        z = normal_scores(counts, *alone.marginals.of(labels, alone.depths), v)
        covariance = ledoit_wolf(z)[0]
        std = np.sqrt(np.diag(covariance))
        root = np.linalg.cholesky(covariance / std / std[:, None])
        return cls(alone.marginals, alone.depths, labels, root)


BASELINES: dict[str, type[Baseline]] = {
    "resampling": Resampling,
    "nb": NegativeBinomials,
    "nb-copula": GaussianCopula,
    "pca-mixture": PCAMixture,
}
"""The closed registry of baselines."""
