"""DPM-Solver++: exponential integrators in lambda = ln(alpha / sigma) for x0-predictions, of the probability-flow ODE,
of the reverse SDE, and of everything between them.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from gendi.denoiser import Denoiser
from gendi.errors import UsageError
from gendi.process import like
from gendi.samplers.state import Noise, State, pairs


def dpmpp_2m(
    denoiser: Denoiser, x: Tensor, times: Tensor, noise: Noise, *, eta: float = 0.0, **cond: Any
) -> Iterator[State]:
    """Second-order multistep, one call a step; the first and the last step are first order.

        x_s = sigma_s / sigma_t e^(-eta h) x_t + alpha_s (1 - e^(-(1 + eta) h)) D + sigma_s sqrt(1 - e^(-2 eta h))
        noise, h   = lambda_s - lambda_t,      D = x0_hat + (x0_hat - previous x0_hat) h / (2 h_previous).

    eta = 0 solves the probability-flow ODE [Lu et al. 2022b, algorithm 2] and eta = 1 the reverse SDE [the same, eq.
    18, with D in the place of x0_hat]; the noise of the latter corrects what earlier steps got wrong. At first order
    eta = 1 is ancestral sampling with `small` variance. Raises `UsageError` unless 0 <= eta <= 1.
    """
    if not 0 <= eta <= 1:
        raise UsageError(f"eta = {eta:g} is out of range: 0 (deterministic) to 1 (the reverse SDE).")
    schedule = denoiser.schedule
    previous, h_previous = None, None
    for k, (t, s) in enumerate(pairs(times)):
        (_, sigma_t), (alpha_s, sigma_s) = schedule(t), schedule(s)
        h = (schedule.log_snr(s) - schedule.log_snr(t)) / 2
        x_0 = denoiser(x, t, **cond)
        estimate = x_0
        if previous is not None and h_previous is not None and s > 0:
            estimate = x_0 + like(h / (2 * h_previous), x) * (x_0 - previous)
        if s > 0:
            carried = sigma_s / sigma_t * torch.exp(-eta * h)
            x = like(carried, x) * x - like(alpha_s * torch.expm1(-(1 + eta) * h), x) * estimate
        else:  # h is infinite
            x = like(alpha_s, x) * x_0
        if eta > 0 and s > 0:
            x = x + like(sigma_s * (-torch.expm1(-2 * eta * h)).sqrt(), x) * noise(k)
        previous, h_previous = x_0, h
        yield State(t, s, x, x_0)
