"""Residual blocks over a vector, for data without a shape: tables, embeddings, cells.

    x (B, D), and sinusoids of it (see `vector_features`) -> linear (B, w) -> blocks -> norm, SiLU, linear (B, D_out)

    a block:  x + linear(dropout(SiLU(inject(norm(linear(norm(x)))))),   hidden width `expand` times w

The embedding e (B, time_dim) of time and conditions enters each block at its hidden layer h, as `inject` says:

    film      norm(h) (1 + scale) + shift,  (scale, shift) = W e + b      [Perez et al. 2018]
    add       norm(h + W e + b)
    concat    norm(h), concatenated with a quarter as many features W e + b

The last layer of every block and of the network starts at zero. If D is larger than w, the network should predict x0 or
v, because noise in D dimensions does not pass through a narrower layer.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from gendi.diffusion.config import ConditionConfig
from gendi.diffusion.networks.conditions import ConditionEmbedding
from gendi.diffusion.networks.config import NetworkConfig
from gendi.diffusion.networks.embeddings import TimeEmbedding, vector_features, zero


class Block(nn.Module):
    """A residual block with one hidden layer; see the module's docstring."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        width, hidden, self.inject = config.channels[0], config.expand * config.channels[0], config.inject
        film = {"film": 2 * hidden, "add": hidden, "concat": max(1, hidden // 4)}[config.inject]
        self.norm1, self.up = nn.LayerNorm(width), nn.Linear(width, hidden)
        self.film = nn.Linear(config.time_dim, film)
        self.norm2, self.dropout = nn.LayerNorm(hidden), nn.Dropout(config.dropout)
        self.down = zero(nn.Linear(hidden + (film if config.inject == "concat" else 0), width))

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        h, e = self.up(self.norm1(x)), self.film(embedding)
        if self.inject == "film":
            scale, shift = e.chunk(2, dim=-1)
            h = torch.addcmul(shift, self.norm2(h), 1 + scale)
        elif self.inject == "add":
            h = self.norm2(h + e)
        else:
            h = torch.cat([self.norm2(h), e], dim=-1)
        out: Tensor = x + self.down(self.dropout(F.silu(h)))
        return out


class MLP(nn.Module):
    """The network that the module's docstring describes; `features` is D and `out_features` is D_out."""

    def __init__(
        self, config: NetworkConfig, features: int, conditions: Sequence[ConditionConfig], out_features: int
    ) -> None:
        super().__init__()
        self.config, self.features, self.out_features = config, features, out_features
        width = config.channels[0]
        self.time = TimeEmbedding(config.time_dim, config.time_input, config.time_features)
        self.conditions = ConditionEmbedding(conditions, config.time_dim)
        self.stem = nn.Linear(features * (1 + 2 * len(config.fourier_features)), width)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth[0]))
        self.norm = nn.LayerNorm(width)
        self.head = zero(nn.Linear(width, out_features))

    def outer_layers(self) -> tuple[nn.Module, ...]:
        """Return the first and the last layer, and the embeddings; see `roles.py`."""
        return self.stem, self.head, self.time, self.conditions

    def units(self) -> list[nn.Module]:
        """Return the blocks; see `roles.py`."""
        return list(self.blocks)

    def forward(
        self, x: Float[Tensor, "b d"], time_value: Float[Tensor, " b"], /, **cond: Tensor
    ) -> Float[Tensor, "b d2"]:
        """Return the output (B, D_out) for x (B, D), time values (B,) and conditions of B rows each."""
        embedding = self.time(time_value)
        embedding = F.silu(embedding + self.conditions(cond, embedding))
        if self.config.fourier_features:
            fading = time_value if self.config.fourier_fade else None
            x = torch.cat([x, vector_features(x, self.config.fourier_features, fading)], dim=1)
        h = self.stem(x).to(x.dtype)
        for block in self.blocks:
            h = block(h, embedding)
        out: Tensor = self.head(F.silu(self.norm(h)))
        return out
