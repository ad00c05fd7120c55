"""Attention among tokens, cross-attention to the tokens of conditions, and positions of tokens on a grid.

    softmax(q k^T / sqrt(d)) v,  head by head, d the channels of a head        [Vaswani et al. 2017, eq. 1]

All tensors are 4-D at the call of scaled dot-product attention, (B, heads, tokens, d), and all shapes follow from the
shape of the input. So fused kernels can be used, and `torch.export` works. There is one exception: in bf16 on a CPU,
the backward pass of the fused kernel takes three to ten times as long as that of the formula (measured with torch
2.13). Training there computes the formula step by step, if its N x M weights are few enough. So does forward-mode
differentiation, which fused kernels do not have.
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from gendi.diffusion.forward_mode import has_tangent
from gendi.diffusion.networks.embeddings import zero

Tokens = tuple[Tensor, Tensor | None]
"""Tokens (B, M, dim), and a mask (B, M) that is true where there is a token; None if all are there."""
WRITTEN_OUT = 2**26
"""The most weights of a batch, B heads N M, for which the formula is computed step by step: 128 MB of bf16."""


def attend(q: Tensor, k: Tensor, v: Tensor, there: Bool[Tensor, "b m"] | None = None) -> Float[Tensor, "b n c"]:
    """Return softmax(q k^T / sqrt(d)) v with the heads side by side: q (B, heads, N, d), k and v (B, heads, M, d)."""
    mask = None if there is None else there[:, None, None, :]
    few = q.shape[:3].numel() * k.shape[2] <= WRITTEN_OUT
    slow = q.dtype == torch.bfloat16 and q.device.type == "cpu" and q.requires_grad and few
    if slow or has_tangent(q, k, v):
        a = _by_formula(q, k, v, mask)
    else:
        a = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    return a.transpose(1, 2).flatten(2)


def _by_formula(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    weights = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    if mask is not None:
        weights = weights.masked_fill(~mask, -torch.inf)
    out: Tensor = weights.softmax(-1).to(v.dtype) @ v
    return out


def heads_of(x: Float[Tensor, "b n c"], heads: int) -> Float[Tensor, "b heads n d"]:
    """Return x with its channels divided among heads."""
    return x.reshape(*x.shape[:2], heads, -1).transpose(1, 2)


class CrossAttention(nn.Module):
    """Attention of the tokens of x to other tokens: (B, N, C), (B, M, dim) -> (B, N, C). The output starts at zero."""

    def __init__(self, channels: int, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm, self.token_norm = nn.LayerNorm(channels), nn.LayerNorm(dim)
        self.q, self.kv = nn.Linear(channels, channels), nn.Linear(dim, 2 * channels)
        self.out = zero(nn.Linear(channels, channels))

    def forward(self, x: Tensor, tokens: Tokens) -> Tensor:
        values, there = tokens
        k, v = self.kv(self.token_norm(values)).chunk(2, dim=-1)
        q, k, v = (heads_of(part, self.heads) for part in (self.q(self.norm(x)), k, v))
        out: Tensor = self.out(attend(q, k, v, there))
        return out


def grid_sinusoids(height: int, width: int, dim: int, device: torch.device) -> Float[Tensor, "n dim"]:
    """Return embeddings (H W, dim) of the positions on a grid, row by row.

    They are sines and cosines of the row, then of the column, at frequencies from 1 down to about 1/10000. `dim` is a
    multiple of 4.  [Peebles & Xie 2023, section 3.2]
    """
    frequencies = _frequencies(dim // 4, 10_000.0, device)
    angles = [torch.arange(size, device=device)[:, None] * frequencies for size in (height, width)]
    rows, columns = (torch.cat([a.sin(), a.cos()], dim=-1) for a in angles)
    grid = [rows[:, None].expand(-1, width, -1), columns[None].expand(height, -1, -1)]
    return torch.cat(grid, dim=-1).flatten(0, 1)


def rotations(height: int, width: int, d: int, device: torch.device) -> Float[Tensor, "2 n half"]:
    """Return cos and sin (2, H W, d / 2) of the angles by which a grid of queries or keys of d channels is rotated.

    Half of the pairs of channels rotate with the row and half with the column. The frequencies go from 1 down to about
    1/100, because a grid has fewer places than a text. `d` is a multiple of 4.  [Su et al. 2021; two axes: Heo et al.
    2024, section 3.2]
    """
    frequencies = _frequencies(d // 4, 100.0, device)
    rows, columns = (torch.arange(size, device=device)[:, None] * frequencies for size in (height, width))
    grid = [rows[:, None].expand(-1, width, -1), columns[None].expand(height, -1, -1)]
    angles = torch.cat(grid, dim=-1).flatten(0, 1)
    return torch.stack([angles.cos(), angles.sin()])


def line_rotations(length: int, d: int, device: torch.device) -> Float[Tensor, "2 n half"]:
    """Return cos and sin (2, L, d / 2) of the angles by which a line of queries or keys of d channels is rotated.

    The frequencies go from 1 down to about 1/10000. `d` is even.  [Su et al. 2021, eq. 15]
    """
    angles = torch.arange(length, device=device)[:, None] * _frequencies(d // 2, 10_000.0, device)
    return torch.stack([angles.cos(), angles.sin()])


def rotate(x: Float[Tensor, "b heads n d"], turn: Float[Tensor, "2 n half"]) -> Float[Tensor, "b heads n d"]:
    """Return x with each pair of channels (i, i + d / 2) rotated by the angle of its token.

    The product of a rotated query and a rotated key depends only on the distance of their tokens.
    """
    cos, sin = turn.to(x.dtype)
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)


def _frequencies(count: int, period: float, device: torch.device) -> Tensor:
    return torch.exp(-math.log(period) * torch.arange(count, device=device) / count)
