"""Log space: the standardised log-normalised expression of each gene, the usual space of diffusion models of cells.

    encode    x = ((ln L - m) / s, (y - mean) / std),   y = ln(1 + 1e4 (k + v) / L),   v uniform in (0, 1)
    decode    k = floor(L (e^y - 1) / 1e4),   at most L

The uniform v spreads each count over an interval of its own, so y has a density, and the floor returns every count
exactly. A zero is every y below ln(1 + 1e4 / L), so rounding neither makes nor loses zeros, as it does for models of
plain log-normalised values. The draw of v is keyed by the number of the cell, and each batch is encoded when it is
needed, so large data take only the memory of their counts. Genes outside the mask (see `genes` in the configuration)
are drawn from negative binomials at the cell's depth.
"""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gendi.data.cells.codec import CellsCodec, DepthLaw, Header, chunks
from gendi.data.cells.marginals import Marginals, fit_marginals
from gendi.data.cells.negative_binomial import quantile
from gendi.data.cells.normalise import SCALE, depths
from gendi.diffusion.randomness import Places
from gendi.errors import BundleError
from gendi.storage.safe_tensors import TensorSpec

Floats = NDArray[np.float64]

EDGE = 0.02
"""v keeps this distance from 0 and 1, so that counts up to about 1e4 survive float32 exactly."""


class LogCodec(CellsCodec):
    """The codec of the module's docstring.

    `modelled` (g,) are the columns in the mask, `mean` and `std` (g,) the statistics of y.
    """

    kind: ClassVar[str] = "cells-log"
    once: ClassVar[bool] = False

    def __init__(
        self,
        header: Header,
        cond: Mapping[str, Tensor],
        depth: DepthLaw,
        marginals: Marginals,
        modelled: NDArray[np.int64],
        mean: Floats,
        std: Floats,
    ) -> None:
        super().__init__(header, cond, depth)
        self.marginals, self.modelled, self.mean, self.std = marginals, modelled, mean, std

    @property
    def shape(self) -> tuple[int]:
        return (1 + len(self.modelled),)

    def encode(self, rows: Tensor, cond: Mapping[str, Tensor], index: Tensor) -> Tensor:
        counts = self.counts_of(rows)
        depth = depths(counts)
        y = spread(counts[:, self.modelled], depth, index.cpu().numpy())
        x = np.concatenate([self.depth.score(depth)[:, None], (y - self.mean) / self.std], axis=1)
        return torch.from_numpy(x.astype(np.float32))

    def decode(self, x: Tensor, cond: Mapping[str, Tensor], seed: int, first: int) -> Tensor:
        model = self.finite(x)
        depth = np.maximum(1.0, np.rint(self.depths_of(cond, model[:, 0])))
        out = np.zeros((len(model), self.header.genes), np.int64)
        others = np.setdiff1d(np.arange(self.header.genes), self.modelled)
        places = Places(seed, "cell scores", 0)
        for part in chunks(len(model)):
            own = depth[part, None]
            y = np.clip(model[part, 1:] * self.std + self.mean, 0.0, np.log1p(2 * SCALE))
            out[part.start : part.stop, self.modelled] = np.minimum(np.floor(np.expm1(y) * own / SCALE), own)
            if len(others):
                z = np.stack(
                    [places(first + i, 0, 0).standard_normal(len(others)) for i in range(part.start, part.stop)]
                )
                mu, dispersion = self.marginals.of(None, depth[part])
                out[part.start : part.stop, others] = quantile(z, mu[:, others], dispersion[:, others])
        return torch.from_numpy(out)

    def sizes(self) -> dict[str, int]:
        return {"modelled": len(self.modelled)}

    def arrays(self) -> dict[str, NDArray[Any]]:
        return {
            "rates": self.marginals.rates,
            "dispersions": self.marginals.dispersions,
            "modelled": self.modelled,
            "mean": self.mean,
            "std": self.std,
        }

    @classmethod
    def size_names(cls) -> tuple[str, ...]:
        return ("modelled",)

    @classmethod
    def array_specs(cls, genes: int, sizes: Mapping[str, int]) -> dict[str, TensorSpec]:
        each = ((sizes["modelled"],), torch.float64)
        table = ((1, genes), torch.float64)
        modelled = ((sizes["modelled"],), torch.int64)
        return {"rates": table, "dispersions": table, "modelled": modelled, "mean": each, "std": each}

    @classmethod
    def from_arrays(
        cls,
        header: Header,
        cond: Mapping[str, Tensor],
        depth: DepthLaw,
        sizes: Mapping[str, int],
        arrays: Mapping[str, NDArray[Any]],
    ) -> Self:
        modelled, std = arrays["modelled"], arrays["std"]
        sound = np.array_equal(modelled, np.unique(modelled.clip(0, max(0, header.genes - 1))))
        if not (sound and (std > 0).all() and (arrays["rates"] >= 0).all() and (arrays["dispersions"] > 0).all()):
            raise BundleError(
                "The cells' codec: modelled, std, rates or dispersions out of range; the file is damaged."
            )
        marginals = Marginals(arrays["rates"], arrays["dispersions"])
        return cls(header, cond, depth, marginals, modelled, arrays["mean"], std)


def spread(counts: NDArray[np.int64], depth: Floats, index: NDArray[np.int64]) -> Floats:
    """Return y (n, g) of counts (n, g) in cells of these depths; v is keyed by `index`, the numbers of the cells."""
    places = Places(0, "cell counts", 0)
    v = (
        np.stack([places(int(i), 0, 0).random(counts.shape[1]) for i in index])
        if len(index)
        else np.zeros(counts.shape)
    )
    v = EDGE + (1 - 2 * EDGE) * v
    return np.asarray(np.log1p(SCALE * (counts + v) / np.maximum(depth, 1.0)[:, None]))


def fit_log(
    header: Header,
    cond: Mapping[str, Tensor],
    depth: DepthLaw,
    modelled: NDArray[np.int64],
    parts: Iterable[NDArray[Any]],
) -> LogCodec:
    """Return the codec fitted to chunks of counts (n, G), in the order of the rows, in one pass."""
    total, squares, seen = np.zeros(len(modelled)), np.zeros(len(modelled)), 0

    def summed() -> Iterable[tuple[NDArray[Any], None]]:
        nonlocal total, squares, seen
        for counts in parts:
            index = np.arange(seen, seen + len(counts))
            y = spread(np.asarray(counts[:, modelled], np.int64), depths(counts), index)
            total, squares, seen = total + y.sum(0), squares + np.square(y).sum(0), seen + len(counts)
            yield counts, None

    marginals = fit_marginals(summed(), 0, header.genes)
    mean = total / max(1, seen)
    std = np.sqrt(np.maximum(squares / max(1, seen) - mean**2, 1e-4))
    return LogCodec(header, cond, depth, marginals, modelled, mean, std)
