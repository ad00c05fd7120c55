"""Worlds on a line whose samplers are affine, and their laws read off unit vectors."""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from worlds import f64

from gendi.diffusion.gaussian.exact import GaussianDenoiser
from gendi.diffusion.gaussian.schedule import Linear, Schedule, VarianceExploding

M, C = 0.8, 0.3


class RatedLinear(Linear):
    """beta(t) = 0.1 + 19.9 t: dx = -beta / 2 x dt + sqrt(beta) dw."""

    def rates(self, t: Tensor) -> tuple[Tensor, Tensor]:
        beta = 0.1 + 19.9 * t
        return -beta / 2, beta


class RatedExploding(VarianceExploding):
    """dx = sqrt(variance) dw."""

    def rates(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return torch.zeros_like(t), torch.full_like(t, self.variance)


class SubVP(RatedLinear):
    """The same drift with sigma = 1 - abar.  [Song et al. 2021 (SDE), eq. 13]"""

    name = "sub"

    def _alpha_sigma(self, t: Tensor) -> tuple[Tensor, Tensor]:
        log_abar = self.log_abar(t)
        return (log_abar / 2).exp(), -torch.expm1(log_abar)

    def rates(self, t: Tensor) -> tuple[Tensor, Tensor]:
        f, beta = super().rates(t)
        return f, beta * -torch.expm1(2 * self.log_abar(t))


RATED = {kind.__name__: kind() for kind in (RatedLinear, RatedExploding, SubVP)}


def line(schedule: Schedule, m: float = M, c: float = C) -> GaussianDenoiser:
    return GaussianDenoiser(schedule, f64(m), f64(c)[:, None])


def marginal(schedule: Schedule, t: Tensor, m: float = M, c: float = C) -> tuple[float, float]:
    alpha, sigma = (v.item() for v in schedule(t))
    return alpha * m, alpha**2 * c + sigma**2


def law(
    run: Callable[..., Any], denoiser: GaussianDenoiser, times: Tensor, **options: Any
) -> list[tuple[float, float]]:
    """Return mean and variance after each step from the exact marginal at times[0]."""
    rows = 2 * len(times)
    mean, variance = marginal(denoiser.schedule, times[0], denoiser.means.item(), denoiser.values.item())
    start = torch.full((rows, 1), mean, dtype=torch.float64)
    start[1] += math.sqrt(variance)
    unit = torch.eye(rows, dtype=torch.float64)
    states = run(denoiser, start, times, lambda k: unit[:, 2 + k, None], **options)
    return [(s.x[0].item(), (s.x[1:] - s.x[0]).square().sum().item()) for s in states]


def even(schedule: Schedule, n: int, ends: tuple[float, float] = (0.8, 0.05)) -> Tensor:
    """Return n + 1 times even in log-SNR between two interior times."""
    high, low = schedule.log_snr(f64(*ends)).tolist()
    return schedule.time(torch.linspace(high, low, n + 1, dtype=torch.float64))


def orders(errors: list[float]) -> list[float]:
    return [math.log2(a / b) for a, b in pairwise(errors)]


MIXTURE = {
    "weights": f64(0.3, 0.7),
    "means": f64(-1, 1)[:, None],
    "covariances": torch.full((2, 1, 1), 0.16, dtype=torch.float64),
}
