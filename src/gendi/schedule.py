"""Noise schedules: how much signal and how much noise there is at time t.

A schedule maps t in [0, 1] (0 is data, 1 is noise) to alpha(t) and sigma(t) of the marginal q(x_t | x_0) = N(alpha x_0,
sigma^2 I). The paper's step i of T is t = i / T: a schedule with `steps=T` passes exactly through the products of the
paper's betas at those times, and interpolates log abar linearly between them; `steps=None` is the continuous limit.

Everything is float64, and 1 - abar is written -expm1(log abar): a float32 product errs by 1.7e-4 in 1 - abar at step 1.
"""

import math
from abc import ABC, abstractmethod

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from gendi.errors import UsageError, unknown_name

MAX_BETA = 0.999  # Nichol & Dhariwal 2021, section 3.2: keeps the last step of the cosine chain finite


class Schedule(ABC):
    """alpha(t) and sigma(t) of the Gaussian marginals; call it with times in [0, 1]."""

    name: str
    steps: int | None

    def __call__(self, t: Float[Tensor, " *times"]) -> tuple[Float64[Tensor, " *times"], Float64[Tensor, " *times"]]:
        """Return alpha and sigma at `t`, both float64 of t's shape. Raises `UsageError` outside [0, 1]."""
        t = t.double()
        if not bool(((t >= 0) & (t <= 1)).all()):
            raise UsageError(f"time must lie in [0, 1]; got values from {t.min().item():g} to {t.max().item():g}.")
        return self._alpha_sigma(t)

    @abstractmethod
    def _alpha_sigma(self, t: Tensor) -> tuple[Tensor, Tensor]: ...

    def log_snr(self, t: Float[Tensor, " *times"]) -> Float64[Tensor, " *times"]:
        """Return ln(alpha^2 / sigma^2), float64, +inf at t = 0 and falling in t."""
        alpha, sigma = self(t)
        return 2 * (alpha.log() - sigma.log())

    def time(self, log_snr: Float[Tensor, " *times"]) -> Float64[Tensor, " *times"]:
        """Return the t at which the log signal-to-noise ratio is `log_snr`, clamped to (0, 1]; float64, to 1e-12."""
        target = log_snr.double()
        low, high = torch.zeros_like(target), torch.ones_like(target)
        for _ in range(44):
            middle = (low + high) / 2
            above = self.log_snr(middle) > target
            low, high = torch.where(above, middle, low), torch.where(above, high, middle)
        return high

    def grid(self) -> Tensor:
        """Return the T + 1 times 0, 1/T, ..., 1 of the discrete chain. Raises `UsageError` for a continuous
        schedule.
        """
        if self.steps is None:
            raise UsageError(f"the {self.name} schedule was made in continuous time and has no discrete steps.")
        return torch.arange(self.steps + 1, dtype=torch.float64) / self.steps


class VariancePreserving(Schedule):
    """alpha^2 + sigma^2 = 1, given by log abar = 2 log alpha; a discrete chain is a table of it."""

    table: Tensor | None = None

    def __init__(self, steps: int | None = None) -> None:
        self.steps = steps
        if steps is not None:
            if steps < 1:
                raise UsageError(f"a chain needs at least 1 step; got {steps}.")
            log_abar = torch.log1p(-self._betas(steps)).cumsum(0)
            self.table = torch.cat([torch.zeros(1, dtype=torch.float64), log_abar])

    def _betas(self, steps: int) -> Tensor:
        """Return the T betas 1 - abar_i / abar_{i-1} of the continuous curve, capped."""
        log_abar = self._log_abar(torch.arange(steps + 1, dtype=torch.float64) / steps)
        return (-torch.expm1(log_abar.diff())).clamp(max=MAX_BETA)

    @abstractmethod
    def _log_abar(self, t: Tensor) -> Tensor:
        """Return log abar of the continuous curve."""

    def log_abar(self, t: Tensor) -> Tensor:
        """Return log abar(t), float64."""
        if self.table is None or self.steps is None:
            return self._log_abar(t)
        table = self.table.to(t.device)
        position = t * self.steps
        # i / T * T may fall an ulp short of i: a time that is a step to 1e-13 is that step
        position = torch.where((position - position.round()).abs() < 1e-13 * self.steps, position.round(), position)
        left = position.floor().long().clamp(max=self.steps - 1)
        return torch.lerp(table[left], table[left + 1], position - left)

    def _alpha_sigma(self, t: Tensor) -> tuple[Tensor, Tensor]:
        log_abar = self.log_abar(t)
        return (log_abar / 2).exp(), torch.expm1(log_abar).abs().sqrt()


class Linear(VariancePreserving):
    """Betas linear from 1e-4 to 2e-2 at T = 1000, scaled by 1000 / T otherwise.  [Ho et al. 2020, section 4]

    The continuous limit is beta(t) = 0.1 + 19.9 t.  [Song et al. 2021, appendix C]
    """

    name = "linear"

    def _betas(self, steps: int) -> Tensor:
        return (torch.linspace(1e-4, 2e-2, steps, dtype=torch.float64) * (1000 / steps)).clamp(max=MAX_BETA)

    def _log_abar(self, t: Tensor) -> Tensor:
        return -(0.1 * t + 9.95 * t * t)


class Cosine(VariancePreserving):
    """abar(t) = f(t) / f(0), f(t) = cos^2((t + s) / (1 + s) pi / 2), s = 0.008.  [Nichol & Dhariwal 2021, eq. 17]

    A chain takes its betas from that curve and caps the last one. The continuous curve has no last beta to cap: it
    ends a hair before f = 0, at the abar = 2.4e-9 of the capped chain of 1000 steps.
    """

    name = "cosine"
    offset = 0.008

    def _betas(self, steps: int) -> Tensor:
        log_abar = self._curve(torch.arange(steps + 1, dtype=torch.float64) / steps)
        return (-torch.expm1(log_abar.diff())).clamp(max=MAX_BETA)

    def _log_abar(self, t: Tensor) -> Tensor:
        return self._curve(t * (1 - 3.144e-5))  # the last angle has cos^2 = 2.4e-9

    def _curve(self, t: Tensor) -> Tensor:
        """Return log(f(t) / f(0)), and log 1e-40 where f is 0 but for round-off."""
        start = math.cos(self.offset / (1 + self.offset) * math.pi / 2)
        angle = (t + self.offset) / (1 + self.offset) * (math.pi / 2)
        return 2 * (angle.cos().clamp(min=1e-20) / start).log()


class Sigmoid(VariancePreserving):
    """abar(t) falls from 1 as a logistic curve between -3 and 3.  [Jabri et al. 2022; Chen 2023, table 1]

    The curve is mixed with 1e-9 of a constant so that it ends at abar = 1e-9 rather than 0.
    """

    name = "sigmoid"
    start, end, tau = -3.0, 3.0, 1.0

    def _log_abar(self, t: Tensor) -> Tensor:
        first, last = (1 / (1 + math.exp(-v / self.tau)) for v in (self.start, self.end))
        value = torch.sigmoid((self.start + t * (self.end - self.start)) / self.tau)
        abar = (last - value) / (last - first)
        return (abar + 1e-9 * (1 - abar)).log()


class VarianceExploding(Schedule):
    """The GENDI report's first formula, x_t = x_0 + sqrt(i beta) eps with i = t T: the signal stays, the variance
    grows.

    `variance` is T beta, the noise variance at t = 1; beta = variance / T, so that any T ends at the same noise.
    """

    name = "variance-exploding"

    def __init__(self, steps: int | None = None, variance: float = 400.0) -> None:
        if steps is not None and steps < 1:
            raise UsageError(f"a chain needs at least 1 step; got {steps}.")
        self.steps, self.variance = steps, variance

    def _alpha_sigma(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return torch.ones_like(t), (self.variance * t).sqrt()


SCHEDULES: dict[str, type[Linear] | type[Cosine] | type[Sigmoid] | type[VarianceExploding]] = {
    kind.name: kind for kind in (Linear, Cosine, Sigmoid, VarianceExploding)
}


def make_schedule(name: str, steps: int | None = None) -> Schedule:
    """Return the schedule `name` with T = `steps`, or continuous. Raises `UsageError` for an unknown name or steps <
    1.
    """
    if name not in SCHEDULES:
        raise unknown_name("schedule", name, SCHEDULES)
    return SCHEDULES[name](steps)
