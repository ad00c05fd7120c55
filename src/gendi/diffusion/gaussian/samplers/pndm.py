"""PNDM: pseudo numerical methods, which put a weighted mean of eps_hat into the step of DDIM.

With the transfer phi(x, e, t, s) = alpha_s (x - sigma_t e) / alpha_t + sigma_s e  [Liu et al. 2022, section 3], which
is exact where eps_hat is constant, and e a mean of eps_hat that a classical method in t would take:

    pseudo Runge-Kutta          e = (e_1 + 2 e_2 + 2 e_3 + e_4) / 6: four calls, e_2 and e_3 half way in t
    pseudo linear multistep     e = (55 e_t - 59 e_1 + 37 e_2 - 9 e_3) / 24: one call, and three values before

The weights are those of a grid even in t; the transfer is no Taylor polynomial, so both are of second order.
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
            x = transfer(schedule, x, _runge_kutta(denoiser, x, eps, t, s), t, s)
        elif extra == 1 and k == 0:
            end = transfer(schedule, x, eps, t, s)
            x = transfer(schedule, x, (eps + _eps(denoiser, end, s)) / 2, t, s)
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


def _eps(denoiser: Denoiser, x: Tensor, t: Tensor) -> Tensor:
    return eps_from_x0(x, denoiser(x, t), *denoiser.schedule(t))


def _runge_kutta(denoiser: Denoiser, x: Tensor, first: Tensor, t: Tensor, s: Tensor) -> Tensor:
    """Return the mean of eps_hat over the step by three more calls: two at the middle m, one at s."""
    schedule = denoiser.schedule
    m = (t + s) / 2
    if schedule.steps is not None:
        first_index, end = ((v * schedule.steps).round() for v in (t, s))
        m = (first_index - ((first_index - end) / 2).floor().clamp(min=1)) / schedule.steps
    second = _eps(denoiser, transfer(schedule, x, first, t, m), m)
    third = _eps(denoiser, transfer(schedule, x, second, t, m), m)
    fourth = _eps(denoiser, transfer(schedule, x, third, t, s), s)
    at_t, at_m, at_s = _simpson(float((t - m) / (t - s)))
    return at_t * first + at_m / 2 * (second + third) + at_s * fourth


def _simpson(r: float) -> tuple[float, float, float]:
    """Return the weights of values at 0, r and 1 in the mean over [0, 1]: the parabola's, or the line's if r is 1."""
    if r > 1 - 1e-9:
        return 1 / 2, 1 / 3, 1 / 6
    return (3 * r - 1) / (6 * r), 1 / (6 * r * (1 - r)), (2 - 3 * r) / (6 * (1 - r))
