"""The range of noise levels cut into strata: the steps of a chain, or slices of log-SNR in continuous time.

A sum over all strata is estimated from a few by drawing stratum i with probability p_i and dividing its value by p_i.
The best p is proportional to the values. For white data of variance 1 these are differences of ln(1 + SNR) (in
continuous time SNR mse = SNR / (1 + SNR), whose integral over ln SNR this is), and other data are not far from it; so

    p_i = 0.9 (fall of ln(1 + SNR) over stratum i) / (fall over all) + 0.1 / (number of strata).

The second part bounds the weights 1 / p_i, even if a model errs where little error is expected.  [a defensive mixture:
Owen & Zhou 2000] A draw is stratified: one stratum comes from each of S slices of equal probability.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from gendi.diffusion.gaussian.schedule import Schedule
from gendi.diffusion.gaussian.schedule.levels import noise_time
from gendi.errors import UsageError

DEFENSIVE = 0.1
SMALLEST_NOISE = "a smallest noise of"
"""The name in messages of the level at which a likelihood begins."""
SLICES = 1000
"""Number of strata that the range of log-SNR is cut into in continuous time."""


def chain_times(
    schedule: Schedule, steps: int | None = None, grid: str = "uniform", smallest: float = 1e-3
) -> Float64[Tensor, " times"]:
    """Return the times 0 = t_0 < ... < t_n = 1 of a chain of n = `steps` steps, float64.

    For a discrete schedule these are all its T steps by default, or n of them at even distances. In continuous time
    `uniform` means t_i = i / n, and `log-snr` falls evenly in log-SNR from sigma / alpha = `smallest` at t_1 to t = 1.
    Raises `UsageError` for more steps than the schedule has, another grid, or a noise that the schedule does not reach.
    """
    most = schedule.steps
    if steps is None and most is None:
        raise UsageError(f"the {schedule.name} schedule is in continuous time: say how many steps its chain has.")
    n = most if steps is None else steps
    assert n is not None
    if n < 1 or (most is not None and n > most):
        limit = "at least 1 step" if most is None else f"1 to {most} steps"
        raise UsageError(f"steps = {n} is out of range: a chain of this schedule has {limit}.")
    if grid == "log-snr" and most is None:
        first = noise_time(schedule, smallest, SMALLEST_NOISE)
        high, low = schedule.log_snr(torch.tensor([float(first), 1.0], dtype=torch.float64)).tolist()
        times = (
            schedule.time(torch.linspace(high, low, n, dtype=torch.float64))
            if n > 1
            else torch.ones(1, dtype=torch.float64)
        )
        times[-1] = 1.0
        return torch.cat([torch.zeros(1, dtype=torch.float64), times])
    if grid != "uniform":
        raise UsageError(f"grid = {grid!r}: a chain is 'uniform' or, in continuous time, 'log-snr'.")
    if most is None:
        return torch.arange(n + 1, dtype=torch.float64) / n
    return torch.from_numpy(np.linspace(0, most, n + 1).round()) / most


@dataclass(frozen=True, eq=False)
class Strata:
    """Strata from data to noise, by the falling log-SNR at their edges (m + 1,) and the rising times of these."""

    log_snr: Float64[Tensor, " edges"]
    times: Float64[Tensor, " edges"]

    @classmethod
    def of_chain(cls, schedule: Schedule, times: Float64[Tensor, " times"]) -> "Strata":
        """Return the n - 1 steps of a chain that end above 0; the step to 0 belongs to the decoder."""
        return cls(schedule.log_snr(times[1:]), times[1:])

    @classmethod
    def of_range(cls, schedule: Schedule, smallest: float) -> "Strata":
        """Return equal slices of log-SNR between sigma / alpha = `smallest` and t = 1."""
        first = float(noise_time(schedule, smallest, SMALLEST_NOISE))
        high, low = schedule.log_snr(torch.tensor([first, 1.0], dtype=torch.float64)).tolist()
        log_snr = torch.linspace(high, low, SLICES + 1, dtype=torch.float64)
        times = schedule.time(log_snr)
        times[0], times[-1] = first, 1.0
        return cls(log_snr, times)

    def __len__(self) -> int:
        return len(self.times) - 1

    @cached_property
    def probability(self) -> Float64[Tensor, " strata"]:
        """The probability p_i of each stratum."""
        fall = -torch.nn.functional.softplus(self.log_snr).diff()
        return (1 - DEFENSIVE) * fall / fall.sum() + DEFENSIVE / len(self)

    def draw(
        self, rng: np.random.Generator, slices: int
    ) -> tuple[Int64[Tensor, " slices"], Float64[Tensor, " slices"]]:
        """Return one stratum in each of `slices` slices of equal probability, and 1 / (p_i slices) of each."""
        p = self.probability
        u = torch.from_numpy((np.arange(slices) + rng.random(slices)) / slices)
        i = torch.searchsorted(p.cumsum(0), u, right=True).clamp(max=len(self) - 1)
        return i, 1 / (p[i] * slices)

    def slice_edges(self, slices: int) -> Float64[Tensor, " slice_edges"]:
        """Return the times (slices + 1,) where the slices of equal probability meet, linear within a stratum."""
        at = np.concatenate([[0.0], self.probability.cumsum(0).numpy()])
        return torch.from_numpy(np.interp(np.linspace(0, 1, slices + 1), at / at[-1], self.times.numpy()))
