"""How fast a run trains at present, and how long it still has to.

A run may go on on another machine, or beside other work: what earlier sittings took says little of this one. So the
pace is that of the last minute of this sitting, previews and saves included, and what the run's own log says counts
only until there are steps to go by.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from gendi.train.budget import Budget

HORIZON = 60.0
"""Seconds over which the weight of a step falls to 1 / e."""
ENOUGH = 3
"""Steps of this sitting after which the log is no longer asked."""
RECENT = 10
"""Lines of the log that are."""


class Pace:
    """Seconds per step, recent ones counting most.

    The first step of a sitting, in which libraries set themselves up, counts only until there is another.

    Args:
        budget: how much is trained in all.
        batch: images per step.
        before: seconds per step of an earlier sitting, None if there is none.
    """

    def __init__(self, budget: Budget, batch: int, before: float | None = None) -> None:
        self.budget, self.batch, self._before = budget, batch, before
        self._steps = 0
        self._weight = self._seconds = 0.0

    def took(self, seconds: float) -> None:
        """Take in one more step that took so many seconds."""
        self._steps += 1
        fades = 0.0 if self._steps <= 2 else math.exp(-seconds / HORIZON)
        self._weight, self._seconds = 1 + fades * self._weight, seconds + fades * self._seconds

    @property
    def step_seconds(self) -> float | None:
        """Seconds per step, None if nothing is known."""
        if self._before is not None and self._steps < ENOUGH:
            return self._before
        return self._seconds / self._weight if self._steps else None

    def fields(self, *, seconds: float, steps: int) -> dict[str, float]:
        """Return images_per_second and seconds_left after so many seconds and steps in all; empty if nothing is
        known.
        """
        each = self.step_seconds
        if not each:
            return {}
        left = self.budget.seconds_left(seconds=seconds, steps=steps, batch=self.batch, step_seconds=each)
        return {"images_per_second": self.batch / each, "seconds_left": left}


def logged_pace(timings: Sequence[Mapping[str, Any]], step: int, seconds: float) -> float | None:
    """Return the seconds per step with which a run came to its checkpoint; None at step 0.

    Args:
        timings: the lines of its timings.jsonl.
        step, seconds: of the checkpoint; lines after it do not count.
    """
    points = [(0, 0.0), *((line["step"], line["seconds"]) for line in timings if line["step"] < step), (step, seconds)]
    (first, start), (last, end) = points[-RECENT - 1 :][0], points[-1]
    return (end - start) / (last - first) if last > first and end > start else None
