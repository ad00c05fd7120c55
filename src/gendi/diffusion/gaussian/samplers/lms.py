"""LMS: the linear multistep method of Katherine Crowson's k-diffusion, in the noise level.

In y = x / alpha and the level l = sigma / alpha the probability-flow ODE is dy / dl = eps_hat  [Karras et al. 2022, eq.
4], so the plain Adams-Bashforth method on an uneven grid is

    y_s = y_t + sum_j eps_j int_{l_t}^{l_s} prod_{k != j} (l - l_k) / (l_j - l_k) dl,        j, k over the last values.
"""

import math
from collections.abc import Iterator

from torch import Tensor

from gendi.diffusion.gaussian.denoiser import Denoiser
from gendi.diffusion.gaussian.process import eps_from_x0, like
from gendi.diffusion.gaussian.samplers.polynomial import plain_weights
from gendi.diffusion.gaussian.samplers.state import Noise, State, pairs
from gendi.errors import UsageError


def lms(denoiser: Denoiser, x: Tensor, times: Tensor, noise: Noise, *, order: int = 4) -> Iterator[State]:
    """Sample by Adams-Bashforth in sigma / alpha through the last `order` values of eps_hat, one call a step.

    The first step has a single value and is Euler's, which is DDIM; its error makes the whole of second order, for any
    `order` of 2 or more. The integrals are exact (k-diffusion's are numeric). The step to s = 0 returns x0_hat.

    Raises `UsageError` unless order is 1 to 4.
    """
    if order not in (1, 2, 3, 4):
        raise UsageError(f"order = {order} is out of range: lms has the orders 1 to 4.")
    schedule = denoiser.schedule
    known: list[tuple[float, Tensor]] = []  # newest first: the level, and eps_hat there
    for t, s in pairs(times):
        (alpha, sigma), (alpha_s, sigma_s) = schedule(t), schedule(s)
        x_0 = denoiser(x, t)
        eps = eps_from_x0(x, x_0, alpha, sigma)
        level, end = float(sigma / alpha), float(sigma_s / alpha_s)
        known = [(level, eps), *known][:order] if math.isfinite(level) else []
        if s == 0:
            x = x_0
        elif len(known) < 2:
            x = like(alpha_s, x) * x_0 + like(sigma_s, x) * eps
        else:
            x = like(alpha_s / alpha, x) * x
            width = end - level
            shares = plain_weights([(end - place) / width for place, _ in known])
            for share, (_, value) in zip(shares, known, strict=True):
                x = x + like(alpha_s * (share * width), x) * value
        yield State(t, s, x, x_0)
