"""DPM-Solver++: exponential integrators of the probability-flow ODE in lambda = ln(alpha / sigma), for
x0-predictions.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from gendi.denoiser import Denoiser
from gendi.process import like
from gendi.samplers.state import Noise, State, pairs


def dpmpp_2m(denoiser: Denoiser, x: Tensor, times: Tensor, noise: Noise, **cond: Any) -> Iterator[State]:
    """Second-order multistep, one call a step; the first and the last step are first order.  [Lu et al. 2022b,
    algorithm 2]

    x_s = sigma_s / sigma_t x_t + alpha_s (1 - e^-h) D,   h = lambda_s - lambda_t,
    D   = x0_hat + (x0_hat - previous x0_hat) h / (2 h_previous).
    """
    schedule = denoiser.schedule
    previous, h_previous = None, None
    for t, s in pairs(times):
        (_, sigma_t), (alpha_s, sigma_s) = schedule(t), schedule(s)
        h = (schedule.log_snr(s) - schedule.log_snr(t)) / 2
        x_0 = denoiser(x, t, **cond)
        estimate = x_0
        if previous is not None and h_previous is not None and s > 0:
            estimate = x_0 + like(h / (2 * h_previous), x) * (x_0 - previous)
        x = like(sigma_s / sigma_t, x) * x - like(alpha_s * torch.expm1(-h), x) * estimate
        previous, h_previous = x_0, h
        yield State(t, s, x, x_0)
