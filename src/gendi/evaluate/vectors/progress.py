"""What an evaluation of rows says while it runs: about how long it still takes."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

Tell = Callable[[str], None]
EVERY, LEAST = 15.0, 10.0
"""Seconds between two lines; an evaluation with less ahead of it says nothing."""


@dataclass
class Progress:
    """The units of work of an evaluation, and what they took. Every unit takes about as long as the first one.

    `tell` is given a line of text; None says nothing.
    """

    units: float
    tell: Tell | None = None
    done: float = 0.0
    began: float = field(default_factory=time.perf_counter)
    said: float = -1e9

    def step(self, what: str, units: float = 1.0) -> None:
        """Count units that are done, and say what was done and how long the rest may take, where that is long."""
        self.done += units
        now = time.perf_counter()
        ahead = (now - self.began) / self.done * (self.units - self.done)
        if self.tell is not None and ahead >= LEAST and now - self.said >= EVERY:
            self.said = now
            self.tell(f"{what}; about {_duration(ahead)} more")


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(5, 5 * round(seconds / 5))} s"
    return f"{round(seconds / 60)} min"
