"""PNDM: pseudo numerical methods, which put a weighted mean of eps_hat into the step of DDIM.

With the transfer phi(x, e, t, s) = alpha_s (x - sigma_t e) / alpha_t + sigma_s e  [Liu et al. 2022, section 3], which
is exact where eps_hat is constant, and e a mean of eps_hat that a classical method in t would take:

    pseudo Runge-Kutta          e = (e_1 + 2 e_2 + 2 e_3 + e_4) / 6: four calls, e_2 and e_3 half way in t
    pseudo linear multistep     e = (55 e_t - 59 e_1 + 37 e_2 - 9 e_3) / 24: one call, and three values before

The weights are those of a grid even in t; the transfer is no Taylor polynomial, so both are of second order.

The transfer divides by alpha_t, so it multiplies whatever e misses by alpha_s / alpha_t, without bound where a
schedule leaves no signal at t = 1 (cosine). Where alpha grows more than `GROWTH` times in one step, the same weights
are given to x0_hat instead, whose transfer alpha_s x_0 + sigma_s (x - alpha_t x_0) / sigma_t is bounded.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from gendi.diffusion.gaussian.denoiser import Denoiser
from gendi.diffusion.gaussian.process import eps_from_x0, like
from gendi.diffusion.gaussian.samplers.state import Noise, State, pairs
from gendi.diffusion.gaussian.schedule import Schedule
from gendi.errors import UsageError

ADAMS = ((1.0,), (3 / 2, -1 / 2), (23 / 12, -16 / 12, 5 / 12), (55 / 24, -59 / 24, 37 / 24, -9 / 24))
"""Adams and Bashforth's weights of one to four values, the newest first."""
WARM = 3
"""Steps by Runge and Kutta's method at the beginning, which gives the multistep method its three values before."""

GROWTH = 10
"""How many times alpha may grow in a step whose mean is one of eps_hat; beyond, it is one of x0_hat."""


def intervals(calls: int) -> int:
    """Return how many intervals so many calls make: 9 fewer from 13 on, 1 fewer from 3 on."""
    return calls if calls < 3 else calls - 1 if calls <= 3 * WARM + WARM else calls - 3 * WARM


def pndm(denoiser: Denoiser, x: Tensor, times: Tensor, noise: Noise, *, calls: int | None = None) -> Iterator[State]:
    """Sample by PNDM: three steps of Runge-Kutta, then the linear multistep method.  [Liu et al. 2022, algorithm 2]

    K intervals take K + 9 calls, as in diffusers' PNDMScheduler. With K + 1 `calls` only the first step has a second
    call, and e is the mean over both its ends (its `skip_prk_steps`); with K it has none and is DDIM's. On a chain the
    time half way is one of the chain's, and the weights are Simpson's for that place. The step to s = 0 returns
    x0_hat.

    Raises `UsageError` for another number of calls.
    """
    visits, schedule = list(pairs(times)), denoiser.schedule
    n = len(visits)
    inner = n - 1 if times[-1] == 0 else n  # intervals that end above 0
    possible = [n, *([n + 1] if inner > 0 else []), *([n + 3 * WARM] if inner >= WARM else [])]
    calls = possible[-1] if calls is None else calls
    if calls not in possible:
        choices = ", ".join(map(str, possible))
        raise UsageError(f"pndm on a grid of {n} intervals makes one of {choices} calls, and cannot make {calls}.")
    extra = calls - n
    known: list[Tensor] = []  # newest first
    for k, (t, s) in enumerate(visits):
        x_0 = denoiser(x, t)
        eps = eps_from_x0(x, x_0, *schedule(t))
        known = [eps, *known][: len(ADAMS)]
        if s == 0:
            x = x_0
        elif extra > 1 and k < WARM:
            x = _runge_kutta(denoiser, x, x_0, t, s)
        elif extra == 1 and k == 0:
            x = _trapezoid(denoiser, x, x_0, t, s)
        elif len(known) == 1:
            x = transfer_x0(schedule, x, x_0, t, s)
        else:
            mean = torch.zeros_like(eps)
            for weight, value in zip(ADAMS[len(known) - 1], known, strict=True):
                mean = mean + weight * value
            x = transfer(schedule, x, mean, t, s)
        yield State(t, s, x, x_0)


def transfer(schedule: Schedule, x: Tensor, eps: Tensor, t: Tensor, s: Tensor) -> Tensor:
    """Return phi(x, eps, t, s), of x's shape."""
    (alpha, sigma), (alpha_s, sigma_s) = schedule(t), schedule(s)
    return like(alpha_s / alpha, x) * x + like(sigma_s - alpha_s / alpha * sigma, x) * eps


def transfer_x0(schedule: Schedule, x: Tensor, x_0: Tensor, t: Tensor, s: Tensor) -> Tensor:
    """Return x at s under x0_hat = x_0 that is held constant, of x's shape."""
    alpha_s, sigma_s = schedule(s)
    return like(alpha_s, x) * x_0 + like(sigma_s, x) * eps_from_x0(x, x_0, *schedule(t))


class _Step:
    """One step from (x, t), whose slopes are x0_hat or, where alpha does not grow too much, eps_hat.

    `slope` gives a call's value; `move` takes x to a time under a value that is held constant.
    """

    def __init__(self, denoiser: Denoiser, x: Tensor, t: Tensor, s: Tensor) -> None:
        self.denoiser, self.schedule, self.x, self.t = denoiser, denoiser.schedule, x, t
        self.by_eps = bool(self.schedule(s)[0] <= GROWTH * self.schedule(t)[0])

    def slope(self, x: Tensor, x_0: Tensor, t: Tensor) -> Tensor:
        return eps_from_x0(x, x_0, *self.schedule(t)) if self.by_eps else x_0

    def move(self, slope: Tensor, s: Tensor) -> Tensor:
        return (transfer if self.by_eps else transfer_x0)(self.schedule, self.x, slope, self.t, s)

    def call(self, slope: Tensor, s: Tensor) -> Tensor:
        """Return the slope at s of where `slope` leads."""
        end = self.move(slope, s)
        return self.slope(end, self.denoiser(end, s), s)


def _trapezoid(denoiser: Denoiser, x: Tensor, x_0: Tensor, t: Tensor, s: Tensor) -> Tensor:
    """Return x at s by one more call, at s."""
    step = _Step(denoiser, x, t, s)
    first = step.slope(x, x_0, t)
    return step.move((first + step.call(first, s)) / 2, s)


def _runge_kutta(denoiser: Denoiser, x: Tensor, x_0: Tensor, t: Tensor, s: Tensor) -> Tensor:
    """Return x at s by three more calls: two at the middle m, one at s."""
    steps = denoiser.schedule.steps
    m = (t + s) / 2
    if steps is not None:
        first_index, end = ((v * steps).round() for v in (t, s))
        m = (first_index - ((first_index - end) / 2).floor().clamp(min=1)) / steps
    step = _Step(denoiser, x, t, s)
    first = step.slope(x, x_0, t)
    second = step.call(first, m)
    third = step.call(second, m)
    fourth = step.call(third, s)
    at_t, at_m, at_s = _simpson(float((t - m) / (t - s)))
    return step.move(at_t * first + at_m / 2 * (second + third) + at_s * fourth, s)


def _simpson(r: float) -> tuple[float, float, float]:
    """Return the weights of values at 0, r and 1 in the mean over [0, 1]: the parabola's, or the line's if r is 1."""
    if r > 1 - 1e-9:
        return 1 / 2, 1 / 3, 1 / 6
    return (3 * r - 1) / (6 * r), 1 / (6 * r * (1 - r)), (2 - 3 * r) / (6 * (1 - r))
