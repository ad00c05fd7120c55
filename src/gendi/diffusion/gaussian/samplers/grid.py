"""The times that a sampler visits: exactly as many steps as were requested, from 1 down to exactly 0.

Every grid is a float64 tensor of n + 1 strictly decreasing times. For a process that was trained in discrete time the
grid is snapped to its T + 1 times, so the network never sees a time that it was not trained at, and n = T is the whole
chain.

`trailing`, `linspace` and `leading` are the spacings that papers and the library diffusers know by these names. There
they are integer steps i from 0 to T - 1; here they are the times (i + 1) / T. They differ in their ends: `trailing`
(which is `uniform`) begins at T and ends a stride above 0; `linspace` has both T and 1; `leading` has 1 and begins up
to a stride below T, where the marginal still contains signal that a start from pure noise lacks  [Lin et al. 2024,
table 2]. `linspace` and `leading` depend on a chain's T; in continuous time they are those of a chain of 1000 steps, or
of n steps if that is more.
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
"""sigma / alpha of the last call and of the first call after t = 1."""

CHAIN = 1000
"""Length of the chain whose `linspace` and `leading` grids are used in continuous time."""

BOUNDS: Bounds = (0.03, 20.0)
"""The default bounds, for data of unit size without narrow directions. Karras et al. have 0.002 and 80; with these, a
third of 20 calls would go to levels above 10, where nothing is decided."""


def bounds_for(smallest: float | None) -> Bounds:
    """Return the bounds for data whose narrowest direction in model space has the standard deviation `smallest`.

    The last step of a grid, from the level e = sigma / alpha to 0, returns E[x_0 | x], which is c / sqrt(c^2 + e^2) of
    a direction of standard deviation c, however many calls came before. With e = c / 5 that is 98%. The level is at
    least Karras et al.'s 0.002 and at most that of `BOUNDS`, which is also the answer where nothing is known (None).
    """
    if smallest is None:
        return BOUNDS
    return min(BOUNDS[0], max(smallest / 5, 0.002)), BOUNDS[1]


def _levels(schedule: Schedule, n: int, bounds: Bounds, power: float | None) -> Tensor:
    """Return t = 1, then n - 1 times between the bounds, then 0.

    The times are even in ln(sigma / alpha) or, with `power`, in that power of sigma / alpha. The first call is at t = 1
    even if the bounds end long before, because only there the marginal is pure noise. A start at sigma / alpha = 20
    would lose the mean of the data which, summed over 784 pixels, is as strong there as the noise.
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
    """Return n + 1 times evenly spaced in t, from 1 to 0; the bounds do not matter."""
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


def angle(schedule: Schedule, n: int, bounds: Bounds = BOUNDS) -> Tensor:
    """Return 1, times evenly spaced in arctan(sigma / alpha), 0: n + 1 in all; the bounds do not matter.

    They spread a few calls over the levels at which there is about as much noise as signal. For any schedule they are
    nearly the times i / n of the cosine schedule.
    """
    last = math.atan(math.exp(float(schedule.log_snr(torch.ones((), dtype=torch.float64))) / -2))
    inside = torch.arange(n - 1, 0, -1, dtype=torch.float64) * (last / n)
    one, zero = torch.ones(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    return torch.cat([one, schedule.time(-2 * inside.tan().log()), zero])


def linspace(schedule: Schedule, n: int, bounds: Bounds = BOUNDS) -> Tensor:
    """Return n times evenly spaced from 1 down to 1 / T, and 0; for n = 1 only 1 and 0."""
    chain = schedule.steps or max(CHAIN, n)
    steps = torch.linspace(chain - 1, 0, n, dtype=torch.float64).round() + 1  # rounded while the steps count from 0
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
    "angle": angle,
    "log-snr": log_snr,
    "karras": karras,
}


def make_grid(
    schedule: Schedule, n: int, kind: str = "uniform", bounds: Bounds = BOUNDS, rho: float | None = None
) -> Float64[Tensor, " n_plus_1"]:
    """Return the n + 1 times of grid `kind`, from 1 (`leading`: from up to a stride below it) down to 0.

    Args:
        schedule: turns noise levels into times, and knows the steps of a chain.
        n: number of intervals.
        kind: a name in GRIDS.
        bounds: sigma / alpha of the last call and of the first call after t = 1, for `log-snr` and `karras`.
        rho: exponent of `karras`, 7 by default. 1 is even in the level, and larger exponents make low levels denser.

    Raises:
        UsageError: the kind is unknown, n < 1 or more steps than a discrete chain has, the bounds do not increase from
            above 0, or rho is not above 0 or belongs to another kind.
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
        raise UsageError(f"a chain of {schedule.steps} steps cannot make {n}: choose 1 to {schedule.steps}.")
    if rho is None:
        times = GRIDS[kind](schedule, n, bounds)
    elif kind == "karras" and 0 < rho < math.inf:
        times = karras(schedule, n, bounds, rho)
    else:
        raise UsageError(f"rho = {rho:g} for the grid {kind}: it is an exponent above 0, for the grid karras alone.")
    return times if schedule.steps is None else snap(times, schedule.steps)


def snap(times: Tensor, steps: int) -> Tensor:
    """Return `times` moved to the nearest distinct multiples of 1 / steps; they decrease and end at 0."""
    index = (times * steps).round().long().tolist()
    n = len(index) - 1
    previous = steps + 1
    for k in range(n):  # leave room for the n - k - 1 steps that follow and the 0
        previous = index[k] = max(min(index[k], previous - 1), n - k)
    index[n] = 0
    return torch.tensor(index, dtype=torch.float64) / steps
