"""When previews and held-out losses are made: the first within a minute of training, then at growing intervals.

They are made at multiples of `train.preview_every` images. If a run sees fewer images than that in its first half
minute, earlier ones are added at a half, a quarter, an eighth, ... of `preview_every`, so that the interval doubles
from one to the next until it is `preview_every`; runs of less than a minute have none of them. How many times it is
halved is chosen once, from the pace of the first seconds of the run, and kept in its checkpoints. All else is counted
in images, so a run that is resumed makes its previews at the steps of an uninterrupted one. The weights do not depend
on any of this.

An early preview is left out if fewer images than `SPARE` times its own work lie between it and the one before, so that
the slowest networks do not spend their first minutes on previews.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from gendi.train.budget import Budget

SETTLED = 5.0
"""Seconds of training after which the pace is taken."""
FIRST, LATEST = 30.0, 60.0
"""Seconds of training after which the first preview is begun, and after which it should be there."""
SHORT = 4
"""The first preview comes after this part of the budget, if that is sooner."""
SPARE = 10
MOST = 24
"""The most often that `preview_every` is halved."""


class Occasions:
    """Says after which steps there is a preview.

    Args:
        every: images between two previews, at least 1.
        work: the work of a preview, in images trained on.
        budget: the budget of the whole run.
        batch: images per step.
        state: what `state` gave; None if the checkpoint is of a version of gendi that made no early previews.
    """

    def __init__(self, every: int, work: float, budget: Budget, batch: int, state: Mapping[str, Any] | None) -> None:
        self.every, self.work, self.budget, self.batch = every, work, budget, batch
        self.halvings: int | None = 0 if state is None else state.get("halvings")
        """How often `every` is halved for the first preview; None until the pace is known."""

    def state(self) -> dict[str, int | None]:
        """Return what a checkpoint's state.json holds of this."""
        return {"halvings": self.halvings}

    def choose(self, seconds: float, images: int) -> int | None:
        """Return how often `every` is halved for a run that saw `images` in `seconds`; None if that is too early."""
        if seconds < SETTLED or not images:
            return None
        pace = images / seconds
        left = self.budget.seconds_left(
            seconds=seconds, steps=images // self.batch, batch=self.batch, step_seconds=self.batch / pace
        )
        if seconds + left < LATEST:
            return 0
        begun = min(FIRST, LATEST - self.work / pace, (seconds + left) / SHORT)
        first = max(1.0, begun * pace)
        return min(MOST, max(0, math.ceil(math.log2(self.every / first))))

    def early(self) -> Iterator[float]:
        """Yield the images after which there are previews before the first `every`, fewest first."""
        last = 0.0
        for k in range(self.halvings or 0, 0, -1):
            images = self.every / 2**k
            if not last or images - last >= SPARE * self.work:
                yield images
                last = images

    def passed(self, before: int, now: int) -> bool:
        """Return whether there is a preview between `before` and `now` images, the latter included."""
        return now // self.every > before // self.every or any(before < images <= now for images in self.early())
