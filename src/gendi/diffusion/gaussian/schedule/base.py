"""The contract of a schedule, and its forward SDE.

A schedule is the pair (alpha, sigma); the Gaussian marginals N(alpha x_0, sigma^2 I) are those of one affine SDE

    dx = f(t) x dt + g(t) dw,    f = d ln alpha / dt,    g^2 = d sigma^2 / dt - 2 f sigma^2 = -sigma^2 d log SNR / dt

(Kingma et al. 2021, section 3.1 and appendix A; Song et al. 2021, section 3.4), so `rates` follows from the same curve.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TypeAlias

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from gendi.errors import UsageError

Times: TypeAlias = float | int | Float[Tensor, " *times"]
"""Times in [0, 1]: a plain number, such as 0.5, or a tensor of any shape."""
FARTHEST = 300.0
"""`Schedule.time` clamps log-SNRs to this magnitude: the square of its exponential is still a float64."""


def checked_steps(steps: int | None) -> int | None:
    """Return `steps`. Raises `UsageError` below 1."""
    if steps is not None and steps < 1:
        raise UsageError(f"a chain needs at least 1 step; got {steps}.")
    return steps


def as_times(t: Times) -> Tensor:
    """Return times as a tensor: a tensor as it is, and a number as a float64 tensor of shape ()."""
    return t if isinstance(t, Tensor) else torch.tensor(t, dtype=torch.float64)


def bisect(curve: Callable[[Tensor], Tensor], target: Tensor) -> Tensor:
    """Return t in (0, 1], to 2^-44, at which a falling curve has the values `target`; 1 for values below its end."""
    low, high = torch.zeros_like(target), torch.ones_like(target)
    for _ in range(44):
        middle = (low + high) / 2
        above = curve(middle) > target
        low, high = torch.where(above, middle, low), torch.where(above, high, middle)
    return high


class Schedule(ABC):
    """alpha(t) and sigma(t) of the Gaussian marginals; call it with times in [0, 1]."""

    name: str
    steps: int | None

    def __call__(self, t: Times) -> tuple[Float64[Tensor, " *times"], Float64[Tensor, " *times"]]:
        """Return alpha and sigma at `t`, both float64 of t's shape. Raises `UsageError` outside [0, 1]."""
        return self._alpha_sigma(self._checked(t))

    def __repr__(self) -> str:
        return f"Schedule({self.name}, {'continuous time' if self.steps is None else f'{self.steps:,} steps'})"

    def rates(self, t: Times) -> tuple[Float64[Tensor, " *times"], Float64[Tensor, " *times"]]:
        """Return f and g^2 of the forward SDE dx = f x dt + g dw at `t`, float64 of t's shape.

        On a chain, whose log abar is piecewise linear, a time i / T belongs to step i, and 0 to step 1. Raises
        `UsageError` outside [0, 1].
        """
        return self._rates(self._checked(t))

    @abstractmethod
    def _alpha_sigma(self, t: Tensor) -> tuple[Tensor, Tensor]: ...

    @abstractmethod
    def _rates(self, t: Tensor) -> tuple[Tensor, Tensor]: ...

    def log_snr(self, t: Times) -> Float64[Tensor, " *times"]:
        """Return ln(alpha^2 / sigma^2), float64, +inf at t = 0 and falling in t."""
        alpha, sigma = self(t)
        return 2 * (alpha.log() - sigma.log())

    def time(self, log_snr: Times) -> Float64[Tensor, " *times"]:
        """Return the t at which the log signal-to-noise ratio is `log_snr`, clamped to (0, 1]; float64.

        The error is at most 1e-12, and 1e-12 of t if the schedule has an inverse in closed form.
        """
        return self._time(as_times(log_snr).double().clamp(-FARTHEST, FARTHEST)).clamp(max=1)

    def _time(self, log_snr: Tensor) -> Tensor:
        """Return the t > 0 of a log-SNR; for one below the schedule's last, any value of 1 or more."""
        return bisect(self.log_snr, log_snr)

    def grid(self) -> Tensor:
        """Return the T + 1 times 0, 1/T, ..., 1 of the discrete chain.

        Raises `UsageError` for a continuous schedule.
        """
        if self.steps is None:
            raise UsageError(
                f"the {self.name} schedule was made in continuous time and has no discrete steps. A chain has them, "
                "which is made with their number: steps=1000."
            )
        return torch.arange(self.steps + 1, dtype=torch.float64) / self.steps

    def _checked(self, t: Times) -> Tensor:
        """Return times in [0, 1] as a float64 tensor. Raises `UsageError` outside, which says how steps are times."""
        t = as_times(t).double()
        inside = 0 <= t.item() <= 1 if t.ndim == 0 else bool(((t >= 0) & (t <= 1)).all())
        if inside:
            return t
        low, high = t.min().item(), t.max().item()
        got = f"got {low:g}" if low == high else f"got values from {low:g} to {high:g}"
        hint, steps = "0 is data and 1 is noise.", self.steps
        if steps is not None and 1 < high <= steps and high == int(high):
            hint = f"Step i of T = {steps} is the time i / T: write {int(high)} / {steps} for step {int(high)}."
        elif steps is None and high > 1 and high == int(high):
            hint = "0 is data and 1 is noise; step i of a chain of T steps is the time i / T."
        raise UsageError(f"time must lie in [0, 1]; {got}. {hint}")
