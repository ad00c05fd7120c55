"""The U-Net of DDPM: residual blocks with GroupNorm and SiLU, FiLM by the noise level, optional attention, any image
size.

    x (B, C, H, W)
      -> beside it sines and cosines of what is finer than a byte, if asked for (B, C (1 + 2 N), H, W)
      -> pad to a multiple of patch * 2^(levels - 1), patchify                  (B, C (1 + 2 N) p^2, H/p, W/p)
      -> stem 3x3                                                               (B, c_0, H/p, W/p)
      -> per level: `blocks` residual blocks, then a strided convolution        (B, c_l, H/p/2^l, W/p/2^l)
      -> two residual blocks in the middle
      -> per level: `blocks` + 1 residual blocks on the concatenated skips, then nearest upsampling and a convolution
      -> norm, SiLU, 3x3 -> unpatchify -> crop                                  (B, C_out, H, W)

[Ho et al. 2020, appendix B; scale-and-shift conditioning: Nichol & Dhariwal 2021, section 3; patchify at the stem:
Hoogeboom et al. 2023; Fourier features of the input: Kingma et al. 2021, appendix C]
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from gendi.config import ConditionConfig, NetworkConfig
from gendi.networks.conditions import ConditionEmbedding
from gendi.networks.embeddings import TimeEmbedding, fourier_features

# c_noise = ln(sigma / alpha) / 4 runs from about -2 to 2; the paper's step from 1 to 1000
TIME_SCALE = {"log-snr": 250.0, "step": 1.0}


def zero(convolution: nn.Conv2d) -> nn.Conv2d:
    """Return the convolution with its weights at zero: whatever it ends starts as nothing."""
    for p in convolution.parameters():
        nn.init.zeros_(p)
    return convolution


class ResidualBlock(nn.Module):
    """norm, SiLU, conv, FiLM(norm), SiLU, dropout, conv, plus a skip; the last convolution starts at zero."""

    def __init__(self, c_in: int, c_out: int, time_dim: int, groups: int, dropout: float) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.GroupNorm(groups, c_in), nn.Conv2d(c_in, c_out, 3, padding=1)
        self.film = nn.Linear(time_dim, 2 * c_out)
        self.norm2, self.conv2 = nn.GroupNorm(groups, c_out), zero(nn.Conv2d(c_out, c_out, 3, padding=1))
        self.dropout = nn.Dropout(dropout)
        self.skip = nn.Conv2d(c_in, c_out, 1) if c_in != c_out else nn.Identity()

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        scale, shift = self.film(time)[:, :, None, None].chunk(2, dim=1)
        h = self.conv1(F.silu(self.norm1(x)))
        h = torch.addcmul(shift, self.norm2(h), 1 + scale)
        out: Tensor = self.skip(x) + self.conv2(self.dropout(F.silu(h)))
        return out


class Attention(nn.Module):
    """Self-attention over the pixels of a feature map, with a residual connection that starts at zero."""

    def __init__(self, channels: int, heads: int, groups: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.GroupNorm(groups, channels)
        self.qkv, self.out = nn.Conv2d(channels, 3 * channels, 1), zero(nn.Conv2d(channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        qkv = self.qkv(self.norm(x)).reshape(b, 3, self.heads, c // self.heads, h * w).transpose(-1, -2)
        q, k, v = qkv.unbind(1)  # each (B, heads, HW, C / heads)
        a = F.scaled_dot_product_attention(q, k, v)
        out: Tensor = x + self.out(a.transpose(-1, -2).reshape(b, c, h, w))
        return out


class Stage(nn.Module):
    """A residual block, with attention after it where the level has it."""

    def __init__(self, block: ResidualBlock, attention: Attention | None) -> None:
        super().__init__()
        self.block, self.attention = block, attention

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        x = self.block(x, time)
        return x if self.attention is None else self.attention(x)


class UNet(nn.Module):
    """See the module's docstring. `image_channels` is C, `out_channels` C_out; the rest is in the configuration."""

    def __init__(
        self, config: NetworkConfig, image_channels: int, conditions: Sequence[ConditionConfig], out_channels: int
    ) -> None:
        super().__init__()
        self.config, self.image_channels, self.out_channels = config, image_channels, out_channels
        widths, c = config.channels, config.channels[0]
        stem_channels = image_channels * (1 + 2 * len(config.fourier_features)) * config.patch**2
        self.time = TimeEmbedding(config.time_dim, TIME_SCALE[config.time_input])
        self.conditions = ConditionEmbedding(conditions, config.time_dim)
        self.stem = nn.Conv2d(stem_channels, c, 3, padding=1)

        def stage(c_in: int, level: int) -> Stage:
            block = ResidualBlock(c_in, widths[level], config.time_dim, config.groups, config.dropout)
            attend = level in config.attention
            return Stage(block, Attention(widths[level], config.heads, config.groups) if attend else None)

        last = len(widths) - 1
        skips = [c]
        self.down, self.shrink = nn.ModuleList(), nn.ModuleList()
        for level, width in enumerate(widths):
            stages = nn.ModuleList()
            for _ in range(config.blocks):
                stages.append(stage(c, level))
                c = width
                skips.append(c)
            self.down.append(stages)
            if level < last:
                self.shrink.append(nn.Conv2d(c, c, 3, stride=2, padding=1))
                skips.append(c)
        self.middle = nn.ModuleList([stage(c, last), stage(c, last)])
        self.up, self.grow = nn.ModuleList(), nn.ModuleList()
        for level in range(last, -1, -1):
            stages = nn.ModuleList()
            for _ in range(config.blocks + 1):
                stages.append(stage(c + skips.pop(), level))
                c = widths[level]
            self.up.append(stages)
            if level:
                self.grow.append(nn.Conv2d(c, widths[level - 1], 3, padding=1))
                c = widths[level - 1]
        self.norm = nn.GroupNorm(config.groups, c)
        self.head = zero(nn.Conv2d(c, out_channels * config.patch**2, 3, padding=1))

    def forward(
        self, x: Float[Tensor, " b c h w"], time_value: Float[Tensor, " b"], **cond: Tensor
    ) -> Float[Tensor, " b c_out h w"]:
        """Return the output (B, C_out, H, W) for x (B, C, H, W), time values (B,) and conditions of B rows by name."""
        height, width = x.shape[-2:]
        if self.config.fourier_features:
            x = torch.cat([x, fourier_features(x, self.config.fourier_features)], dim=1)
        unit = self.config.patch * 2 ** (len(self.config.channels) - 1)
        right, below = -width % unit, -height % unit
        if right or below:
            x = F.pad(x, (0, right, 0, below), mode="replicate")
        h = self.stem(F.pixel_unshuffle(x, self.config.patch))
        time = self.time(time_value)
        time = F.silu(time + self.conditions(cond, time))
        skips = [h]
        for level, stages in enumerate(self.down):
            for stage in stages:  # type: ignore[attr-defined]
                h = stage(h, time)
                skips.append(h)
            if level < len(self.shrink):
                h = self.shrink[level](h)
                skips.append(h)
        for stage in self.middle:
            h = stage(h, time)
        for index, stages in enumerate(self.up):
            for stage in stages:  # type: ignore[attr-defined]
                h = stage(torch.cat([h, skips.pop()], dim=1), time)
            if index < len(self.grow):
                h = self.grow[index](F.interpolate(h, scale_factor=2.0, mode="nearest"))
        out = F.pixel_shuffle(self.head(F.silu(self.norm(h))), self.config.patch)
        return out[..., :height, :width]
