"""Evaluations during a run: quick metrics of samples of the averaged weights, a verdict on their course, and the best
model so far.

At multiples of `train.evaluate_every` images, the first process draws `SAMPLES` samples with `CALLS` calls of the
network, measures them by the gauge of their kind of data (`gendi.evaluate.gauge`), computes the held-out loss, writes
both to metrics.jsonl with the verdict of `gendi.train.progress.verdict`, and keeps the model in `bundle-best` if its
distance is the smallest so far and its samples are no copies. Nothing of this changes the weights.

**Honesty.** What measures samples is asked before the first evaluation which fakes it takes for real rows
(`gendi.train.progress.chosen_gauge`). If it takes any, the distance decides nothing: no run is called level by it, and
`bundle-best` is the last model that was evaluated.

**Cost and exactness.** Evaluations take at most `SHARE` of a run. What decides that depends on the budget:

- With a budget in images or steps, the clock decides nothing, so a run that is resumed writes the same lines and ends
  at the same step. The work of an evaluation is counted in training steps: a step of B rows is three forward passes of
  B rows, and a pass of fewer rows takes as long as one of B rows. If it is more than `SHARE` of the steps in between,
  only every k-th multiple is used, for the smallest k that suffices. If the clock then measures more than `SHARE`, the
  log says so once.
- With a budget in seconds, the clock decides when the learning rate falls in any case. An evaluation that is due is put
  off to the next multiple while all of them together, this one included, would exceed `SHARE` of the time.

A request to stop does not wait for an evaluation: it is abandoned, the checkpoint records that it is pending, and the
resumed run does it before the next step, from the same weights.
"""

import contextlib
import dataclasses
import functools
import math
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from gendi.diffusion.gaussian.samplers import Drawing
from gendi.diffusion.gaussian.samplers.grid import bounds_for
from gendi.errors import BundleError, DivergedError, ResourceError, UsageError
from gendi.evaluate.gauge import Gauge, Quantity
from gendi.storage.files import read_json
from gendi.storage.folders import current_folder, discard_folder
from gendi.train.job import Job
from gendi.train.kept.bundle import save_bundle
from gendi.train.kept.folders import BEST, CONFIG
from gendi.train.kept.status import Verdict
from gendi.train.progress.chosen_gauge import ChosenGauge
from gendi.train.progress.finish import bundle_of
from gendi.train.progress.heldout import Heldout, heldout_rows
from gendi.train.progress.keeping import Keeper
from gendi.train.progress.signals import StopFlag
from gendi.train.progress.verdict import WINDOW, Reading, judge
from gendi.train.step.trainer import Trainer
from gendi.train.weights.families import family_of

SAMPLES, CALLS, SAMPLER = 256, 8, "deis"
"""`deis` is deterministic, so that a change of the distance is one of the model. With the exact denoiser of a Gaussian
of correlation 0.9, 8 of its calls draw variances and covariance to 2%."""
SHARE = 0.05
ENOUGH = 4
"""Evaluations after which their share of the time is judged: the first one also sets up the gauge."""


class _Abandoned(Exception):
    """A request to stop arrived during an evaluation."""


class Evaluations:
    """Evaluates a run while it trains.

    Args:
        job: the run.
        trainer: its trainer.
        heldout: computes the held-out loss.
        keeper: writes the files of the run.
        stop: says whether a stop was requested.
        state: the state of the checkpoint from which the run goes on; empty for a new run.
    """

    def __init__(
        self,
        job: Job,
        trainer: Trainer,
        heldout: Heldout,
        keeper: Keeper,
        stop: StopFlag,
        state: Mapping[str, Any],
    ) -> None:
        self.job, self.trainer, self.heldout, self.keeper, self.stop = job, trainer, heldout, keeper, stop
        self.clocked = job.budget.seconds is not None
        self.every = trainer.config.train.evaluate_every
        state = state.get("evaluations", {})
        readings = state.get("readings", ())
        self.readings = [Reading(**{**reading, "parts": tuple(reading["parts"])}) for reading in readings]
        """The last readings of the run."""
        self.count = int(state.get("count", 0))
        self.level = bool(state.get("level", False))
        """Whether the run has been level for two evaluations, the last two."""
        self.pending = bool(state.get("pending", False))
        """Whether an evaluation of the present step was abandoned."""
        self.spent = float(state.get("spent", 0.0))
        self.took: float | None = state.get("took")
        choice = state.get("choice", {} if self.count else None)  # an older run has the usual features
        self.chosen = ChosenGauge(job, trainer, keeper.log, self._poll, choice)
        self.verdict: Verdict | None = self._judged()
        self._warned = False
        if keeper.first and not trainer.step_count and keeper.record.holds(keeper.run / BEST):
            with contextlib.suppress(OSError):
                discard_folder(keeper.run / BEST)  # a run that was killed before its first checkpoint left it
        self.best = _best(keeper)

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint's state.json holds of this."""
        return {
            "readings": [dataclasses.asdict(reading) for reading in self.readings],
            "count": self.count,
            "level": self.level,
            "pending": self.pending,
            "spent": self.spent,
            "took": self.took,
            "choice": None if self.chosen.choice is None else dataclasses.asdict(self.chosen.choice),
        }

    # --- when

    def after_step(self, seconds: float, *, last: bool = False) -> None:
        """Evaluate if it is time to. All processes call this after each step, and before the first of a sitting.

        Args:
            seconds: how long the run has trained.
            last: whether the run ends here. It is then evaluated once more, if it has been evaluated before.
        """
        self.chosen.seconds = seconds
        if not self.every or (self.readings and self.readings[-1].images == self.trainer.images_seen):
            return
        if not (self.pending or self._passed() or (last and self.count)):
            return
        team = self.trainer.team
        if not team.from_first(lambda: self._is_time(seconds, last)):
            self.pending = False
            return
        weights = self.trainer.average()
        outcome = team.from_first(lambda: self._evaluated(weights, seconds))
        self.readings, self.count, self.level, self.pending, self.verdict = outcome

    def _passed(self) -> bool:
        """Return whether the last step reached or passed a multiple of `every` images."""
        seen = self.trainer.images_seen
        return seen // self.every > (seen - self.trainer.config.train.batch_size) // self.every

    def _is_time(self, seconds: float, last: bool) -> bool:
        """Return whether to evaluate now. Where the clock decides nothing, the answer for a step is always the same."""
        try:
            if self.gauge is None:
                return False
        except _Abandoned:
            return True  # `_evaluated` abandons it again, so that it is pending
        if self.clocked and self.pending:
            return True
        if self.clocked:
            step = seconds / max(self.trainer.step_count, 1)
            expected = self.steps_of_work * step if self.took is None else self.took
            return self.spent + expected <= SHARE * seconds
        return last or (self.trainer.images_seen // self.every) % self.stride == 0

    @functools.cached_property
    def gauge(self) -> Gauge | None:
        """What measures samples; None if there are too few rows for it."""
        gauge = self.chosen.gauge
        self.spent += self.chosen.took
        if self.chosen.is_another:
            self.readings, self.best = [], None
        return gauge

    def _judged(self) -> Verdict | None:
        """Return the verdict on the run. A distance that takes fakes for real data cannot say that it is level."""
        verdict = judge(self.readings, self.count)
        return None if verdict == "level" and self.uncertain else verdict

    @property
    def uncertain(self) -> bool:
        """Whether the distance takes fakes for real data, and so decides nothing."""
        return bool(self.chosen.missed)

    @property
    def steps_of_work(self) -> float:
        """The work of an evaluation, in training steps."""
        size = self.trainer.config.train.batch_size
        passes = (self._calls + 1) * max(SAMPLES, size) / size  # the held-out loss takes about as much as a call
        return passes / 3 + self.chosen.steps(SAMPLES)

    @functools.cached_property
    def stride(self) -> int:
        """How many multiples of `every` lie between two evaluations, unless the clock decides."""
        steps = self.every / self.trainer.config.train.batch_size
        stride = max(1, math.ceil(self.steps_of_work / (SHARE * steps)))
        if stride > 1:
            self.keeper.log(
                f"note: samples are evaluated every {stride * self.every:,} images rather than {self.every:,}, so that "
                f"it takes at most {SHARE:.0%} of the training."
            )
        return stride

    @property
    def _calls(self) -> int:
        return int(self._quick["steps"])

    @property
    def _quick(self) -> Mapping[str, Any]:
        return family_of(self.trainer.config).quick(self.trainer.config, CALLS, SAMPLER)

    # --- what

    def _evaluated(
        self, weights: dict[str, Tensor], seconds: float
    ) -> tuple[list[Reading], int, bool, bool, Verdict | None]:
        """Evaluate the averaged weights, whole; return what all processes must know."""
        begun = time.monotonic()
        try:
            mean, found = self._measure(weights)
        except _Abandoned:
            return self.readings, self.count, self.level, True, self.verdict
        except DivergedError as error:
            self.keeper.log(f"warning: the samples at step {self.trainer.step_count} cannot be measured. {error}")
            return self.readings, self.count, self.level, False, self.verdict
        reading, before = reading_of(self.trainer.images_seen, found, mean), self.verdict
        self.readings, self.count = [*self.readings, reading][-WINDOW:], self.count + 1
        self.verdict = self._judged()
        self.level = before == self.verdict == "level"
        smaller = self.best is None or reading.distance < self.best
        is_best = not reading.looks_copied and (smaller or self.uncertain)
        self._write(found, mean)
        if is_best:
            self._keep(weights, found, seconds)
        self.took = time.monotonic() - begun
        self.spent += self.took
        self._account(seconds)
        return self.readings, self.count, self.level, False, self.verdict

    def _measure(self, weights: dict[str, Tensor]) -> tuple[float, tuple[Quantity, ...]]:
        """Return the held-out loss and the quick metrics. The samples start from the same noises every time."""
        trainer, data = self.trainer, self.trainer.data
        gauge, seed = self.gauge, trainer.config.train.seed
        assert gauge is not None, "the gauge decides whether it is time"
        denoiser = trainer.ema_denoiser(weights=weights)
        mean, _ = self.heldout(denoiser)
        self._poll()
        denoiser.clip = 1.0 if trainer.config.sample.clip else None
        denoiser.under(trainer.objective.sampling_schedule())
        cond = self._conditions
        how = Drawing(**self._quick, seed=seed, device=trainer.device, batch_size=SAMPLES)
        how = dataclasses.replace(how, bounds=bounds_for(trainer.smallest_scale))
        x = family_of(trainer.config).draw(denoiser, data.fitted.shape, SAMPLES, how, cond, self._poll)
        rows = data.fitted.decode(x.cpu(), {name: value.cpu() for name, value in cond.items()}, seed, 0)
        return mean, gauge(rows.numpy(), self._poll)

    @functools.cached_property
    def _conditions(self) -> dict[str, Tensor]:
        """The conditions of the samples: those of held-out rows, so that they are as frequent as in the data.

        With the conditions of training rows, such as coarse copies of pictures, samples would rightly be like them.
        """
        data, specs = self.trainer.data, self.trainer.config.conditions
        return heldout_rows(data, specs, np.arange(SAMPLES, dtype=np.int64) % len(data.heldout))[1]

    def _poll(self) -> None:
        if self.stop.requested:
            raise _Abandoned

    def _write(self, found: tuple[Quantity, ...], heldout: float) -> None:
        shown = ("value", "error", "floor", "floor_error")
        entry = {q.name: {name: getattr(q, name) for name in shown} for q in found}
        step, images = self.trainer.step_count, self.trainer.images_seen
        evaluation: dict[str, Any] = {"n": SAMPLES, "heldout": heldout, "metrics": entry, "verdict": self.verdict}
        unsure = "too early to say"
        if self.uncertain:
            evaluation["missed"] = list(self.chosen.missed)
            unsure = "uncertain"
        self.keeper.metrics.metrics(step, images=images, evaluation=evaluation)
        texts = ", ".join(map(_text, found))
        self.keeper.log(f"step {step}: {texts}, held-out loss {heldout:.4f}: {self.verdict or unsure}")

    def _keep(self, weights: dict[str, Tensor], found: tuple[Quantity, ...], seconds: float) -> None:
        """Write the best bundle. If the disk refuses, the one before stays."""
        bundle = bundle_of(self.trainer, weights, self.job.size, seconds)
        bundle.meta["metrics"] = {q.name: {"value": q.value, "floor": q.floor} for q in found}
        bundle.meta["distance"] = found[0].value
        try:
            self.keeper.record.claim(self.keeper.run / BEST)
            save_bundle(self.keeper.run / BEST, bundle)
            self.best = found[0].value
        except (ResourceError, UsageError) as error:
            self.keeper.log(f"warning: {error} The best model so far, of step {self.trainer.step_count}, is not kept.")

    def _account(self, seconds: float) -> None:
        """Write how long evaluations have taken; with a budget that is not in seconds, say once if it is too long."""
        share = self.spent / max(seconds + (self.took or 0.0), 1e-9)
        fields = {"evaluation_seconds": self.took, "evaluation_share": share}
        self.keeper.metrics.timings(self.trainer.step_count, seconds=seconds, **fields)
        if not self.clocked and share > SHARE and self.count >= ENOUGH and not self._warned:
            self._warned = True
            self.keeper.log(
                f"note: evaluations have taken {share:.0%} of the time. --evaluate-every {2 * self.every} would halve "
                "that, and 0 would leave them out."
            )


def was_level(state: Mapping[str, Any]) -> bool:
    """Return whether a run was level for two evaluations at the checkpoint with this state."""
    found = state.get("evaluations")
    return isinstance(found, Mapping) and found.get("level") is True


def reading_of(images: int, found: tuple[Quantity, ...], heldout: float) -> Reading:
    """Return what the verdict needs of the images seen, the quick metrics, and the held-out loss."""
    distance, likeness = found[0], found[1] if len(found) > 1 else None
    return Reading(
        images,
        distance.value,
        distance.error,
        distance.floor or 0.0,
        distance.floor_error or 0.0,
        None if likeness is None else likeness.value,
        0.0 if likeness is None else likeness.floor_error or 0.0,
        heldout if math.isfinite(heldout) else None,
        distance.parts,
    )


def _text(found: Quantity) -> str:
    floor = "" if found.floor is None else f" (floor {found.floor:.3g})"
    return f"{found.name} {found.value:.3g} ± {found.error:.1g}{floor}"


def _best(keeper: Keeper) -> float | None:
    """Return the distance of the best bundle of the run; None if there is none that can be read."""
    path = current_folder(keeper.run / BEST) / CONFIG
    if not path.is_file():
        return None
    try:
        data = read_json(path)
    except BundleError:
        return None
    meta = data.get("meta") if isinstance(data, dict) else None
    found = meta.get("distance") if isinstance(meta, dict) else None
    return float(found) if isinstance(found, int | float) and math.isfinite(found) else None
