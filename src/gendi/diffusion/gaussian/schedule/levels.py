"""Noise levels: sigma / alpha, which a schedule turns into a time."""

import torch
from jaxtyping import Float64
from torch import Tensor

from gendi.diffusion.gaussian.schedule.base import Schedule
from gendi.errors import UsageError


def noise_time(schedule: Schedule, noise: float, what: str = "a noise level of") -> Float64[Tensor, ""]:
    """Return the time at which sigma / alpha is `noise`.

    Raises `UsageError` unless the level lies above 0 and within the schedule; `what` is its name in the message.
    """
    largest = float((-0.5 * schedule.log_snr(torch.ones((), dtype=torch.float64))).exp())
    if not 0 < noise <= largest:
        raise UsageError(
            f"{what} {noise:g} is out of range: it must be above 0 and at most {largest:.6g}, the most noise that "
            "the schedule reaches."
        )
    return schedule.time(-2 * torch.tensor(noise, dtype=torch.float64).log())
