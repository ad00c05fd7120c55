"""A network that names the class of noisy pictures: p(y | x_t, t).

It sees the noise level and the best linear estimate of x_0,

    u = alpha s^2 / (alpha^2 s^2 + sigma^2) x_t,    s = sigma_data.

Guidance adds sigma^2 / alpha times the gradient in x_t to x0_hat, and this is at most s^2 times the gradient in u. So
an untrained direction of the network does no harm at the noisiest times, where sigma^2 / alpha is in the thousands. As
the network sees only u and the log signal-to-noise ratio, it serves any schedule, whether variance-preserving,
exploding or neither.  [Dhariwal & Nichol 2021, section 4, whose classifier sees x_t]
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from gendi.diffusion.gaussian.process import Batch, PerSample, like
from gendi.diffusion.gaussian.schedule import Schedule
from gendi.diffusion.networks.embeddings import Sinusoids

GROUPS, TIME_DIM = 8, 128


class Block(nn.Module):
    """norm, SiLU, conv, FiLM(norm), SiLU, conv, plus a skip; with stride 2 it halves height and width."""

    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.GroupNorm(GROUPS, c_in), nn.Conv2d(c_in, c_out, 3, stride, padding=1)
        self.film = nn.Linear(TIME_DIM, 2 * c_out)
        self.norm2, self.conv2 = nn.GroupNorm(GROUPS, c_out), nn.Conv2d(c_out, c_out, 3, padding=1)
        self.skip = nn.Conv2d(c_in, c_out, 1, stride)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        scale, shift = self.film(time)[:, :, None, None].chunk(2, dim=1)
        h = self.conv1(F.silu(self.norm1(x)))
        h = torch.addcmul(shift, self.norm2(h), 1 + scale)
        out: Tensor = self.skip(x) + self.conv2(F.silu(h))
        return out


class ClassifierNetwork(nn.Module):
    """Maps u (B, C, H, W) and c_noise = ln(sigma / alpha) / 4 (B,) to logits (B, classes).

    Args:
        channels: C.
        classes: number of classes.
        widths: channels of the levels, finest first, multiples of 8; each level after the first halves height and
            width. The logits come from the mean over the last level.
    """

    def __init__(self, channels: int, classes: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.time = nn.Sequential(Sinusoids(TIME_DIM, 250.0), nn.Linear(TIME_DIM, TIME_DIM), nn.SiLU())
        self.stem = nn.Conv2d(channels, widths[0], 3, padding=1)
        ends = zip([widths[0], *widths[:-1]], widths, strict=True)
        self.blocks = nn.ModuleList(Block(a, b, 1 if i == 0 else 2) for i, (a, b) in enumerate(ends))
        self.norm, self.head = nn.GroupNorm(GROUPS, widths[-1]), nn.Linear(widths[-1], classes)

    def forward(self, u: Float[Tensor, " b c h w"], time_value: Float[Tensor, " b"]) -> Float[Tensor, " b classes"]:
        """Return the logits (B, classes)."""
        time, h = self.time(time_value), self.stem(u)
        for block in self.blocks:
            h = block(h, time)
        logits: Tensor = self.head(F.silu(self.norm(h)).mean((2, 3)))
        return logits


class NoisyClassifier(nn.Module):
    """A classifier of x_t at time t, for guidance, made of a network.

    Args:
        network: see `ClassifierNetwork`.
        schedule: the schedule of the process that x_t comes from.
        sigma_data: s, the root mean square of the data in model space.
    """

    def __init__(self, network: nn.Module, schedule: Schedule, sigma_data: float) -> None:
        super().__init__()
        self.network, self.schedule, self.sigma_data = network, schedule, sigma_data

    def forward(self, x_t: Batch, t: PerSample) -> Float[Tensor, " batch classes"]:
        """Return log p(y | x_t, t) up to a constant, float32 (B, classes), for t of shape () or (B,)."""
        alpha, sigma = self.schedule(t)
        gain = alpha * self.sigma_data**2 / ((alpha * self.sigma_data) ** 2 + sigma**2)
        level = ((sigma / alpha).log() / 4).expand(len(x_t)).to(x_t.device, torch.float32)
        logits: Tensor = self.network((like(gain, x_t) * x_t).float(), level)
        return logits
