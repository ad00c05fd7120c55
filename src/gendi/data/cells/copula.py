"""Copula space: a cell's depth, and the factors behind the normal scores of its counts.

    encode    k -> bounds of each score, Phi^-1(F(k - 1)) < z <= Phi^-1(F(k)), with F the gene's law in the cell's class
              at its depth L -> one posterior draw of the factors f given the bounds (`gendi.data.cells.factors`)
              x = ((ln L - m) / s, f)
    decode    L = exp(m + s x_0), or the requested depth; z = loadings f + sqrt(residual) eps; k = F^-1(Phi(z))

As long as z is about standard normal, each gene has the right zeros, mean and variance at the cell's depth, whatever f
the network draws. The network only learns what genes have in common. Genes without factors (see `genes` in the
configuration) are drawn from their laws alone. Every draw is keyed by the number of the cell.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gendi.data.cells.codec import CellsCodec, DepthLaw, Header, chunks, some
from gendi.data.cells.factors import Factors, cut_normal
from gendi.data.cells.marginals import Marginals
from gendi.data.cells.negative_binomial import normal_scores, quantile
from gendi.data.cells.normalise import depths
from gendi.diffusion.randomness import Places
from gendi.errors import BundleError
from gendi.storage.safe_tensors import TensorSpec

Floats = NDArray[np.float64]

SWEEPS = 12
"""Gibbs sweeps between the first scores of a cell and its encoded factors."""
FURTHEST = 8.0
"""Larger scores are clipped to this, so that one absurd count of a cell does not decide all its factors."""


class CopulaCodec(CellsCodec):
    """The codec of the module's docstring. `modelled` (g,) are the columns whose scores have factors."""

    kind: ClassVar[str] = "cells-copula"
    once: ClassVar[bool] = True

    def __init__(
        self,
        header: Header,
        cond: Mapping[str, Tensor],
        depth: DepthLaw,
        marginals: Marginals,
        factors: Factors,
        modelled: NDArray[np.int64],
    ) -> None:
        super().__init__(header, cond, depth)
        self.marginals, self.factors, self.modelled = marginals, factors, modelled

    @property
    def shape(self) -> tuple[int]:
        return (1 + self.factors.loadings.shape[1],)

    def encode(self, rows: Tensor, cond: Mapping[str, Tensor], index: Tensor) -> Tensor:
        counts, labels = self.counts_of(rows), self.labels_of(cond)
        out = np.empty((len(counts), *self.shape), np.float32)
        for part in chunks(len(counts)):
            depth = depths(counts[part])
            lower, upper = bounds(self.marginals, counts[part], some(labels, part), depth, self.modelled)
            out[part, 0] = self.depth.score(depth)
            out[part, 1:] = posterior_factors(self.factors, lower, upper, index[part].cpu().numpy())
        return torch.from_numpy(out)

    def decode(self, x: Tensor, cond: Mapping[str, Tensor], seed: int, first: int) -> Tensor:
        model, labels = self.finite(x), self.labels_of(cond)
        depth = self.depths_of(cond, model[:, 0])
        places = Places(seed, "cell scores", 0)
        out = np.empty((len(model), self.header.genes), np.int64)
        std = np.sqrt(self.factors.residual)
        for part in chunks(len(model)):
            numbers = range(first + part.start, first + part.stop)
            z = np.stack([places(i, 0, 0).standard_normal(self.header.genes) for i in numbers])
            z[:, self.modelled] = z[:, self.modelled] * std + model[part, 1:] @ self.factors.loadings.T
            out[part] = quantile(z, *self.marginals.of(some(labels, part), depth[part]))
        return torch.from_numpy(out)

    def sizes(self) -> dict[str, int]:
        return {
            "classes": len(self.marginals.rates) - 1,
            "modelled": len(self.modelled),
            "factors": self.factors.loadings.shape[1],
        }

    def arrays(self) -> dict[str, NDArray[Any]]:
        return {
            "rates": self.marginals.rates,
            "dispersions": self.marginals.dispersions,
            "loadings": self.factors.loadings,
            "modelled": self.modelled,
        }

    @classmethod
    def size_names(cls) -> tuple[str, ...]:
        return "classes", "modelled", "factors"

    @classmethod
    def array_specs(cls, genes: int, sizes: Mapping[str, int]) -> dict[str, TensorSpec]:
        table = ((sizes["classes"] + 1, genes), torch.float64)
        return {
            "rates": table,
            "dispersions": table,
            "loadings": ((sizes["modelled"], sizes["factors"]), torch.float64),
            "modelled": ((sizes["modelled"],), torch.int64),
        }

    @classmethod
    def from_arrays(
        cls,
        header: Header,
        cond: Mapping[str, Tensor],
        depth: DepthLaw,
        sizes: Mapping[str, int],
        arrays: Mapping[str, NDArray[Any]],
    ) -> Self:
        factors, modelled = Factors(arrays["loadings"]), arrays["modelled"]
        sound = {
            "rates": (arrays["rates"] >= 0).all(),
            "dispersions": (arrays["dispersions"] > 0).all(),
            "loadings": (factors.residual > 0).all(),
            "modelled": np.array_equal(modelled, np.unique(modelled.clip(0, max(0, header.genes - 1)))),
        }
        if bad := [name for name, fine in sound.items() if not fine]:
            raise BundleError(f"The cells' codec: {', '.join(bad)} out of range; the file is damaged.")
        return cls(header, cond, depth, Marginals(arrays["rates"], arrays["dispersions"]), factors, modelled)


def bounds(
    marginals: Marginals,
    counts: NDArray[Any],
    labels: NDArray[np.int64] | None,
    depth: Floats,
    columns: NDArray[np.int64],
) -> tuple[Floats, Floats]:
    """Return the bounds (n, g) of the scores of counts (n, G) in some columns (g,), clipped to `FURTHEST`."""
    mu, dispersion = (table[:, columns] for table in marginals.of(labels, depth))
    k = counts[:, columns]
    lower, upper = (normal_scores(k, mu, dispersion, v) for v in (0, 1))
    return lower.clip(-FURTHEST, FURTHEST), upper.clip(-FURTHEST, FURTHEST)


def posterior_factors(factors: Factors, lower: Floats, upper: Floats, index: NDArray[np.int64]) -> Floats:
    """Return a posterior draw (n, k) of the factors of scores between bounds (n, g); row i is keyed by index[i]."""
    places = Places(0, "cell factors", 0)
    (n, g), k = lower.shape, factors.loadings.shape[1]
    weights, covariance = factors.posterior()
    root, std = np.linalg.cholesky(covariance).T, np.ones(g)
    f, v, e = np.zeros((n, k)), np.empty((n, g)), np.empty((n, k))
    for sweep in range(SWEEPS):
        for i, number in enumerate(index.tolist()):
            rng = places(number, sweep, 0)
            rng.random(out=v[i])
            rng.standard_normal(out=e[i])
        z = cut_normal(f @ factors.loadings.T, std, lower, upper, v)
        f = z @ weights + e @ root
        std = np.sqrt(factors.residual)
    return f
