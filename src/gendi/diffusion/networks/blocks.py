"""The parts of U-Nets: residual blocks with an embedding of the noise level, and attention over the pixels.

An embedding e (B, time_dim) of time and conditions enters a block after its first convolution, h -> h', as `inject`
says:

    film      norm(h) (1 + scale) + shift,   (scale, shift) = W e + b        AdaGN  [Dhariwal & Nichol 2021, section 3]
    add       norm(h + W e + b)                                              [Ho et al. 2020, appendix B]
    concat    norm(h), concatenated with a quarter as many planes W e + b, which are constant over the pixels
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gendi.diffusion.networks.attention import CrossAttention, Tokens, attend
from gendi.diffusion.networks.config import NetworkConfig
from gendi.diffusion.networks.embeddings import zero
from gendi.diffusion.networks.norm import GroupNorm


class ResidualBlock(nn.Module):
    """A residual block: norm, SiLU, conv, embedding and norm, SiLU, dropout, conv, plus a skip connection.

    The last convolution starts at zero. A `scale` of 2 or 1/2 doubles or halves height and width by repeating or
    averaging pixels, before the first convolution and in the skip.  [Dhariwal & Nichol 2021, section 3]
    """

    def __init__(self, c_in: int, c_out: int, config: NetworkConfig, scale: float = 1.0) -> None:
        super().__init__()
        self.inject, self.scale = config.inject, scale
        width = {"film": 2 * c_out, "add": c_out, "concat": max(1, c_out // 4)}[config.inject]
        beside = width if config.inject == "concat" else 0
        self.norm1, self.conv1 = GroupNorm(config.groups, c_in), nn.Conv2d(c_in, c_out, 3, padding=1)
        self.film = nn.Linear(config.time_dim, width)
        self.norm2 = GroupNorm(config.groups, c_out)
        self.conv2 = zero(nn.Conv2d(c_out + beside, c_out, 3, padding=1))
        self.dropout = nn.Dropout(config.dropout)
        self.skip = nn.Conv2d(c_in, c_out, 1) if c_in != c_out else nn.Identity()

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        h = self.conv1(resize(F.silu(self.norm1(x)), self.scale))
        h = F.silu(self._injected(h, self.film(embedding)[:, :, None, None]))
        out: Tensor = self.skip(resize(x, self.scale)) + self.conv2(self.dropout(h))
        return out

    def _injected(self, h: Tensor, e: Tensor) -> Tensor:
        """Return h (B, C, H, W), normalised and combined with e (B, C', 1, 1) as `inject` says."""
        if self.inject == "film":
            normed: Tensor = self.norm2(h)
            scale, shift = e.to(normed).chunk(2, dim=1)
            return torch.addcmul(shift, normed, 1 + scale)
        normed = self.norm2(h + e if self.inject == "add" else h)
        return torch.cat([normed, e.to(normed).expand(-1, -1, *h.shape[2:])], 1) if self.inject == "concat" else normed


def resize(x: Tensor, scale: float) -> Tensor:
    """Return x (B, C, H, W) with height and width doubled (2), halved (0.5) or unchanged (1)."""
    if scale == 2:
        return F.interpolate(x, scale_factor=2.0, mode="nearest")
    return F.avg_pool2d(x, 2) if scale == 0.5 else x


class Attention(nn.Module):
    """Self-attention over the pixels of a feature map, with a residual connection that starts at zero."""

    def __init__(self, channels: int, heads: int, groups: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = GroupNorm(groups, channels)
        self.qkv, self.out = nn.Conv2d(channels, 3 * channels, 1), zero(nn.Conv2d(channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        qkv = self.qkv(self.norm(x)).reshape(b, 3, self.heads, c // self.heads, h * w).transpose(-1, -2)
        q, k, v = qkv.unbind(1)  # each (B, heads, HW, C / heads)
        out: Tensor = x + self.out(attend(q, k, v).transpose(-1, -2).reshape(b, c, h, w))
        return out


class Stage(nn.Module):
    """A residual block, followed by self-attention and by attention to the tokens if the level has them."""

    def __init__(
        self, block: ResidualBlock, attention: Attention | None = None, cross: CrossAttention | None = None
    ) -> None:
        super().__init__()
        self.block, self.attention, self.cross = block, attention, cross

    def forward(self, x: Tensor, embedding: Tensor, tokens: Tokens | None) -> Tensor:
        x = self.block(x, embedding)
        if self.attention is not None:
            x = self.attention(x)
        if self.cross is not None and tokens is not None:
            x = x + self.cross(x.flatten(2).transpose(1, 2), tokens).transpose(1, 2).reshape(x.shape)
        return x


class Down(nn.Conv2d):
    """Halves height and width by a convolution of stride 2 that keeps the number of channels.

    With `corner`, a pixel is padded only below and on the right, as the paper's code does; otherwise on every side.
    """

    def __init__(self, channels: int, corner: bool) -> None:
        super().__init__(channels, channels, 3, stride=2, padding=0 if corner else 1)
        self.corner = corner

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:  # type: ignore[override]  # as a residual block has it
        return super().forward(F.pad(x, (0, 1, 0, 1)) if self.corner else x)


class Up(nn.Conv2d):
    """Doubles height and width by repeating pixels; a convolution follows, which may change the number of channels."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__(c_in, c_out, 3, padding=1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:  # type: ignore[override]  # as a residual block has it
        return super().forward(resize(x, 2))
