"""The times a sampler visits: n steps asked are n steps done, from 1 down to exactly 0.

Every grid is a float64 tensor of n + 1 strictly decreasing times. For a process that was trained in discrete time the
grid is snapped to its T + 1 times, so the network never sees a time it was not trained at, and n = T is the whole
chain.

`trailing`, `linspace` and `leading` are the spacings that papers and the library diffusers know by these names, there
as integer steps 0 to T - 1, here one more over T. They differ in the ends: `trailing` (which is `uniform`) begins at T
and ends a stride above 0; `linspace` has both T and 1; `leading` has 1 and begins up to a stride below T, where the
marginal still holds signal that a start from pure noise has not  [Lin et al. 2024, table 2]. The last two are made of a
chain's T; in continuous time they are those of a chain of 1000, or n, steps.
"""

import math
from collections.abc import Callable
from typing import TypeAlias

import torch
from jaxtyping import Float64
from torch import Tensor

from gendi.diffusion.gaussian.schedule import Schedule
from gendi.errors import UsageError, unknown_name

Bounds: TypeAlias = tuple[float, float]
"""sigma / alpha of the last call and of the one after t = 1."""

CHAIN = 1000
"""Steps of the chain whose `linspace` and `leading` grids continuous time takes."""

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


def linspace(schedule: Schedule, n: int, bounds: Bounds = BOUNDS) -> Tensor:
    """Return n times evenly spaced from 1 down to 1 / T, and 0; for n = 1 only 1 and 0."""
    chain = schedule.steps or max(CHAIN, n)
    steps = torch.linspace(chain - 1, 0, n, dtype=torch.float64).round() + 1  # rounded as steps that count from 0
    return torch.cat([steps, torch.zeros(1)]) / chain


def leading(schedule: Schedule, n: int, bounds: Bounds = BOUNDS) -> Tensor:
    """Return n times i (T // n) + 1 over T, i = n - 1 down to 0, and 0: they begin below 1 unless n is T."""
    chain = schedule.steps or max(CHAIN, n)
    return torch.tensor([*range((n - 1) * (chain // n) + 1, 0, -(chain // n)), 0], dtype=torch.float64) / chain


GRIDS: dict[str, Callable[[Schedule, int, Bounds], Tensor]] = {
    "uniform": uniform,
    "trailing": uniform,
    "linspace": linspace,
    "leading": leading,
    "quadratic": quadratic,
    "log-snr": log_snr,
    "karras": karras,
}


def make_grid(
    schedule: Schedule, n: int, kind: str = "uniform", bounds: Bounds = BOUNDS, rho: float | None = None
) -> Float64[Tensor, " n_plus_1"]:
    """Return the n + 1 times of grid `kind`, from 1 (`leading`: from a stride below it) down to 0.

    Args:
        n: how many intervals.
        bounds: sigma / alpha of the last call and of the one after t = 1, for `log-snr` and `karras`.
        rho: exponent of `karras`, 7 by default; 1 is even in the level, and larger ones crowd the low levels.

    Raises:
        UsageError: an unknown kind, n < 1, more steps than a discrete chain has, bounds that do not increase from above
            0, a rho that is not above 0 or for another kind.
    """
    if kind not in GRIDS:
        raise unknown_name("time grid", kind, GRIDS)
    if n < 1:
        raise UsageError(f"sampling needs at least 1 step; got {n}.")
    if not 0 < bounds[0] < bounds[1]:
        raise UsageError(
            f"the bounds of sigma / alpha must increase from above 0; got {bounds[0]:g} and {bounds[1]:g}."
        )
    if schedule.steps is not None and n > schedule.steps:
        raise UsageError(f"{n} steps were asked of a chain that has {schedule.steps}: choose 1 to {schedule.steps}.")
    if rho is None:
        times = GRIDS[kind](schedule, n, bounds)
    elif kind == "karras" and 0 < rho < math.inf:
        times = karras(schedule, n, bounds, rho)
    else:
        raise UsageError(f"rho = {rho:g} for the grid {kind}: it is an exponent above 0, of the grid karras alone.")
    return times if schedule.steps is None else snap(times, schedule.steps)


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
