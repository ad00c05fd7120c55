"""A denoiser whose answers are checked: if one is not finite or not of x_t's shape, an error names the call."""

from typing import Any

from torch import Tensor

from gendi.diffusion.gaussian.denoiser import Denoiser, LearnedVariance
from gendi.diffusion.gaussian.flow_map.contract import FlowMap
from gendi.errors import UsageError, diverged
from gendi.machine.stopping import Poll, may_stop


class Checked:
    """A denoiser that passes calls on, counts them, and checks each answer at a small part of the cost of a call.

    Args:
        denoiser: the denoiser to check.
        sampler: the name of the sampler that calls it, for messages.
        poll: called after every call; raise from it to stop.
    """

    def __init__(self, denoiser: Denoiser, sampler: str, poll: Poll | None = None) -> None:
        self.denoiser, self.sampler, self.poll, self.calls = denoiser, sampler, poll, 0
        self.schedule = denoiser.schedule

    def __call__(self, x_t: Tensor, t: Tensor, /, **cond: Any) -> Tensor:
        """Return the denoiser's answer. Raises `UsageError` for another shape, `DivergedError` for NaN or infinity."""
        x_0 = self.denoiser(x_t, t, **cond)
        self._check("x0_hat", x_0, x_t, t)
        self._count()
        return x_0

    def _count(self) -> None:
        self.calls += 1
        may_stop(self.poll)

    def _check(self, what: str, value: Tensor, x_t: Tensor, t: Tensor) -> None:
        if value.shape == x_t.shape and is_finite(value):
            return
        low, high = t.min().item(), t.max().item()
        times = f"t = {low:g}" if low == high else f"t from {low:g} to {high:g}"
        where = f"in call {self.calls + 1} of {self.sampler}, at {times}, for x_t of shape {tuple(x_t.shape)}"
        if value.shape != x_t.shape:
            raise UsageError(f"the denoiser returned {what} of shape {tuple(value.shape)} {where}; they must agree.")
        bad = int((~value.isfinite()).sum())
        cause = "x_t was finite" if bool(x_t.isfinite().all()) else "x_t was not finite either"
        raise diverged(
            f"the denoiser returned NaN or infinity in {bad:,} of {value.numel():,} values of {what} {where}; {cause}."
        )


def is_finite(value: Tensor) -> bool:
    """Return whether all values are finite, mostly in one pass: NaN and infinity do not leave a sum finite.

    A sum of large values can overflow, so each value is looked at where it did.
    """
    return bool(value.sum().isfinite()) or bool(value.isfinite().all())


class CheckedVariance(Checked):
    """A `Checked` denoiser with a learned variance."""

    denoiser: LearnedVariance

    def predict(self, x_t: Tensor, t: Tensor, /, **cond: Any) -> tuple[Tensor, Tensor]:
        """Return the denoiser's answer. Raises `UsageError` for another shape, `DivergedError` for NaN or infinity."""
        x_0, share = self.denoiser.predict(x_t, t, **cond)
        self._check("x0_hat", x_0, x_t, t)
        self._check("the variance's share", share, x_t, t)
        self._count()
        return x_0, share


class CheckedFlow(Checked):
    """A `Checked` flow map."""

    denoiser: FlowMap

    def move(self, x_t: Tensor, t: Tensor, s: Tensor, /, **cond: Any) -> Tensor:
        """Return the flow map's answer. Raises `UsageError` for another shape, `DivergedError` for NaN or infinity."""
        x_s = self.denoiser.move(x_t, t, s, **cond)
        self._check("x_s", x_s, x_t, t)
        self._count()
        return x_s


def checked(denoiser: Denoiser, sampler: str, poll: Poll | None = None) -> Checked:
    """Return `denoiser` with its answers checked."""
    if isinstance(denoiser, FlowMap):
        return CheckedFlow(denoiser, sampler, poll)
    kind = CheckedVariance if isinstance(denoiser, LearnedVariance) else Checked
    return kind(denoiser, sampler, poll)
