"""Copula space: a cell's depth, and the factors behind the normal scores of its counts.

    encode    k -> bounds of each score, Phi^-1(F(k - 1)) < z <= Phi^-1(F(k)), with F the gene's distribution in the
              cell's class at its depth L -> one posterior draw of the factors f given the bounds
              (`gendi.data.cells.factors`) -> x = ((ln L - m) / s, f)
    decode    L = exp(m + s x_0), or the requested depth; z = loadings f + sqrt(residual) eps; k = F^-1(Phi(z))

As long as z is about standard normal, each gene has the right zeros, mean and variance at the cell's depth, whatever f
the network draws. The network only learns what genes have in common. Genes without factors (see `genes` in the
configuration) are drawn from their distributions alone. Every draw is keyed by the number of the cell. If the training
cells are few, each is encoded several times, with other draws of its factors: a network that sees one draw of each
learns these draws by heart.

The distributions of a class are those of `gendi.data.cells.shrinkage`: a rare class borrows from the class that it is
most like.
The factors of its few cells have a mean by chance, which would move all genes at once. So each class's factors are
shifted before a network learns them: by 1 - (k - 2) / (n |m|^2), if that is positive, the mean m of k factors over n
cells is shrunk [James and Stein 1961], since it is 0 wherever the distributions alone explain the class.
"""

import copy
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import ndtri
from torch import Tensor

from gendi.data.cells.codec import CellsCodec, DepthLaw, Header, chunks, some
from gendi.data.cells.factors import Factors, Scores, cut_normal
from gendi.data.cells.levels import Levels
from gendi.data.cells.marginals import Marginals
from gendi.data.cells.negative_binomial import quantile, score_bounds
from gendi.data.cells.normalise import depths
from gendi.data.cells.shrinkage import Posterior
from gendi.diffusion.randomness import Places
from gendi.errors import BundleError, UsageError, unknown_name
from gendi.storage.safe_tensors import TensorSpec

Floats = NDArray[np.float64]
Profiles = Literal["estimated", "per-cell", "per-seed"]
PROFILES: tuple[Profiles, ...] = ("estimated", "per-cell", "per-seed")
"""Profiles of classes in `decode`: as estimated; drawn from their posterior for every cell; drawn once for a seed."""

POSTERIOR = tuple(field.name for field in fields(Posterior))
GRID = 400
"""Quantiles of a score over which a mean is taken."""
SWEEPS, BETWEEN = 12, 4
"""Gibbs sweeps between the first scores of a cell and its encoded factors, and between two draws of the latter."""
DRAWS, DRAWN_CELLS = 16, 10_000
"""Most draws of the factors of each training cell; there are so many that this number of cells is not exceeded."""
ENCODED = 64
"""Number of cells that are encoded at a time, so few that their scores stay in the processor's cache."""
FURTHEST = 8.0
"""Larger scores are clipped to this, so that one absurd count of a cell does not decide all its factors."""


class CopulaCodec(CellsCodec):
    """The codec of the module's docstring. `modelled` (g,) are the columns whose scores have factors."""

    kind: ClassVar[str] = "cells-copula"
    once: ClassVar[bool] = True
    later_sizes: ClassVar[frozenset[str]] = frozenset({"borrowed", "levels", "draws"})
    profiles: Profiles = "estimated"
    draws: int = 1
    """Most draws of the factors of each training cell."""

    def __init__(
        self,
        header: Header,
        cond: Mapping[str, Tensor],
        depth: DepthLaw,
        marginals: Marginals,
        factors: Factors,
        modelled: NDArray[np.int64],
        posterior: Posterior | None = None,
        shift: Floats | None = None,
        levels: Levels | None = None,
    ) -> None:
        """`posterior` is what is known of the classes' rates, `shift` (K + 1, k) what their factors lose, and `levels`
        how further conditions change rates."""
        super().__init__(header, cond, depth)
        self.marginals, self.factors, self.modelled = marginals, factors, modelled
        self.posterior, self.levels = posterior, levels or Levels()
        self.shift = np.zeros((len(marginals.rates), factors.loadings.shape[1])) if shift is None else shift

    def with_profiles(self, profiles: str) -> Self:
        """Return this codec with other profiles in `decode`, see `PROFILES`.

        Raises `UsageError` for an unknown name, and for a codec of an earlier version, which has no posterior.
        """
        if profiles not in PROFILES:
            raise unknown_name("way with profiles", profiles, PROFILES)
        if profiles != "estimated" and self.posterior is None:
            raise UsageError(
                "This model was trained by a version of gendi that did not keep what it knew of the profiles of "
                "classes, so none can be drawn. Train it anew, or leave out the profiles."
            )
        codec = copy.copy(self)
        codec.profiles = next(name for name in PROFILES if name == profiles)
        return codec

    @property
    def shape(self) -> tuple[int]:
        return (1 + self.factors.loadings.shape[1],)

    def draws_of(self, rows: int) -> int:
        return min(self.draws, most_draws(rows))

    def encode(self, rows: Tensor, cond: Mapping[str, Tensor], index: Tensor) -> Tensor:
        return self.encode_draws(rows, cond, index, 1)[0]

    def encode_draws(self, rows: Tensor, cond: Mapping[str, Tensor], index: Tensor, draws: int) -> Tensor:
        counts, labels, levels = self.counts_of(rows), self.labels_of(cond), self.levels_of(cond)
        out = np.empty((draws, len(counts), *self.shape), np.float32)
        for part in chunks(len(counts), ENCODED):
            depth = depths(counts[part])
            own = {name: of[part] for name, of in levels.items()}
            factor = self.levels.of(own, len(depth), self.modelled)
            lower, upper = bounds(self.marginals, counts[part], some(labels, part), depth, self.modelled, factor)
            out[:, part, 0] = self.depth.score(depth)
            f = posterior_factors(self.factors, lower, upper, index[part].cpu().numpy(), draws)
            out[:, part, 1:] = f - self.shift[self.marginals.rows(some(labels, part), len(depth))]
        return torch.from_numpy(out)

    def decode(self, x: Tensor, cond: Mapping[str, Tensor], seed: int, first: int) -> Tensor:
        model, labels, levels = self.finite(x), self.labels_of(cond), self.levels_of(cond)
        depth = self.depths_of(cond, model[:, 0])
        places = Places(seed, "cell scores", 0)
        out = np.empty((len(model), self.header.genes), np.int64)
        std = np.sqrt(self.factors.residual)
        for part in chunks(len(model)):
            numbers = range(first + part.start, first + part.stop)
            z = np.stack([places(i, 0, 0).standard_normal(self.header.genes) for i in numbers])
            z[:, self.modelled] = z[:, self.modelled] * std + model[part, 1:] @ self.factors.loadings.T
            mean, dispersion = self.marginals.of(some(labels, part), depth[part])
            if self.profiles != "estimated":
                mean = self._drawn_rates(some(labels, part), numbers, seed) * depth[part, None]
            factor = self.levels.of({name: of[part] for name, of in levels.items()}, len(numbers))
            out[part] = quantile(z, mean * factor, dispersion)
        return torch.from_numpy(out)

    def _drawn_rates(self, labels: NDArray[np.int64] | None, numbers: range, seed: int) -> Floats:
        """Return rates (n, G) that are drawn from the posterior, for each cell by its number or for each class."""
        assert self.posterior is not None
        places, rows = Places(seed, "cell profiles", 0), self.marginals.rows(labels, len(numbers)).tolist()
        if self.profiles == "per-cell":
            return np.stack([self.posterior.draw(r, places(i, 0, 0)) for r, i in zip(rows, numbers, strict=True)])
        of_rows = {row: self.posterior.draw(row, places(row, 1, 0)) for row in set(rows)}
        return np.stack([of_rows[row] for row in rows])

    def sizes(self) -> dict[str, int]:
        return {
            "classes": len(self.marginals.rates) - 1,
            "modelled": len(self.modelled),
            "factors": self.factors.loadings.shape[1],
            "borrowed": int(self.posterior is not None),
            "levels": sum(map(len, self.levels.factors.values())),
            "draws": self.draws,
        }

    def arrays(self) -> dict[str, NDArray[Any]]:
        out = {
            "rates": self.marginals.rates,
            "dispersions": self.marginals.dispersions,
            "loadings": self.factors.loadings,
            "modelled": self.modelled,
        }
        if self.posterior is not None:
            out |= {name: getattr(self.posterior, name).astype(np.float32) for name in POSTERIOR}
            out["shift"] = self.shift
        if self.levels.factors:
            out["levels"] = np.concatenate(list(self.levels.factors.values())).astype(np.float32)
        return out

    @classmethod
    def size_names(cls) -> tuple[str, ...]:
        return "classes", "modelled", "factors", "borrowed", "levels", "draws"

    @classmethod
    def array_specs(cls, genes: int, sizes: Mapping[str, int]) -> dict[str, TensorSpec]:
        table = (sizes["classes"] + 1, genes)
        specs: dict[str, TensorSpec] = {
            "rates": (table, torch.float64),
            "dispersions": (table, torch.float64),
            "loadings": ((sizes["modelled"], sizes["factors"]), torch.float64),
            "modelled": ((sizes["modelled"],), torch.int64),
        }
        if sizes["borrowed"]:
            specs |= dict.fromkeys(POSTERIOR, (table, torch.float32))
            specs["shift"] = ((sizes["classes"] + 1, sizes["factors"]), torch.float64)
        if sizes["levels"]:
            specs["levels"] = ((sizes["levels"], genes), torch.float32)
        return specs

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
        posterior = Posterior(*(arrays[name].astype(np.float64) for name in POSTERIOR)) if sizes["borrowed"] else None
        if posterior is not None:
            sound["changed"] = (np.abs(posterior.changed - 0.5) <= 0.5).all()
            sound |= {name: (arrays[name] >= 0).all() for name in ("spread", "noise")}
        if sizes["levels"] != sum(size + 1 for size in header.others.values()):
            raise BundleError("The cells' codec: levels do not belong to its conditions; the file is damaged.")
        levels = Levels()
        if sizes["levels"]:
            table, ends = arrays["levels"].astype(np.float64), np.cumsum([n + 1 for n in header.others.values()])
            levels = Levels(dict(zip(header.others, np.split(table, ends[:-1]), strict=True)))
            sound["levels"] = (table > 0).all()
        if bad := [name for name, fine in sound.items() if not fine]:
            raise BundleError(f"The cells' codec: {', '.join(bad)} out of range; the file is damaged.")
        marginals = Marginals(arrays["rates"], arrays["dispersions"])
        codec = cls(header, cond, depth, marginals, factors, modelled, posterior, arrays.get("shift"), levels)
        codec.draws = max(1, sizes["draws"])
        return codec


def most_draws(cells: int) -> int:
    """Return how many times each of so many training cells is encoded: `DRAWS`, or less if there are many cells."""
    return int(np.clip(DRAWN_CELLS // max(1, cells), 1, DRAWS))


def programmes_of(factors: Factors, rates: Floats, dispersions: Floats, depth: float) -> Floats:
    """Return by which share the mean of each gene grows with each factor (g, k), in a cell of some depth.

    Given the factors f, a gene's score is N(loadings f, residual), so its mean grows from mu by about Cov(k, z) times
    loadings f. Cov(k, z) = E k(z) z is that of a count and its score, here a mean over `GRID` quantiles.
    """
    z = ndtri((np.arange(GRID) + 0.5) / GRID)[:, None]
    mu = rates * depth
    covariance = (quantile(z, mu, dispersions) * z).mean(0)
    return np.asarray((covariance / np.maximum(mu, 1e-12))[:, None] * factors.loadings)


def bounds(
    marginals: Marginals,
    counts: NDArray[Any],
    labels: NDArray[np.int64] | None,
    depth: Floats,
    columns: NDArray[np.int64],
    factor: Floats | float = 1.0,
) -> tuple[Scores, Scores]:
    """Return the bounds (n, g) of the scores of counts (n, G) in some columns (g,), clipped to `FURTHEST`.

    `factor` (n, g) multiplies the rates.
    """
    rows = marginals.rows(labels, len(depth))
    rates, dispersions = (table[:, columns][rows] for table in (marginals.rates, marginals.dispersions))
    lower, upper = score_bounds(counts[:, columns], rates * depth[:, None] * factor, dispersions)
    return lower.clip(-FURTHEST, FURTHEST), upper.clip(-FURTHEST, FURTHEST)


def posterior_factors(
    factors: Factors, lower: Scores, upper: Scores, index: NDArray[np.int64], draws: int = 1
) -> Floats:
    """Return posterior draws (draws, n, k) of the factors of scores between bounds (n, g); row i is keyed by index[i].

    They are states of one chain for each row, `BETWEEN` sweeps apart, after `SWEEPS` sweeps.
    """
    places = Places(0, "cell factors", 0)
    (n, g), k = lower.shape, factors.loadings.shape[1]
    weights, covariance = factors.posterior()
    root, weights, loadings = (
        a.astype(np.float32) for a in (np.linalg.cholesky(covariance), weights, factors.loadings)
    )
    f, e, more = np.zeros((n, k), np.float32), np.empty((n, g), np.float32), np.empty((n, k), np.float32)
    std, found = np.ones(g, np.float32), np.empty((draws, n, k))
    for sweep in range(SWEEPS + BETWEEN * (draws - 1)):
        for i, number in enumerate(index.tolist()):
            rng = places(number, sweep, 0)
            rng.standard_normal(out=e[i], dtype=np.float32)
            rng.standard_normal(out=more[i], dtype=np.float32)
        z = cut_normal(f @ loadings.T, std, lower, upper, e)
        f = z @ weights + more @ root.T
        std = np.sqrt(factors.residual).astype(np.float32)
        draw, left = divmod(sweep + 1 - SWEEPS, BETWEEN)
        if draw >= 0 and not left:
            found[draw] = f
    return found
