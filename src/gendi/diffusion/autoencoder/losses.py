"""What an autoencoder learns by.

    reconstruction   mean over scales s = 1, 1/2, 1/4, 1/8 of  mean |x_s - y_s| + mean |grad x_s - grad y_s|
    KL               mean of KL(N(m, v) || N(0, 1)) = (m^2 + v - log v - 1) / 2      [Kingma & Welling 2014, appendix B]
    equivariance     reconstruction of T x from decode(T z), for T that turns and shrinks      [Kouzelis et al. 2025]

No weights of a network that judges pictures are needed.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

SCALES = 4
SMALLEST = 0.25
"""The least share of its side to which a picture is shrunk. [Kouzelis et al. 2025, section 4.1]"""


def reconstruction_loss(x: Float[Tensor, "b c h w"], y: Float[Tensor, "b c h w"]) -> Float[Tensor, " b"]:
    """Return the loss of each reconstruction y of a picture x, as above; scales below 2 pixels are left out."""
    total, scales = torch.zeros(len(x), device=x.device), 0
    for _ in range(SCALES):
        difference = x - y
        total = total + difference.abs().mean((1, 2, 3))
        if min(difference.shape[2:]) > 1:
            total = total + (
                difference.diff(dim=2).abs().mean((1, 2, 3)) + difference.diff(dim=3).abs().mean((1, 2, 3))
            )
        scales += 1
        if min(x.shape[2:]) < 4:
            break
        x, y = F.avg_pool2d(x, 2), F.avg_pool2d(y, 2)
    return total / scales


def divergence(mean: Float[Tensor, "b ..."], log_variance: Float[Tensor, "b ..."]) -> Float[Tensor, " b"]:
    """Return KL(N(mean, exp(log_variance)) || N(0, 1)) in nats, averaged over the numbers of each row."""
    each = (mean.square() + log_variance.exp() - log_variance - 1) / 2
    return each.flatten(1).mean(1)


def psnr(x: Float[Tensor, "b c h w"], y: Float[Tensor, "b c h w"]) -> Float[Tensor, " b"]:
    """Return the peak signal-to-noise ratio of each y to x in [-1, 1], in decibels: 10 log10(2^2 / mean (x - y)^2).

    It is infinite where they are equal.
    """
    return 10 * torch.log10(4 / (x - y).double().square().flatten(1).mean(1))


class Transform:
    """Turns a picture by quarters of a turn and shrinks it, and latents alike.

    Args:
        rng: decides the turn and the size.
        grid: height and width of the latents. Only half turns are drawn if they differ.
    """

    def __init__(self, rng: np.random.Generator, grid: tuple[int, int]) -> None:
        height, width = grid
        self.quarters = int(rng.integers(4)) if height == width else 2 * int(rng.integers(2))
        share = float(rng.uniform(SMALLEST, 1))
        rows = max(1, round(height * share))
        self.grid = rows, max(1, round(width * rows / height))

    def __call__(self, x: Float[Tensor, "b c h w"], unit: int = 1) -> Float[Tensor, "b c h2 w2"]:
        """Return x turned and shrunk; a place of the latents is `unit` x `unit` numbers of x."""
        height, width = (unit * side for side in self.grid)
        x = torch.rot90(x, self.quarters, (2, 3))
        if x.shape[2:] == (height, width):
            return x
        return F.interpolate(x, (height, width), mode="bilinear", align_corners=False, antialias=True)


def noised(z: Float[Tensor, "b c h w"], strength: float, noise: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
    """Return latents with noise, of `strength` times the standard deviation of each channel in this batch."""
    deviation = z.detach().std((0, 2, 3), correction=0, keepdim=True)
    return z + strength * deviation * noise


def mean_psnr(values: Float[Tensor, " n"]) -> float:
    """Return the mean of decibels, in which reconstructions without any error count as 100."""
    return math.fsum(values.clamp(max=100).tolist()) / max(1, len(values))
