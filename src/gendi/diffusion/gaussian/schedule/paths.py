"""Schedules beyond the variance-preserving: exploding variance, sub-VP, and the straight path of rectified flow."""

import torch
from torch import Tensor

from gendi.diffusion.gaussian.schedule.base import Schedule, checked_steps
from gendi.diffusion.gaussian.schedule.preserving import Linear


class VarianceExploding(Schedule):
    """The first formula of the GENDI report, in which the signal stays and the variance grows.

        x_t = x_0 + sqrt(i beta) eps,    i = t T

    `variance` is T beta, the variance of the noise at t = 1. As beta = variance / T, every T ends at the same noise.
    """

    name = "variance-exploding"

    def __init__(self, steps: int | None = None, variance: float = 400.0) -> None:
        self.steps, self.variance = checked_steps(steps), variance

    def _alpha_sigma(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return torch.ones_like(t), (self.variance * t).sqrt()

    def _rates(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return f = 0 and g^2 = d sigma^2 / dt.  [Song et al. 2021, eq. 9]"""
        return torch.zeros_like(t), torch.full_like(t, self.variance)

    def _time(self, log_snr: Tensor) -> Tensor:
        return (-log_snr).exp() / self.variance


class SubVariancePreserving(Schedule):
    """The linear schedule's alpha with less noise: alpha = sqrt(abar), sigma = 1 - abar.  [Song et al. 2021, eq. 29]

    With steps it goes through the abar of the linear chain, but the variance of a step follows from the marginals and
    is not the chain's beta.
    """

    name = "sub-vp"

    def __init__(self, steps: int | None = None) -> None:
        self.steps, self.preserving = steps, Linear(steps)

    def _alpha_sigma(self, t: Tensor) -> tuple[Tensor, Tensor]:
        log_abar = self.preserving.log_abar(t)
        return (log_abar / 2).exp(), torch.expm1(log_abar).abs()

    def _rates(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return f = -beta / 2 and g^2 = beta (1 - abar^2).  [Song et al. 2021, eqs. 27 and 28]"""
        beta = self.preserving.beta(t)
        return -beta / 2, beta * torch.expm1(2 * self.preserving.log_abar(t)).abs()

    def _time(self, log_snr: Tensor) -> Tensor:
        """Return the time of a log-SNR, from SNR sigma^2 + sigma - 1 = 0.

        abar is 1 - sigma or, where that is small, SNR sigma^2.
        """
        sigma = 2 / (1 + (1 + 4 * log_snr.exp()).sqrt())
        return self.preserving.time_of(torch.where(sigma < 0.5, torch.log1p(-sigma), log_snr + 2 * sigma.log()))


class RectifiedFlow(Schedule):
    """The straight path: alpha = 1 - u, sigma = u with u = t (1 - 2^-14).  [Liu et al. 2023, eq. 1]

    At u = 1 no signal is left, and x_0 does not follow from the noise. So the path ends just before, at alpha = 2^-14 =
    6.1e-5, about where the cosine schedule ends. Its velocity dx / du is eps - x_0.
    """

    name = "rectified-flow"
    end = 1 - 2.0**-14

    def __init__(self, steps: int | None = None) -> None:
        self.steps = checked_steps(steps)

    def _alpha_sigma(self, t: Tensor) -> tuple[Tensor, Tensor]:
        u = t * self.end
        return 1 - u, u

    def _rates(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return f = -1 / (1 - u) and g^2 = 2 u / (1 - u), each times du / dt."""
        u = t * self.end
        return -self.end / (1 - u), 2 * self.end * u / (1 - u)

    def _time(self, log_snr: Tensor) -> Tensor:
        return torch.sigmoid(-log_snr / 2) / self.end
