"""The terms of a bound on the likelihood: functions of Gaussians, elementwise, in nats.

    KL(N(m1, e^v1) || N(m2, e^v2)) = (v2 - v1 + e^(v1 - v2) - 1 + (m1 - m2)^2 e^-v2) / 2
    p(bin of x_0)                  = Phi((x_0 + h - m) / s) - Phi((x_0 - h - m) / s)       [Ho et al. 2020, eq. 13]

with h half a bin; the first and the last bin of [-1, 1] reach to infinity, so the bins sum to 1. Phi is the exact
normal distribution function; the tanh that often approximates it errs by 1.8e-4. Arguments broadcast, and results have
their dtype.
"""

import math

import torch
from torch import Tensor


def gaussian_kl(mean1: Tensor, logvar1: Tensor, mean2: Tensor, logvar2: Tensor) -> Tensor:
    """Return KL(N(mean1, e^logvar1) || N(mean2, e^logvar2)) of each element, in nats; 0 where they are equal."""
    gap = logvar1 - logvar2
    return 0.5 * (torch.expm1(gap) - gap + (mean1 - mean2).square() * torch.exp(-logvar2))


def gaussian_log_density(x: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
    """Return log N(x; mean, e^(2 log_std)) of each element, in nats."""
    return -0.5 * ((x - mean) * torch.exp(-log_std)).square() - log_std - 0.5 * math.log(2 * math.pi)


def discretised_log_likelihood(x_0: Tensor, mean: Tensor, log_std: Tensor, half_bin: float) -> Tensor:
    """Return the log probability that N(mean, e^(2 log_std)) gives to the bin around each element of x_0, in nats.

    x_0 are centres of bins, -1, -1 + 2 half_bin, ..., 1, to within less than half a bin, so that float32 is exact
    enough to find the first and the last. The difference of two nearly equal tails is computed with logarithms, on the
    side where the tails are small, so that no digits are lost.  [Ho et al. 2020, eq. 13]
    """
    precision = torch.exp(-log_std)
    below, above = (x_0 - mean - half_bin) * precision, (x_0 - mean + half_bin) * precision
    mirrored = x_0 > mean  # Phi(b) - Phi(a) = Phi(-a) - Phi(-b)
    low, high = torch.where(mirrored, -above, below), torch.where(mirrored, -below, above)
    log_high = torch.special.log_ndtr(high)
    inside = log_high + torch.log(-torch.expm1(torch.special.log_ndtr(low) - log_high))
    first, last = x_0 < half_bin - 1, x_0 > 1 - half_bin
    upwards = torch.where(last, torch.special.log_ndtr(-below), inside)
    return torch.where(first, torch.special.log_ndtr(above), upwards)
