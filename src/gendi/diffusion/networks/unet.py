"""The U-Net of DDPM, extended: residual blocks with GroupNorm and SiLU, attention at chosen levels, any image size.

    x (B, C, H, W)
      -> concatenated with sinusoids of x (see `fourier_features`) and pictures (B, C', H, W)
      -> pad to a multiple of patch * 2^(levels - 1), patchify                  (B, C' p^2, H/p, W/p)
      -> stem 3x3                                                               (B, c_0, H/p, W/p)
      -> per level: residual blocks, then a step down to half the size          (B, c_l, H/p/2^l, W/p/2^l)
      -> two residual blocks in the middle
      -> per level: one more residual block, on the concatenated skips, then a step up
      -> norm, SiLU, 3x3 -> unpatchify -> crop                                  (B, C_out, H, W)

[Ho et al. 2020, appendix B; scale-and-shift conditioning, residual steps, heads by width: Dhariwal & Nichol 2021,
section 3; patchify at the stem: Hoogeboom et al. 2023; Fourier features of the input: Kingma et al. 2021, appendix C]
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from gendi.diffusion.config import ConditionConfig
from gendi.diffusion.networks.attention import CrossAttention
from gendi.diffusion.networks.blocks import Attention, Down, ResidualBlock, Stage, Up
from gendi.diffusion.networks.byte_posterior import STATISTICS, BytePosterior
from gendi.diffusion.networks.conditions import ConditionEmbedding
from gendi.diffusion.networks.config import NetworkConfig
from gendi.diffusion.networks.embeddings import TimeEmbedding, fourier_features, pad_to_multiple, zero
from gendi.diffusion.networks.norm import GroupNorm
from gendi.diffusion.networks.roles import listed


class UNet(nn.Module):
    """The U-Net that the module's docstring describes; `image_channels` is C, `out_channels` C_out."""

    def __init__(
        self, config: NetworkConfig, image_channels: int, conditions: Sequence[ConditionConfig], out_channels: int
    ) -> None:
        super().__init__()
        self.config, self.image_channels, self.out_channels = config, image_channels, out_channels
        widths, depth, c = config.channels, config.depth, config.channels[0]
        self.time = TimeEmbedding(config.time_dim, config.time_input, config.time_features)
        self.conditions = ConditionEmbedding(conditions, config.time_dim)
        c_in = image_channels * (1 + 2 * len(config.fourier_features)) + self.conditions.planes
        self.stem = nn.Conv2d(c_in * config.patch**2, c, 3, padding=1)
        last = len(widths) - 1
        skips = [c]
        self.down, self.shrink = nn.ModuleList(), nn.ModuleList()
        for level, width in enumerate(widths):
            stages = nn.ModuleList()
            for _ in range(depth[level]):
                stages.append(self._stage(c, level, level in config.attention))
                c = width
                skips.append(c)
            self.down.append(stages)
            if level < last:
                self.shrink.append(self._down(c))
                skips.append(c)
        attend = last in config.attention
        self.middle = nn.ModuleList(
            [
                self._stage(c, last, config.middle_attention or attend),
                self._stage(c, last, attend and not config.middle_attention),
            ]
        )
        self.up, self.grow = nn.ModuleList(), nn.ModuleList()
        for level in range(last, -1, -1):
            stages = nn.ModuleList()
            for _ in range(depth[level] + 1):
                stages.append(self._stage(c + skips.pop(), level, level in config.attention))
                c = widths[level]
            self.up.append(stages)
            if level:
                self.grow.append(self._up(c, widths[level - 1]))
                c = widths[level - 1] if config.resample == "conv-narrow" else c
        self.norm = GroupNorm(config.groups, c)
        self.posterior = BytePosterior(out_channels) if config.output == "bytes" else None
        outputs = out_channels * (1 if self.posterior is None else STATISTICS)
        self.head = zero(nn.Conv2d(c, outputs * config.patch**2, 3, padding=1))

    def _stage(self, c_in: int, level: int, attend: bool) -> Stage:
        config, width = self.config, self.config.channels[level]
        heads = config.heads_at(level)
        attention = Attention(width, heads, config.groups) if attend else None
        cross = CrossAttention(width, config.time_dim, heads) if attend and self.conditions.has_tokens else None
        return Stage(ResidualBlock(c_in, width, config), attention, cross)

    def _down(self, c: int) -> nn.Module:
        if self.config.resample == "residual":
            return ResidualBlock(c, c, self.config, scale=0.5)
        return Down(c, corner=self.config.resample == "conv")

    def _up(self, c: int, narrow: int) -> nn.Module:
        if self.config.resample == "residual":
            return ResidualBlock(c, c, self.config, scale=2)
        return Up(c, narrow if self.config.resample == "conv-narrow" else c)

    def outer_layers(self) -> tuple[nn.Module, ...]:
        """Return the first and the last layer, and the embeddings; see `roles.py`."""
        return self.stem, self.head, self.time, self.conditions

    def units(self) -> list[nn.Module]:
        """Return the blocks; see `roles.py`."""
        return list(listed(self))

    def forward(
        self, x: Float[Tensor, " b c h w"], time_value: Float[Tensor, " b"], /, **cond: Tensor
    ) -> Float[Tensor, " b c_out h w"]:
        """Return the output (B, C_out, H, W) for x (B, C, H, W), time values (B,) and conditions of B rows each."""
        height, width, x_t = *x.shape[-2:], x
        if self.config.fourier_features:
            fading = time_value if self.config.fourier_fade else None
            x = torch.cat([x, fourier_features(x, self.config.fourier_features, fading)], dim=1)
        x = pad_to_multiple(self.conditions.beside(cond, x), self.config.patch * 2 ** (len(self.config.channels) - 1))
        h = self.stem(F.pixel_unshuffle(x, self.config.patch))
        embedding = self.time(time_value)
        embedding = F.silu(embedding + self.conditions(cond, embedding))
        tokens = self.conditions.tokens(cond, len(x))
        skips = [h]
        for level, stages in enumerate(self.down):
            for stage in stages:  # type: ignore[attr-defined]
                h = stage(h, embedding, tokens)
                skips.append(h)
            if level < len(self.shrink):
                h = self.shrink[level](h, embedding)
                skips.append(h)
        for stage in self.middle:
            h = stage(h, embedding, tokens)
        for index, stages in enumerate(self.up):
            for stage in stages:  # type: ignore[attr-defined]
                h = stage(torch.cat([h, skips.pop()], dim=1), embedding, tokens)
            if index < len(self.grow):
                h = self.grow[index](h, embedding)
        out = F.pixel_shuffle(self.head(F.silu(self.norm(h))), self.config.patch)
        out = out[..., :height, :width]
        return out if self.posterior is None else self.posterior(x_t, time_value, out)
