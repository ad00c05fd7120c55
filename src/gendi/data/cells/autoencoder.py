"""Latent space: an autoencoder whose decoder gives negative binomials at the cell's depth.  [Lopez et al. 2018]

    y = ln(1 + 1e4 k / L),     q(f | k) = N(mean(y), diag exp(log_var(y))),
    k_g ~ NB(mean L softmax(net(f))_g, dispersion a_g)

It is trained in some seconds on the evidence bound

    E_q[ln P(k | f, L)] - KL(q || N(0, I)).

A vector of model space holds the depth's score and a draw of f, standardised with the mean and the standard deviation
over the training cells. The draws of f and of the counts are keyed by the number of the cell. The weights are saved
with the codec.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from gendi.data.cells.codec import CellsCodec, DepthLaw, Header, chunks
from gendi.data.cells.marginals import LEAST, MOST, Marginals, fit_marginals
from gendi.data.cells.negative_binomial import quantile
from gendi.data.cells.normalise import depths, log_normalise
from gendi.data.split import Split
from gendi.diffusion.randomness import Places, stream
from gendi.errors import BundleError
from gendi.storage.safe_tensors import TensorSpec

HIDDEN = 128
STEPS, BATCH, RATE = 600, 64, 4e-3


class Autoencoder(nn.Module):
    """An encoder from g genes and a decoder to G genes, with k latent dimensions and one hidden layer each."""

    def __init__(self, seen: int, genes: int, factors: int, hidden: int) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Linear(seen, hidden), nn.LayerNorm(hidden), nn.SiLU(), nn.Linear(hidden, 2 * factors)
        )
        self.decoder = nn.Sequential(
            nn.Linear(factors, hidden), nn.LayerNorm(hidden), nn.SiLU(), nn.Linear(hidden, genes)
        )
        self.log_dispersion = nn.Parameter(torch.zeros(genes))

    @torch.no_grad()
    def start_at(self, pooled: Marginals) -> None:
        """Set the decoder so that it begins with the average cell: its rates as biases, and its dispersions."""
        rates = torch.from_numpy(pooled.rates[-1]).float()
        last = self.decoder[-1]
        assert isinstance(last, nn.Linear)
        last.bias.copy_((rates + 1e-7).log())
        last.weight.mul_(0.1)
        self.log_dispersion.copy_(torch.from_numpy(pooled.dispersions[-1]).float().log())

    def posterior(self, y: Float[Tensor, "n g"]) -> tuple[Float[Tensor, "n k"], Float[Tensor, "n k"]]:
        """Return mean and log variance (n, k) of q(f | k) for log-normalised counts y (n, g)."""
        mean, log_var = self.encoder(y).chunk(2, dim=1)
        return mean, log_var.clamp(-10, 5)

    def means(self, f: Float[Tensor, "n k"], depth: Float[Tensor, " n"]) -> Float[Tensor, "n g"]:
        """Return the mean counts (n, G) of latents at depths (n,)."""
        shares: Tensor = self.decoder(f).softmax(dim=1)
        return depth[:, None] * shares

    def bound(self, k: Float[Tensor, "n g"], y: Float[Tensor, "n s"], noise: Float[Tensor, "n k"]) -> Tensor:
        """Return the negative evidence bound, in nats per cell, for counts k, y of them, and standard normal noise."""
        mean, log_var = self.posterior(y)
        mu = self.means(mean + (log_var / 2).exp() * noise, k.sum(1))
        likelihood = log_negative_binomial(k, mu, self.log_dispersion.exp().clamp(LEAST, MOST)).sum(1)
        divergence = (mean.square() + log_var.exp() - log_var - 1).sum(1) / 2
        return (divergence - likelihood).mean()


def log_negative_binomial(
    k: Float[Tensor, "n g"], mu: Float[Tensor, "n g"], dispersion: Float[Tensor, " g"]
) -> Float[Tensor, "n g"]:
    """Return ln P(k) like `gendi.data.cells.negative_binomial.log_probability`, but with a gradient."""
    r, mu = 1 / dispersion, mu.clamp(min=1e-8)
    log_share = (dispersion * mu).log() - (dispersion * mu).log1p()
    return (k + r).lgamma() - r.lgamma() - (k + 1).lgamma() - r * (dispersion * mu).log1p() + k * log_share


class LatentCodec(CellsCodec):
    """The codec of the module's docstring. `modelled` (g,) are the columns that the encoder reads."""

    kind: ClassVar[str] = "cells-latent"
    once: ClassVar[bool] = True

    def __init__(
        self,
        header: Header,
        cond: Mapping[str, Tensor],
        depth: DepthLaw,
        modelled: NDArray[np.int64],
        network: Autoencoder,
        centre: Float[Tensor, " k"],
        scale: Float[Tensor, " k"],
    ) -> None:
        super().__init__(header, cond, depth)
        self.modelled, self.network = modelled, network.eval().requires_grad_(False)
        self.centre, self.scale = centre, scale

    @property
    def shape(self) -> tuple[int]:
        return (1 + len(self.centre),)

    def latents(self, counts: NDArray[Any], index: NDArray[np.int64]) -> Float[Tensor, "n k"]:
        """Return a draw of f, (n, k), for each cell; `index` are the numbers of the cells."""
        places = Places(0, "cell factors", 0)
        k = len(self.centre)
        e = np.stack([places(int(i), 0, 0).standard_normal(k) for i in index]) if len(index) else np.zeros((0, k))
        y = torch.from_numpy(log_normalise(counts)[:, self.modelled]).float()
        mean, log_var = self.network.posterior(y)
        return mean + (log_var / 2).exp() * torch.from_numpy(e).float()

    def encode(self, rows: Tensor, cond: Mapping[str, Tensor], index: Tensor) -> Tensor:
        counts = self.counts_of(rows)
        f = (self.latents(counts, index.cpu().numpy()) - self.centre) / self.scale
        score = torch.from_numpy(self.depth.score(depths(counts))).float()
        return torch.cat([score[:, None], f], dim=1)

    def decode(self, x: Tensor, cond: Mapping[str, Tensor], seed: int, first: int) -> Tensor:
        model = self.finite(x)
        depth = self.depths_of(cond, model[:, 0])
        dispersion = self.network.log_dispersion.exp().clamp(LEAST, MOST).double().numpy()
        places = Places(seed, "cell scores", 0)
        out = np.empty((len(model), self.header.genes), np.int64)
        for part in chunks(len(model)):
            f = x[part, 1:].detach().cpu().float() * self.scale + self.centre
            mu = self.network.means(f, torch.from_numpy(depth[part]).float()).double().numpy()
            numbers = range(first + part.start, first + part.stop)
            z = np.stack([places(i, 0, 0).standard_normal(self.header.genes) for i in numbers])
            out[part] = quantile(z, mu, dispersion)
        return torch.from_numpy(out)

    def sizes(self) -> dict[str, int]:
        return {"modelled": len(self.modelled), "factors": len(self.centre), "hidden": HIDDEN}

    def arrays(self) -> dict[str, NDArray[Any]]:
        weights = {f"network.{name}": value.numpy() for name, value in self.network.state_dict().items()}
        return {"modelled": self.modelled, "centre": self.centre.numpy(), "scale": self.scale.numpy(), **weights}

    @classmethod
    def size_names(cls) -> tuple[str, ...]:
        return "modelled", "factors", "hidden"

    @classmethod
    def array_specs(cls, genes: int, sizes: Mapping[str, int]) -> dict[str, TensorSpec]:
        with torch.device("meta"):
            network = Autoencoder(sizes["modelled"], genes, sizes["factors"], sizes["hidden"])
        weights = {f"network.{name}": (tuple(t.shape), t.dtype) for name, t in network.state_dict().items()}
        each = ((sizes["factors"],), torch.float32)
        return {"modelled": ((sizes["modelled"],), torch.int64), "centre": each, "scale": each, **weights}

    @classmethod
    def from_arrays(
        cls,
        header: Header,
        cond: Mapping[str, Tensor],
        depth: DepthLaw,
        sizes: Mapping[str, int],
        arrays: Mapping[str, NDArray[Any]],
    ) -> Self:
        modelled, scale = arrays["modelled"], torch.from_numpy(arrays["scale"])
        sound = np.array_equal(modelled, np.unique(modelled.clip(0, max(0, header.genes - 1))))
        if not (sound and bool((scale > 0).all())):
            raise BundleError("The cells' codec: modelled or scale out of range; the file is damaged.")
        network = Autoencoder(sizes["modelled"], header.genes, sizes["factors"], sizes["hidden"])
        weights = {name: torch.from_numpy(a) for name, a in arrays.items() if name.startswith("network.")}
        network.load_state_dict({name.removeprefix("network."): value for name, value in weights.items()})
        return cls(header, cond, depth, modelled, network, torch.from_numpy(arrays["centre"]), scale)


def fit_latent(
    header: Header,
    cond: Mapping[str, Tensor],
    depth: DepthLaw,
    modelled: NDArray[np.int64],
    train: Split,
    factors: int,
    seed: int,
) -> LatentCodec:
    """Return the codec with an autoencoder trained on the cells of `train`; the seed decides it fully."""
    rng = stream(seed, "cell autoencoder")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(rng.integers(2**63)))
        network = Autoencoder(len(modelled), header.genes, factors, HIDDEN)
    network.start_at(fit_marginals(((train.batch(part), None) for part in _parts(len(train))), 0, header.genes))
    optimizer = torch.optim.Adam(network.parameters(), lr=RATE)
    for step in range(STEPS):
        counts = train.batch(rng.integers(0, len(train), min(BATCH, len(train))))
        noise = torch.from_numpy(rng.standard_normal((len(counts), factors), dtype=np.float32))
        y = torch.from_numpy(log_normalise(counts)[:, modelled]).float()
        loss = network.bound(torch.from_numpy(counts.astype(np.float32)), y, noise)
        optimizer.param_groups[0]["lr"] = RATE * min(1.0, 2 * (1 - step / STEPS))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), 100.0)
        optimizer.step()
    codec = LatentCodec(header, cond, depth, modelled, network, torch.zeros(factors), torch.ones(factors))
    f = torch.cat([codec.latents(train.batch(part), part) for part in _parts(len(train))])
    codec.centre, codec.scale = f.mean(0), f.std(0, correction=0).clamp(min=1e-3)
    return codec


def _parts(n: int) -> list[NDArray[np.int64]]:
    """Return the numbers of n cells in parts of up to 512."""
    return [np.arange(part.start, part.stop) for part in chunks(n, 512)]
