"""The registry of schedules: by name, the function that makes a schedule of T. It imports neither torch nor NumPy."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from gendi.machine.registry import Registry

if TYPE_CHECKING:
    from gendi.diffusion.gaussian.schedule.base import Schedule

_HERE = "gendi.diffusion.gaussian.schedule"

SCHEDULES: "Registry[Callable[[int | None], Schedule]]" = Registry(
    "schedule",
    "gendi.schedules",
    {
        "linear": f"{_HERE}.preserving:Linear",
        "cosine": f"{_HERE}.preserving:Cosine",
        "sigmoid": f"{_HERE}.preserving:Sigmoid",
        "variance-exploding": f"{_HERE}.paths:VarianceExploding",
        "sub-vp": f"{_HERE}.paths:SubVariancePreserving",
        "rectified-flow": f"{_HERE}.paths:RectifiedFlow",
    },
)
"""The functions that make a schedule, by name. Their argument is T, or None for continuous time. Add your own with
`register`, or through the entry points `gendi.schedules` of an installed package."""


def make_schedule(name: str, steps: int | None = None) -> "Schedule":
    """Return the schedule `name` with T = `steps`, or continuous.

    Raises `UsageError` for an unknown name or steps < 1.
    """
    return SCHEDULES.find(name)(steps)
