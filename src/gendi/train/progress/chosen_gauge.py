"""What measures the samples of a run while it trains: how it is chosen, what it takes for real rows, and its work.

Before the first evaluation the kind of data chooses what measures samples, and asks which fakes this takes for real
rows (`Kind.choose_gauge`). If it takes any, the distance decides nothing. The choice is kept in the checkpoints, so a
run that is resumed has the same. Learning features for it takes at most the share `LEARNING` of the run, counted as
work: floating-point operations of training steps.
"""

import dataclasses
import functools
import math
import time
from collections.abc import Callable, Mapping
from typing import Any

from gendi.data.kinds import kind_of
from gendi.errors import DataError, UsageError
from gendi.evaluate.gauge import Gauge, GaugeChoice
from gendi.train.job import Job
from gendi.train.step.trainer import Trainer
from gendi.train.weights.model import run_cost

LEARNING = 0.1
"""The most that learning features takes, as a share of the run. This comes once, and does not count in the share of
evaluations."""


class ChosenGauge:
    """The gauge of a run, made when it is first needed.

    Args:
        job: the run.
        trainer: its trainer.
        log: writes a line into the log of the run.
        poll: is called between parts of the work, and raises to stop.
        choice: what `GaugeChoice` a checkpoint kept; None for a run without any.
    """

    def __init__(
        self,
        job: Job,
        trainer: Trainer,
        log: Callable[[str], None],
        poll: Callable[[], None],
        choice: Mapping[str, Any] | None,
    ) -> None:
        self.job, self.trainer, self._log, self._poll = job, trainer, log, poll
        self.choice = None if choice is None else GaugeChoice(**{**choice, "missed": tuple(choice.get("missed", ()))})
        """What measures the samples; None before the first evaluation."""
        self.seconds = 0.0
        """How long the run has trained; its owner says so."""
        self.took = 0.0
        """Seconds that making the gauge took, unless features had to be learned for it."""
        self.is_another = False
        """Whether this machine learned other features than those of the checkpoint."""

    @functools.cached_property
    def gauge(self) -> Gauge | None:
        """What measures samples; None if there are too few rows for it."""
        kind, data, seed = kind_of(self.job.data.kind), self.job.data, self.trainer.config.train.seed
        try:
            if self.choice is None:
                self.choice = kind.choose_gauge(data, seed, LEARNING * self._work_of_run, self._poll)
                self._say_choice(self.choice)
            begun = time.monotonic()
            others = {"features": self.choice.features, "poll": self._poll} if self.choice.features else {}
            gauge = kind.gauge(data, seed, **others)
        except (DataError, UsageError) as error:
            self._log(f"note: the samples of this run are not evaluated. {error}")
            return None
        if not others:
            self.took = time.monotonic() - begun
        if self.choice.sha256 and getattr(gauge, "sha256", "") != self.choice.sha256:
            self.choice = dataclasses.replace(self.choice, sha256=getattr(gauge, "sha256", ""))
            self.is_another = True
            self._log(
                "note: the features that were learned on this machine are not those of the checkpoint, so distances "
                "are compared from here on only."
            )
        return gauge

    @property
    def missed(self) -> tuple[str, ...]:
        """The fakes that the distance takes for real rows; if there are any, it decides nothing."""
        return () if self.choice is None else self.choice.missed

    def steps(self, samples: int) -> float:
        """Return the work of measuring so many samples, in training steps."""
        return 0.0 if self.gauge is None else self.gauge.work(samples) / max(self._work_of_step, 1.0)

    @property
    def _work_of_run(self) -> float:
        """The floating-point operations of the training steps of the whole run; by the pace so far if time limits it.

        It depends on the budget alone if that is in images or steps.
        """
        size, budget = self.trainer.config.train.batch_size, self.job.budget
        if budget.seconds is not None:
            steps = self.trainer.step_count * budget.seconds / max(self.seconds, 1e-9)
        else:
            steps = budget.steps or math.ceil((budget.images or 0) / size)
        return steps * self._work_of_step

    @property
    def _work_of_step(self) -> float:
        size = self.trainer.config.train.batch_size
        return 3 * run_cost(self.trainer.config, self.trainer.data.fitted.shape).flops * size

    def _say_choice(self, choice: GaugeChoice) -> None:
        if choice.features and not choice.missed:
            self._log(
                f"note: samples are measured by {choice.features} features, as the usual ones take fakes for real data."
            )
        if choice.missed:
            self._log(
                f"note: the quick metric takes fakes for real data here ({', '.join(choice.missed)}), so it decides "
                "nothing: whether the run is level is uncertain, and bundle-best is the last model evaluated, not the "
                "best one. `gendi evaluate` has better features."
            )
