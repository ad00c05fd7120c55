"""The network of an autoencoder: a linear map of squares of pixels, and residual convolutions beside it.

    z     = A p(x) + encoder(x)         p(x): the picture as a grid of squares of f x f pixels
    x_hat = B z + b + decoder(z)

A, B and b begin with the principal components of the squares, of variance 1, which is the best linear autoencoder
[Baldi & Hornik 1989]; encoder and decoder end in a layer that begins at zero. So training begins where a linear
autoencoder ends. Without widths there is nothing but the linear map.
"""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from gendi.diffusion.autoencoder.config import AutoencoderConfig
from gendi.diffusion.networks.embeddings import zero
from gendi.diffusion.networks.norm import GroupNorm

LEAST_LOG_VARIANCE, MOST_LOG_VARIANCE = -20.0, 5.0
FIRST_LOG_VARIANCE = -6.0
"""Log variance of q(z | x) at the start: a twentieth of the latents' own deviation."""


class Block(nn.Module):
    """norm, SiLU, conv, norm, SiLU, conv, plus a skip connection; the last convolution starts at zero."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = GroupNorm(8, width), nn.Conv2d(width, width, 3, padding=1)
        self.norm2, self.conv2 = GroupNorm(8, width), zero(nn.Conv2d(width, width, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        out: Tensor = x + self.conv2(F.silu(self.norm2(h)))
        return out


class Autoencoder(nn.Module):
    """An autoencoder of pictures (B, C, H, W); `config.factor` must divide H and W.

    Args:
        colours: C, the channels of the pictures.
        config: the options.
    """

    def __init__(self, colours: int, config: AutoencoderConfig) -> None:
        super().__init__()
        self.config, f, c = config, config.factor, config.channels
        self.project, self.unproject = nn.Conv2d(colours, c, f, stride=f), nn.Conv2d(c, colours * f**2, 1)
        self.encoder, self.decoder = nn.Sequential(), nn.Sequential()
        if config.regularise == "kl" and config.linear:  # one variance for all places
            self.log_variance = nn.Parameter(torch.full((c, 1, 1), FIRST_LOG_VARIANCE))
        if config.linear:
            return
        widths, answers = config.widths, 2 * c if config.regularise == "kl" else c
        down: list[nn.Module] = [nn.Conv2d(colours, widths[0], config.patch, stride=config.patch)]
        up: list[nn.Module] = [nn.Conv2d(c, widths[-1], 3, padding=1)]
        for level, width in enumerate(widths):
            if level:
                down.append(nn.Conv2d(widths[level - 1], width, 2, stride=2))
            down += [Block(width) for _ in range(config.blocks)]
        for level in reversed(range(len(widths))):
            up += [Block(widths[level]) for _ in range(config.blocks)]
            if level:
                up.append(nn.ConvTranspose2d(widths[level], widths[level - 1], 2, stride=2))
        down += [GroupNorm(8, widths[-1]), nn.SiLU(), zero(nn.Conv2d(widths[-1], answers, 3, padding=1))]
        pixels = zero(nn.Conv2d(widths[0], colours * config.patch**2, 3, padding=1))
        up += [GroupNorm(8, widths[0]), nn.SiLU(), pixels, nn.PixelShuffle(config.patch)]
        self.encoder, self.decoder = nn.Sequential(*down), nn.Sequential(*up)

    def outer_layers(self) -> Iterable[nn.Module]:
        """Return the layers that touch pixels or latents, which Muon leaves to AdamW."""
        ends = (self.encoder[0], self.encoder[-1], self.decoder[0], self.decoder[-2]) if len(self.encoder) else ()
        return self.project, self.unproject, *ends

    def units(self) -> Iterable[nn.Module]:
        """Return the blocks."""
        return (module for module in (*self.encoder, *self.decoder) if isinstance(module, Block))

    def posterior(self, x: Float[Tensor, "b c h w"]) -> tuple[Tensor, Tensor | None]:
        """Return the mean of the latents (B, c, h, w), and their log variance if the network says one, else None."""
        z: Tensor = self.project(x)
        if self.config.regularise != "kl":
            return (z + self.encoder(x) if len(self.encoder) else z), None
        if not len(self.encoder):
            return z, self.log_variance.clamp(LEAST_LOG_VARIANCE, MOST_LOG_VARIANCE).expand_as(z)
        more, log_variance = self.encoder(x).chunk(2, dim=1)
        log_variance = log_variance + FIRST_LOG_VARIANCE
        return z + more, log_variance.clamp(LEAST_LOG_VARIANCE, MOST_LOG_VARIANCE)

    def encode(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b k h2 w2"]:
        """Return the latents of pictures, their mean where the network also says a variance."""
        return self.posterior(x)[0]

    def decode(self, z: Float[Tensor, "b k h w"]) -> Float[Tensor, "b c h2 w2"]:
        """Return the pictures of latents."""
        x = F.pixel_shuffle(self.unproject(z), self.config.factor)
        return x + self.decoder(z) if len(self.decoder) else x

    @torch.no_grad()
    def start_at(self, squares: Float[Tensor, "n d"]) -> None:
        """Set the linear map to the first principal components of squares (n, C f f) of pixels, of variance 1 each.

        Components beyond the rank of the squares begin at zero.
        """
        centre = squares.double().mean(0)
        variances, vectors = torch.linalg.eigh((squares.double() - centre).T.cov(correction=0))
        most = min(self.config.channels, len(variances))
        variances, vectors = variances.flip(0)[:most].clamp(min=0), vectors.flip(1)[:, :most].T
        there = variances > 1e-9 * variances[0].clamp(min=1e-12)
        deviations = torch.where(there, variances, 1).sqrt()[:, None]
        there = there[:, None]
        rows, columns = torch.where(there, vectors / deviations, 0), torch.where(there, vectors * deviations, 0)
        zero(self.project), zero(self.unproject)
        self.project.weight[:most] = rows.view(most, *self.project.weight.shape[1:]).float()
        self.unproject.weight[:, :most, 0, 0] = columns.T.float()
        project, unproject = self.project.bias, self.unproject.bias
        assert project is not None and unproject is not None
        project[:most] = -(rows @ centre).float()
        unproject.copy_(centre)


def squares_of(x: Float[Tensor, "b c h w"], factor: int) -> Float[Tensor, "n d"]:
    """Return the squares of factor x factor pixels of pictures, each flattened as a convolution's kernel is."""
    return F.unfold(x, factor, stride=factor).transpose(1, 2).flatten(0, 1)
