"""The scale w of guidance: a number, or a function of time."""

import math
from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

from gendi.diffusion.gaussian.process import PerSample, PerSample64
from gendi.diffusion.gaussian.schedule import Schedule
from gendi.errors import UsageError

Scale: TypeAlias = float | Callable[[Tensor], Tensor | float]
"""w, or a function of the times t (float64, () or (B,)) that returns a number or w of t's shape."""


def by_log_snr(function: Callable[[Tensor], Tensor | float], schedule: Schedule) -> Callable[[Tensor], Tensor | float]:
    """Return, as a function of time, a function of the log signal-to-noise ratio ln(alpha^2 / sigma^2)."""
    return lambda t: function(schedule.log_snr(t))


def checked_scale(scale: Scale, signed: bool = False) -> Scale:
    """Return `scale`. Raises `UsageError` for NaN and infinity and, unless `signed`, for a number below 0."""
    if not callable(scale) and not (math.isfinite(scale) and (signed or scale >= 0)):
        raise UsageError(_refusal(scale, signed))
    return scale


def scale_at(scale: Scale, t: PerSample, signed: bool = False) -> PerSample64:
    """Return w at the times t, float64 of their shape.

    Raises `UsageError` if a function returns another shape, or a value that `checked_scale` refuses.
    """
    t = t.double()
    if not callable(scale):
        return torch.full_like(t, scale)
    w = torch.as_tensor(scale(t), dtype=torch.float64, device=t.device)
    if w.ndim and w.shape != t.shape:
        raise UsageError(f"the guidance scale returned shape {tuple(w.shape)} for times of shape {tuple(t.shape)}.")
    bad = ~w.isfinite() if signed else ~(w.isfinite() & (w >= 0))
    if bool(bad.any()):
        raise UsageError(_refusal(w[bad].flatten()[0].item(), signed))
    return w.expand(t.shape)


def _refusal(value: float, signed: bool) -> str:
    allowed = "a finite number" if signed else "a finite number of 0 or more"
    more = "" if signed or not value < 0 else " To move away from a condition, give it as the negative condition."
    return f"guidance scale {value:g} is out of range: it must be {allowed} (1 is no guidance).{more}"
