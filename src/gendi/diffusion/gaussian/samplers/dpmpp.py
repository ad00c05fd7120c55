"""DPM-Solver++: exponential integrators in lambda = ln(alpha / sigma) for x0-predictions.

They solve the probability-flow ODE, the reverse SDE, and everything between them.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from gendi.diffusion.gaussian.denoiser import Denoiser
from gendi.diffusion.gaussian.process import like
from gendi.diffusion.gaussian.samplers.exponential import Mark, adams, steps
from gendi.diffusion.gaussian.samplers.state import Noise, State, pairs
from gendi.errors import UsageError


def dpmpp_2m(denoiser: Denoiser, x: Tensor, times: Tensor, noise: Noise, *, eta: float = 0.0) -> Iterator[State]:
    """Sample by a second-order multistep method, one call a step; the first and the last step are of first order.

        x_s = sigma_s / sigma_t e^(-eta h) x_t + alpha_s (1 - e^(-(1 + eta) h)) D
              + sigma_s sqrt(1 - e^(-2 eta h)) noise

        h = lambda_s - lambda_t,      D = x0_hat + (x0_hat - previous x0_hat) h / (2 h_previous)

    eta = 0 solves the probability-flow ODE [Lu et al. 2022b, algorithm 2] and eta = 1 the reverse SDE [the same, eq.
    18, with D in the place of x0_hat]. At first order eta = 1 is ancestral sampling with `small` variance. Raises
    `UsageError` unless 0 <= eta <= 1.
    """
    if not 0 <= eta <= 1:
        raise UsageError(f"eta = {eta:g} is out of range: 0 (deterministic) to 1 (the reverse SDE).")
    schedule = denoiser.schedule
    previous, h_previous = None, None
    for k, (t, s) in enumerate(pairs(times)):
        (_, sigma_t), (alpha_s, sigma_s) = schedule(t), schedule(s)
        h = (schedule.log_snr(s) - schedule.log_snr(t)) / 2
        x_0 = denoiser(x, t)
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


def dpmpp_3m(denoiser: Denoiser, x: Tensor, times: Tensor, noise: Noise) -> Iterator[State]:
    """Sample by a third-order multistep method, one call a step.  [Lu et al. 2022b, section 4.2]

    x0_hat is the parabola in lambda through its last three values. The paper's update for three values weighs the
    second difference by half of what the integral of the parabola gives, and is of second order.
    """
    yield from adams(denoiser, x, times, order=3, prediction="x0")


def dpmpp_singlestep(denoiser: Denoiser, x: Tensor, times: Tensor, noise: Noise, *, order: int = 2) -> Iterator[State]:
    """Sample by DPM-Solver++(1S) or (2S), whose steps do not use earlier ones.  [Lu et al. 2022b, algorithm 1]

    A step from t to s has `order` calls, at times of the grid. With m the time between t and s, and r h = lambda_m -
    lambda_t for any r,

        x_m = sigma_m / sigma_t x_t - alpha_m (e^(-r h) - 1) x0_t
        x_s = sigma_s / sigma_t x_t - alpha_s (e^-h - 1) D,         D = x0_t + (x0_m - x0_t) / (2 r)

    With order = 1, which is DDIM, every step is the first line alone, and so is the step to s = 0. With order = 2 a
    single interval that is left over becomes the first step, by the first line. Raises `UsageError` unless order is 1
    or 2.
    """
    if order not in (1, 2):
        raise UsageError(f"order = {order} is out of range: the single-step solver has the orders 1 and 2.")
    visits = list(steps(denoiser.schedule, times))
    doubles = len(visits) - (1 if visits[-1][1].t == 0 else 0) if order == 2 else 0
    first = doubles % 2  # of the intervals before the last, if that ends at 0
    begin, x_begin, x0_begin = visits[0][0], x, x
    for k, (t, s) in enumerate(visits):
        x_0 = denoiser(x, t.t)
        if first <= k < doubles and (k - first) % 2:
            r = (t.lam - begin.lam) / (s.lam - begin.lam)
            x = _first_order(x_begin, x0_begin + like(1 / (2 * r), x) * (x_0 - x0_begin), begin, s)
        else:
            begin, x_begin, x0_begin = t, x, x_0
            x = _first_order(x, x_0, t, s)
        yield State(t.t, s.t, x, x_0)


def _first_order(x: Tensor, estimate: Tensor, t: Mark, s: Mark) -> Tensor:
    """Return x_s for an estimate of x_0 that is constant over the step; at s = 0 it is the estimate."""
    return like(s.sigma / t.sigma, x) * x - like(s.alpha * torch.expm1(t.lam - s.lam), x) * estimate
