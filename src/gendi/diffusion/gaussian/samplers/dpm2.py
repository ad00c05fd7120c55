"""DPM-2: the midpoint method of Karras et al. 2022 and k-diffusion, with its midpoint in the logarithm of the level."""

from collections.abc import Iterator

import torch
from torch import Tensor

from gendi.diffusion.gaussian.denoiser import Denoiser
from gendi.diffusion.gaussian.process import eps_from_x0, like
from gendi.diffusion.gaussian.samplers.state import Noise, State, pairs
from gendi.diffusion.gaussian.schedule import Schedule
from gendi.errors import UsageError


def dpm_2(denoiser: Denoiser, x: Tensor, times: Tensor, noise: Noise, *, calls: int | None = None) -> Iterator[State]:
    """Sample by DPM-Solver-2 in y = x / alpha and the level l = sigma / alpha, where dy / dl = eps_hat.

        y_m = y_t + (l_m - l_t) eps_t,     l_m = sqrt(l_t l_s)         [Karras et al. 2022, appendix; Lu et al. 2022a]
        y_s = y_t + (l_s - l_t) eps_m

    An interval takes two calls, or one, DDIM's, if it ends at 0. On a chain m is the nearest time below t, and where it
    misses the middle, eps at the middle is on the line, in ln l, through eps_t and eps_m. (With m = s this is Heun's.)

    Args:
        denoiser, x, times, noise: see `gendi.diffusion.gaussian.samplers`.
        calls: the total number of calls, the greatest possible by default. The first intervals, which hold the jump
            from t = 1, save calls by DDIM's step.

    Raises:
        UsageError: the intervals cannot make so many calls or so few.
    """
    visits, schedule = list(pairs(times)), denoiser.schedule
    most = 2 * len(visits) - (1 if times[-1] == 0 else 0)
    calls = most if calls is None else calls
    if not len(visits) <= calls <= most:
        raise UsageError(
            f"dpm-2 makes {len(visits)} to {most} calls on a grid of {len(visits)} intervals, and cannot make {calls}."
        )
    for k, (t, s) in enumerate(visits):
        x_0 = denoiser(x, t)
        eps = eps_from_x0(x, x_0, *schedule(t))
        if s > 0 and k >= most - calls:
            m, share = middle(schedule, t, s)
            there = _move(x, eps, schedule, t, m)
            eps_m = eps_from_x0(there, denoiser(there, m), *schedule(m))
            x = _move(x, eps + like(share, x) * (eps_m - eps), schedule, t, s)
        else:
            x = _move(x, eps, schedule, t, s) if s > 0 else x_0
        yield State(t, s, x, x_0)


def middle(schedule: Schedule, t: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
    """Return the time m in [s, t) nearest to the middle of ln(sigma / alpha), and the middle's place on (t, m), 1 if m
    is the middle."""
    high, low = schedule.log_snr(t), schedule.log_snr(s)
    m = schedule.time((high + low) / 2)
    if schedule.steps is None:
        return m, torch.ones_like(m)
    m = (m * schedule.steps).round() / schedule.steps
    m = torch.where(m < t, m, s).clamp(min=s)
    return m, (low - high) / 2 / (schedule.log_snr(m) - high)


def _move(x: Tensor, eps: Tensor, schedule: Schedule, t: Tensor, s: Tensor) -> Tensor:
    """Return x_s by the step of DDIM along `eps`."""
    (alpha, sigma), (alpha_s, sigma_s) = schedule(t), schedule(s)
    return like(alpha_s / alpha, x) * x + like(sigma_s - alpha_s / alpha * sigma, x) * eps
