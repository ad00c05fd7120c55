"""The times a sampler visits: n steps asked are n steps done, from 1 down to exactly 0.

Every grid is a float64 tensor of n + 1 strictly decreasing times. For a process that was trained in discrete time the
grid is snapped to its T + 1 times, so the network never sees a time it was not trained at, and n = T is the whole
chain.
"""

import math
from collections.abc import Callable
from typing import TypeAlias

import torch
from jaxtyping import Float64
from torch import Tensor

from gendi.errors import UsageError, unknown_name
from gendi.schedule import Schedule

Bounds: TypeAlias = tuple[float, float]
"""sigma / alpha of the last call and of the one after t = 1."""

BOUNDS: Bounds = (0.03, 20.0)
"""For data of unit size. Karras et al. have 0.002 and 80: with 20 calls, a third of them would go to levels beyond 10,
where nothing is decided."""


def _levels(schedule: Schedule, n: int, bounds: Bounds, power: float | None) -> Tensor:
    """Return t = 1, then n - 1 times even in ln(sigma / alpha), or in its `power`-th power, between bounds, then 0.

    The first call is at t = 1 even if the bounds end long before: there alone the marginal is pure noise. A start at
    sigma / alpha = 20 would drop the mean of the data, which, summed over 784 pixels, is as strong there as the noise.
    """
    end, low = float(schedule.log_snr(torch.tensor(1.0))) / -2, math.log(bounds[0])
    inside = end > math.log(bounds[1])
    high = math.log(bounds[1]) if inside else end
    count = n - 1 if inside else n
    ramp = torch.linspace(0, 1, count, dtype=torch.float64) if count != 1 else torch.zeros(1, dtype=torch.float64)
    if power is None:
        log_sigma = high + ramp * (low - high)
    else:
        log_sigma = (math.exp(power * high) + ramp * (math.exp(power * low) - math.exp(power * high))).log() / power
    times = schedule.time(-2 * log_sigma)
    one, zero = torch.ones(n - count, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    return torch.cat([one, times, zero])


def uniform(schedule: Schedule, n: int, bounds: Bounds = BOUNDS) -> Tensor:
    """Return n + 1 times evenly spaced in t, from 1 whatever the bounds."""
    return torch.linspace(1, 0, n + 1, dtype=torch.float64)


def quadratic(schedule: Schedule, n: int, bounds: Bounds = BOUNDS) -> Tensor:
    """Return n + 1 times evenly spaced in sqrt(t).  [Song et al. 2021 (DDIM), appendix D.2]"""
    return torch.linspace(1, 0, n + 1, dtype=torch.float64) ** 2


def log_snr(schedule: Schedule, n: int, bounds: Bounds = BOUNDS) -> Tensor:
    """Return 1, times evenly spaced in log-SNR within the bounds, 0: n + 1 in all.  [Lu et al. 2022, section 3.4]"""
    return _levels(schedule, n, bounds, None)


def karras(schedule: Schedule, n: int, bounds: Bounds = BOUNDS, rho: float = 7.0) -> Tensor:
    """Return 1, times evenly spaced in (sigma / alpha)^(1 / rho) within the bounds, 0.  [Karras et al. 2022, eq. 5]"""
    return _levels(schedule, n, bounds, 1 / rho)


GRIDS: dict[str, Callable[[Schedule, int, Bounds], Tensor]] = {
    "uniform": uniform,
    "quadratic": quadratic,
    "log-snr": log_snr,
    "karras": karras,
}


def make_grid(
    schedule: Schedule, n: int, kind: str = "uniform", bounds: Bounds = BOUNDS
) -> Float64[Tensor, " n_plus_1"]:
    """Return the n + 1 times of grid `kind`, from 1 down to 0.

    Raises `UsageError` for an unknown kind, n < 1, more steps than a discrete chain has, or bounds that do not
    increase.
    """
    if kind not in GRIDS:
        raise unknown_name("time grid", kind, GRIDS)
    if n < 1:
        raise UsageError(f"sampling needs at least 1 step; got {n}.")
    if not 0 < bounds[0] < bounds[1]:
        raise UsageError(
            f"the bounds of sigma / alpha must increase from above 0; got {bounds[0]:g} and {bounds[1]:g}."
        )
    if schedule.steps is None:
        return GRIDS[kind](schedule, n, bounds)
    if n > schedule.steps:
        raise UsageError(f"{n} steps were asked of a chain that has {schedule.steps}: choose 1 to {schedule.steps}.")
    return snap(GRIDS[kind](schedule, n, bounds), schedule.steps)


def snap(times: Tensor, steps: int) -> Tensor:
    """Return `times` (decreasing, ending at 0) moved to the nearest distinct multiples of 1 / steps, still ending at
    0.
    """
    index = (times * steps).round().long().tolist()
    n = len(index) - 1
    previous = steps + 1
    for k in range(n):  # leave room below for the n - k - 1 steps and the 0 that follow
        previous = index[k] = max(min(index[k], previous - 1), n - k)
    index[n] = 0
    return torch.tensor(index, dtype=torch.float64) / steps
