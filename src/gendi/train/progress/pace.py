"""How fast a run trains at present, and how long it will still take.

A run may be continued on another machine, or beside other work, so the pace of earlier sittings says little about this
one. The pace is therefore that of the last minute of this sitting, previews and saves included. The pace in the run's
log counts only until this sitting has made a few steps.

A process may be paused as a whole, by Ctrl-Z or a batch system. That is no time of training: it counts neither in the
pace nor in the budget (`worked_seconds`).
"""

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

from gendi.train.budget import Budget

HORIZON = 60.0
"""Seconds over which the weight of a step falls to 1 / e."""
ENOUGH = 3
"""Steps of this sitting after which the log no longer counts."""
RECENT = 10
"""Number of lines of the log from which its pace is computed."""
LONGER, LEAST, IDLE = 10.0, 5.0, 0.1
"""A step is held to contain a pause if it took so many times as long as usual, so many seconds at least, and the
processor worked for less than this share of it."""


def worked_seconds(seconds: float, processor: float, usual: float | None) -> float:
    """Return how much of a step was work, and no pause of the whole process.

    A process that is paused uses no processor, which tells a pause from a step that is slow.

    Args:
        seconds: how long the step took.
        processor: the seconds of processor time that the process used in it.
        usual: how long a step usually takes; None if that is not known, and then all of it is work.
    """
    if usual is None or seconds < max(LONGER * usual, LEAST) or processor > IDLE * seconds:
        return seconds
    return min(seconds, max(usual, processor))


class Pace:
    """The mean seconds per step, in which recent steps count most.

    The first step of a sitting, in which libraries set themselves up, counts only until there is another.

    Args:
        budget: the budget of the whole run.
        batch: images per step.
        before: seconds per step of an earlier sitting; None if there was none.
    """

    def __init__(self, budget: Budget, batch: int, before: float | None = None) -> None:
        self.budget, self.batch, self._before = budget, batch, before
        self._steps = 0
        self._weight = self._seconds = 0.0
        self._processor = time.process_time()

    def lap(self, seconds: float) -> float:
        """Record one more step, which ended just now after `seconds`; return how much of that was no pause."""
        before, self._processor = self._processor, time.process_time()
        worked = worked_seconds(seconds, self._processor - before, self.step_seconds)
        self.took(worked)
        return worked

    def took(self, seconds: float) -> None:
        """Record one more step, which took `seconds`."""
        self._steps += 1
        fades = 0.0 if self._steps <= 2 else math.exp(-seconds / HORIZON)
        self._weight, self._seconds = 1 + fades * self._weight, seconds + fades * self._seconds

    @property
    def step_seconds(self) -> float | None:
        """Seconds per step; None if they are not known."""
        if self._before is not None and self._steps < ENOUGH:
            return self._before
        return self._seconds / self._weight if self._steps else None

    def fields(self, *, seconds: float, steps: int) -> dict[str, float]:
        """Return images_per_second and seconds_left after `seconds` and `steps` of the whole run.

        The result is empty if the pace is not known.
        """
        each = self.step_seconds
        if not each:
            return {}
        left = self.budget.seconds_left(seconds=seconds, steps=steps, batch=self.batch, step_seconds=each)
        return {"images_per_second": self.batch / each, "seconds_left": left}


def logged_pace(timings: Sequence[Mapping[str, Any]], step: int, seconds: float) -> float | None:
    """Return the seconds per step of a run just before its checkpoint; None at step 0.

    Args:
        timings: the lines of the run's timings.jsonl.
        step, seconds: step and seconds of the checkpoint; lines after it do not count.
    """
    before = [line for line in timings if line["step"] < step and line.get("seconds") is not None]
    points = [(0, 0.0), *((line["step"], line["seconds"]) for line in before), (step, seconds)]
    (first, start), (last, end) = points[-RECENT - 1 :][0], points[-1]
    return (end - start) / (last - first) if last > first and end > start else None
