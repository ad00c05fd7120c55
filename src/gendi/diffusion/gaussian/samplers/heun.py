"""The samplers of Karras et al. 2022: Heun's method in the noise level, without and with churn.

In y = x / alpha and the level l = sigma / alpha the probability-flow ODE is dy / dl = eps_hat = (y - x0_hat) / l, for
any schedule. Euler's step in l is DDIM; Heun's averages eps_hat over both ends of the step.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from gendi.diffusion.gaussian.denoiser import Denoiser
from gendi.diffusion.gaussian.process import eps_from_x0, like
from gendi.diffusion.gaussian.samplers.state import Noise, State, pairs
from gendi.diffusion.gaussian.schedule import Schedule
from gendi.errors import UsageError


def heun_intervals(n: int) -> int:
    """Return how many intervals n calls can make: the first and the last take one call, the others usually two."""
    return n if n < 3 else (n + 3) // 2


def heun(
    denoiser: Denoiser,
    x: Tensor,
    times: Tensor,
    noise: Noise,
    *,
    calls: int | None = None,
    churn: float = 0.0,
    churn_from: float = 0.05,
    churn_to: float = 50.0,
    churn_noise: float = 1.003,
) -> Iterator[State]:
    """Sample by Algorithm 1 of Karras et al. 2022 or, with churn > 0, by Algorithm 2.

        x_s = alpha_s x0_t + sigma_s eps_t + alpha_s (l_s - l_t) (eps_s - eps_t) / 2

    An interval takes two calls, or one if it ends at 0. Churn first raises the level of x_t by the share
    min(churn / intervals, sqrt(2) - 1), with noise of the matching variance. The level is raised no further than that
    of t = 1, because a denoiser knows no noisier state, and on a discrete chain to the nearest time. The noise matches
    the level that is reached, so the marginals stay right; but within that share of the last level there is less churn
    than was asked for, and at t = 1 there is none. (Karras et al. end churn at level 50 of 80, below their last.)

    Args:
        denoiser, x, times, noise: see `gendi.diffusion.gaussian.samplers`.
        calls: the total number of calls, the greatest possible by default. The first intervals save calls by a step of
            first order (DDIM). The jump from t = 1 should be among them, since Heun's error there grows with the ratio
            of levels.
        churn: S_churn; 0 is deterministic.
        churn_from, churn_to: the levels S_tmin and S_tmax between which to churn.
        churn_noise: S_noise, the standard deviation of the noise that churn adds.

    Raises:
        UsageError: the intervals cannot make so many calls or so few, churn is negative or infinite, or the levels do
            not increase.
    """
    _check(churn, churn_from, churn_to, churn_noise)
    visits, schedule = list(pairs(times)), denoiser.schedule
    most = 2 * len(visits) - (1 if times[-1] == 0 else 0)
    calls = most if calls is None else calls
    if not len(visits) <= calls <= most:
        raise UsageError(
            f"heun makes {len(visits)} to {most} calls on a grid of {len(visits)} intervals, and cannot make {calls}."
        )
    share = min(churn / len(visits), math.sqrt(2) - 1)
    raised = _raised(schedule, times[:-1].double(), share, churn_from, churn_to)
    for k, ((start, s), t) in enumerate(zip(visits, raised, strict=True)):
        (alpha_t, sigma_t), (alpha_s, sigma_s) = schedule(t), schedule(s)
        if t > start:
            alpha, sigma = schedule(start)
            added = (sigma_t**2 - (alpha_t / alpha * sigma) ** 2).sqrt()
            x = like(alpha_t / alpha, x) * x + like(churn_noise * added, x) * noise(k)
        x_0 = denoiser(x, t)
        eps = eps_from_x0(x, x_0, alpha_t, sigma_t)
        x = like(alpha_s, x) * x_0 + like(sigma_s, x) * eps
        if s > 0 and k >= most - calls:
            eps_s = eps_from_x0(x, denoiser(x, s), alpha_s, sigma_s)
            x = x + like((sigma_s - alpha_s * sigma_t / alpha_t) / 2, x) * (eps_s - eps)
        yield State(start, s, x, x_0)


def _raised(schedule: Schedule, times: Tensor, share: float, low: float, high: float) -> Tensor:
    """Return the times at which levels between low and high have grown by `share`: the nearest times of a chain, and 1
    for a level beyond the schedule's last."""
    log_snr = schedule.log_snr(times)
    raised = schedule.time(log_snr - 2 * math.log1p(share))
    if schedule.steps is not None:
        raised = (raised * schedule.steps).round() / schedule.steps
    level = (log_snr / -2).exp()
    return torch.where((level >= low) & (level <= high) & (raised > times) & (share > 0), raised, times)


def _check(churn: float, low: float, high: float, spread: float) -> None:
    if not 0 <= churn < math.inf:
        raise UsageError(f"churn = {churn:g} is out of range: 0 (deterministic) or more.")
    if not 0 <= low < high:
        raise UsageError(f"the levels to churn between must increase from 0 or more; got {low:g} and {high:g}.")
    if not 0 <= spread < math.inf:
        raise UsageError(f"churn_noise = {spread:g} is out of range: 0 or more; 1 has the matching variance.")
