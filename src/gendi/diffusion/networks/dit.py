"""The diffusion transformer: patches are tokens, and the noise level scales, shifts and gates each block.

    x (B, C, H, W)
      -> concatenated with sinusoids of x (see `fourier_features`) and pictures (B, C', H, W)
      -> pad to a multiple of p, patchify, linear, plus positions               (B, N, D),  N = ceil(H/p) ceil(W/p)
      -> blocks of attention, attention to the tokens of conditions, and a hidden layer
      -> norm, linear -> unpatchify -> crop                                     (B, C_out, H, W)

The embedding e (B, time_dim) of time and conditions enters as `inject` says:

    film      x + gate f(norm(x) (1 + scale) + shift) for each branch f; gate, scale and shift are parts of W e + b,
              which starts at zero, so that every block starts as the identity (AdaLN-zero)
    add       x + W e + b at the start of each block
    concat    W e + b is one more token beside the patches (in-context)

[Peebles & Xie 2023, section 3.2; rotary positions: Su et al. 2021, Heo et al. 2024]
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from gendi.diffusion.config import ConditionConfig
from gendi.diffusion.networks.attention import (
    CrossAttention,
    Tokens,
    attend,
    grid_sinusoids,
    heads_of,
    rotate,
    rotations,
)
from gendi.diffusion.networks.byte_posterior import STATISTICS, BytePosterior
from gendi.diffusion.networks.conditions import ConditionEmbedding
from gendi.diffusion.networks.config import NetworkConfig
from gendi.diffusion.networks.embeddings import TimeEmbedding, fourier_features, pad_to_multiple, zero


class SelfAttention(nn.Module):
    """Attention among tokens: (B, N, D) -> (B, N, D). A `turn` (2, N, d / 2) rotates queries and keys."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor, turn: Tensor | None) -> Tensor:
        q, k, v = (heads_of(part, self.heads) for part in self.qkv(x).chunk(3, dim=-1))
        if turn is not None:
            q, k = rotate(q, turn), rotate(k, turn)
        out: Tensor = self.out(attend(q, k, v))
        return out


class Block(nn.Module):
    """Attention and a hidden layer, each after a norm and with a skip connection.

    The module's docstring says how the embedding enters. `cross` says whether the block attends to tokens of
    conditions.
    """

    def __init__(self, config: NetworkConfig, cross: bool) -> None:
        super().__init__()
        width, hidden, self.inject = config.channels[0], config.expand * config.channels[0], config.inject
        film = config.inject == "film"
        self.norm1, self.norm2 = (nn.LayerNorm(width, elementwise_affine=not film) for _ in range(2))
        self.attention = SelfAttention(width, config.heads_at(0))
        self.cross = CrossAttention(width, config.time_dim, config.heads_at(0)) if cross else None
        self.up, self.down = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.dropout = nn.Dropout(config.dropout)
        if film:
            self.film = zero(nn.Linear(config.time_dim, 6 * width))
        else:
            zero(self.attention.out), zero(self.down)
            if config.inject == "add":
                self.film = nn.Linear(config.time_dim, width)

    def forward(self, x: Tensor, embedding: Tensor, turn: Tensor | None, tokens: Tokens | None) -> Tensor:
        if self.inject == "film":
            shift1, scale1, gate1, shift2, scale2, gate2 = self.film(embedding)[:, None].chunk(6, dim=-1)
            x = x + gate1 * self.attention(modulate(self.norm1(x), scale1, shift1), turn)
            x = self._cross(x, tokens)
            x = x + gate2 * self._hidden(modulate(self.norm2(x), scale2, shift2))
        else:
            x = x + self.film(embedding)[:, None] if self.inject == "add" else x
            x = self._cross(x + self.attention(self.norm1(x), turn), tokens)
            x = x + self._hidden(self.norm2(x))
        return x

    def _cross(self, x: Tensor, tokens: Tokens | None) -> Tensor:
        return x if self.cross is None or tokens is None else x + self.cross(x, tokens)

    def _hidden(self, x: Tensor) -> Tensor:
        out: Tensor = self.down(self.dropout(F.gelu(self.up(x))))
        return out


class Head(nn.Module):
    """A norm, a scale and a shift by the embedding (only if the blocks have them), and a linear layer.

    It maps (B, N, D) to (B, N, outputs).
    """

    def __init__(self, config: NetworkConfig, outputs: int) -> None:
        super().__init__()
        width, film = config.channels[0], config.inject == "film"
        self.norm = nn.LayerNorm(width, elementwise_affine=not film)
        self.film = zero(nn.Linear(config.time_dim, 2 * width)) if film else None
        self.linear = zero(nn.Linear(width, outputs))

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        x = self.norm(x)
        if self.film is not None:
            scale, shift = self.film(embedding)[:, None].chunk(2, dim=-1)
            x = modulate(x, scale, shift)
        out: Tensor = self.linear(x)
        return out


def modulate(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Return x (1 + scale) + shift for tokens (B, N, D); scale and shift (B, 1, D) are the same for all tokens."""
    return torch.addcmul(shift, x, 1 + scale)


class DiT(nn.Module):
    """The diffusion transformer that the module's docstring describes; `image_channels` is C, `out_channels` C_out."""

    def __init__(
        self, config: NetworkConfig, image_channels: int, conditions: Sequence[ConditionConfig], out_channels: int
    ) -> None:
        super().__init__()
        self.config, self.image_channels, self.out_channels = config, image_channels, out_channels
        width = config.channels[0]
        self.time = TimeEmbedding(config.time_dim, config.time_input, config.time_features)
        self.conditions = ConditionEmbedding(conditions, config.time_dim)
        c_in = image_channels * (1 + 2 * len(config.fourier_features)) + self.conditions.planes
        self.stem = nn.Linear(c_in * config.patch**2, width)
        self.token = nn.Linear(config.time_dim, width) if config.inject == "concat" else None
        self.blocks = nn.ModuleList(Block(config, self.conditions.has_tokens) for _ in range(config.depth[0]))
        self.posterior = BytePosterior(out_channels) if config.output == "bytes" else None
        outputs = out_channels * (1 if self.posterior is None else STATISTICS)
        self.head = Head(config, outputs * config.patch**2)

    def outer_layers(self) -> tuple[nn.Module, ...]:
        """Return the first and the last layer, and the embeddings; see `roles.py`."""
        return self.stem, self.head, self.time, self.conditions

    def units(self) -> list[nn.Module]:
        """Return the blocks; see `roles.py`."""
        return list(self.blocks)

    def forward(
        self, x: Float[Tensor, " b c h w"], time_value: Float[Tensor, " b"], /, **cond: Tensor
    ) -> Float[Tensor, " b c_out h w"]:
        """Return the output (B, C_out, H, W) for x (B, C, H, W), time values (B,) and conditions of B rows each."""
        height, width, x_t = *x.shape[-2:], x
        if self.config.fourier_features:
            fading = time_value if self.config.fourier_fade else None
            x = torch.cat([x, fourier_features(x, self.config.fourier_features, fading)], dim=1)
        x = F.pixel_unshuffle(pad_to_multiple(self.conditions.beside(cond, x), self.config.patch), self.config.patch)
        rows, columns = x.shape[-2:]
        embedding = self.time(time_value)
        embedding = F.silu(embedding + self.conditions(cond, embedding))
        tokens = self.conditions.tokens(cond, len(x))
        h, turn = self._placed(self.stem(x.flatten(2).transpose(1, 2)).to(x.dtype), rows, columns)
        if self.token is not None:
            h = torch.cat([h, self.token(embedding)[:, None].to(h)], dim=1)
        for block in self.blocks:
            h = block(h, embedding, turn, tokens)
        out = self.head(h[:, : rows * columns], embedding).transpose(1, 2).unflatten(2, (rows, columns))
        out = F.pixel_shuffle(out, self.config.patch)[..., :height, :width]
        return out if self.posterior is None else self.posterior(x_t, time_value, out)

    def _placed(self, h: Tensor, rows: int, columns: int) -> tuple[Tensor, Tensor | None]:
        """Return the tokens (B, N, D) with their positions added, and the angles (2, N, d / 2) if positions rotate."""
        if self.config.positions == "sinusoidal":
            return h + grid_sinusoids(rows, columns, h.shape[-1], h.device).to(h), None
        turn = rotations(rows, columns, h.shape[-1] // self.config.heads_at(0), h.device)
        if self.token is None:
            return h, turn
        cos, sin = turn
        return h, torch.stack(
            [F.pad(cos, (0, 0, 0, 1), value=1.0), F.pad(sin, (0, 0, 0, 1))]
        )  # beside the grid: angle 0
