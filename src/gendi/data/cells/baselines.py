"""Simple models of cells, which a learned model must beat. Each is fitted to counts and classes, and draws counts.

    resampling    draws training cells of the class again
    nb            draws every gene by itself: negative binomial in the class, at the depth of a cell of the class
    nb-copula     the same with correlated normal scores; their correlation is that of randomised scores, shrunk
                  towards zero [Ledoit & Wolf 2004], and is the same in all classes
    pca-mixture   Gaussians in principal components (`gendi.data.cells.pca_mixture`)

Where labelled data are few, the copula is hard to beat, so it is the model to compare with.
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
    """A model that is fitted to counts (n, G) and classes (n,), and draws counts for classes."""

    @classmethod
    def fit(cls, counts: Counts, labels: Labels) -> Self: ...
    def sample(self, n: int, labels: Labels, seed: int) -> Int64[np.ndarray, "n g"]: ...


def rows_like(own: Labels, requested: Int64[np.ndarray, " m"], rng: np.random.Generator) -> Int64[np.ndarray, " m"]:
    """Return the number of a random training row for each requested class; `own` are the classes of training rows.

    Raises `DataError` for a class without a row.
    """
    out = np.empty(len(requested), np.int64)
    for c in np.unique(requested):
        known = np.flatnonzero(own == c)
        if not len(known):
            raise DataError(
                f"No training cell has the class {c}: a baseline draws only the classes of its training cells."
            )
        out[requested == c] = rng.choice(known, int((requested == c).sum()))
    return out


@dataclass(frozen=True, eq=False)
class Resampling:
    """Draws training cells of the class again, with replacement."""

    counts: NDArray[Any]
    labels: NDArray[np.int64]

    @classmethod
    def fit(cls, counts: Counts, labels: Labels) -> "Resampling":
        """Return the baseline that draws from these cells."""
        return cls(counts, labels)

    def sample(self, n: int, labels: Labels, seed: int) -> Int64[np.ndarray, "n g"]:
        """Draw counts (n, G) for classes (n,)."""
        rows = rows_like(self.labels, labels, stream(seed, "resampling"))
        return np.asarray(self.counts[rows], np.int64)


@dataclass(frozen=True, eq=False)
class NegativeBinomials:
    """Draws every gene by itself; with `root`, the Cholesky factor (G, G) of a correlation, with correlated scores."""

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
    """Negative binomials whose normal scores are correlated as those of the training cells."""

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
