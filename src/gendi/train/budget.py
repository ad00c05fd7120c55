"""How much to train, in seconds, images or steps, and how much of that is done. The learning rate falls with it.

With a budget in images or steps, a run depends on its seed alone. With a budget in seconds, the clock decides when the
learning rate falls, so two such runs differ in the last bits of its schedule. Everything else about them is equally
reproducible.
"""

import math
from dataclasses import dataclass
from typing import Any, Self

from gendi.errors import UsageError
from gendi.machine.units import duration_in_words


@dataclass(frozen=True)
class Budget:
    """How much to train; exactly one of the three limits is set."""

    seconds: float | None = None
    images: int | None = None
    steps: int | None = None

    def __post_init__(self) -> None:
        limits = [limit for limit in (self.seconds, self.images, self.steps) if limit is not None]
        if len(limits) != 1:
            raise UsageError("give exactly one budget: a time, a number of images, or a number of steps.")
        if not 0 < limits[0] < 1e15:
            raise UsageError(f"a budget of {limits[0]:g} cannot be trained: it must be positive.")

    def progress(self, *, seconds: float, images: int, steps: int) -> float:
        """Return the share of the budget that is spent, 0 to 1."""
        spent = (
            seconds / self.seconds
            if self.seconds is not None
            else images / self.images
            if self.images is not None
            else steps / (self.steps or 1)
        )
        return min(1.0, spent)

    def seconds_left(self, *, seconds: float, steps: int, batch: int, step_seconds: float) -> float:
        """Return the remaining seconds of training, with `step_seconds` for each step of `batch` images."""
        if self.seconds is not None:
            return max(0.0, self.seconds - seconds)
        return (self.steps_left(seconds, steps, batch, None) or 0) * step_seconds

    def steps_left(self, seconds: float, steps: int, batch: int, step_seconds: float | None) -> int | None:
        """Return the remaining steps of `batch` images; None for a budget in seconds without `step_seconds`."""
        if self.seconds is not None:
            return None if step_seconds is None else max(0, math.ceil((self.seconds - seconds) / step_seconds))
        total = self.steps if self.images is None else -(-self.images // batch)
        return max(0, (total or 0) - steps)

    def __str__(self) -> str:
        if self.seconds is not None:
            return duration_in_words(self.seconds)
        return f"{self.images:,} images" if self.images is not None else f"{self.steps:,} steps"

    def to_dict(self) -> dict[str, Any]:
        """Return the one limit that is set, by name."""
        return {k: v for k, v in vars(self).items() if v is not None}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Read what `to_dict` wrote."""
        return cls(**data)
