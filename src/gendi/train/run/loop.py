"""The training loop, which trains on a data set and writes a run folder with a bundle in it.

    open data, lock the folder -> go on from the newest checkpoint, or start -> probe -> step, log, preview, save ->
    bundle

Calling `train` again resumes the run where it stopped. Every decision of the loop is written to `train.log`.
"""

import contextlib
import dataclasses
import functools
import time
from pathlib import Path
from typing import Any

from torch import Tensor

from gendi.data import Data, open_data
from gendi.data.codec import Codec
from gendi.data.codec_files import read_codec, write_codec
from gendi.data.kinds import as_text
from gendi.errors import ResourceError, UsageError, is_out_of_memory
from gendi.machine.distributed import Team, together
from gendi.machine.units import duration_in_words
from gendi.storage.disk import check_writable
from gendi.storage.lock import RunLock
from gendi.train.budget import Budget
from gendi.train.config import RunConfig
from gendi.train.job import Job, TrainResult
from gendi.train.kept.autoencoder import CODEC, check_latents, in_latents, refuse_among_autoencoders
from gendi.train.kept.belongings import check_place, take_over
from gendi.train.kept.bundle import Bundle, save_bundle
from gendi.train.kept.checkpoint import Checkpoint, clean_stale, list_checkpoints
from gendi.train.kept.folders import BUNDLE, check_folders, elsewhere, has_ended
from gendi.train.kept.identity import Identity, identity_of
from gendi.train.kept.resume import refuse_changes, smoothed_as_before
from gendi.train.kept.snapshots import drop_later
from gendi.train.kept.start import as_before, check_kind, check_start, codec_of, start_of
from gendi.train.kept.status import TIMINGS, read_lines, write_status
from gendi.train.progress.evaluating import Evaluations, was_level
from gendi.train.progress.finish import bundle_of
from gendi.train.progress.heldout import Heldout
from gendi.train.progress.keeping import Keeper, write_config, write_end
from gendi.train.progress.pace import Pace, logged_pace
from gendi.train.progress.previews import Previews
from gendi.train.progress.signals import StopFlag
from gendi.train.progress.telling import Console, Silent
from gendi.train.progress.watch import Watch
from gendi.train.run.agreement import agreed
from gendi.train.run.going_on import newest_checkpoint, restore
from gendi.train.run.introduction import introduction, setting_of
from gendi.train.run.room import require_room
from gendi.train.step.parts import out_of_memory
from gendi.train.step.probe import Choice
from gendi.train.step.resolve import grouped, prepared, resolve
from gendi.train.step.trainer import StepResult, Trainer


def train(
    spec: Any,
    config: RunConfig,
    run: Path,
    budget: Budget,
    *,
    size: int | tuple[int, int] | None = None,
    max_bad: int | None = None,
    fresh: bool = False,
    allow_data_change: bool = False,
    console: Console | None = None,
    init: str | Path | Bundle | None = None,
    autoencoder: str | Path | Codec | None = None,
    split_by: str | None = None,
) -> TrainResult:
    """Train on the data `spec` until the budget is spent; write everything into the folder `run`.

    Args:
        spec: see `gendi.data.open_data`.
        config: the configuration of the run.
        run: the folder of the run, which is made if it is missing. If it holds a run, this run is resumed.
        budget: how much to train in all, including earlier sittings.
        size: see `gendi.data.open_data`.
        max_bad: see `gendi.data.open_data`.
        fresh: start over. The files of the old run are deleted once the data are open and the folder is locked.
        allow_data_change: resume even if the data differ from those of the checkpoint.
        console: shows what happens.
        init: a run, a bundle or a model whose weights the run starts from; see `gendi.train.kept.start`. A run that is
            resumed has its own weights and does not read it.
        autoencoder: the folder of an autoencoder, or one that was read, in whose latents a new run works; see
            `gendi.train.kept.autoencoder`.
        split_by: see `gendi.data.open_data`.

    Raises:
        UsageError: the configuration does not fit the data, or differs from that of the run; the text names the fields.
        DataError: the data are missing or bad, or differ from those of the run.
        BundleError: a checkpoint, or the model in `init`, is damaged.
        ResourceError: the memory or the disk is too small.
        DivergedError: three steps in a row had no finite loss or gradient.
        PreemptedError: a signal of the system stopped the run; everything is saved.
        InterruptedRunError: a person stopped the run; everything is saved.
    """
    config.validate()
    spec = as_text(spec)
    with together(config.train.timeout) as team:
        console = console if console is not None and team.first else Silent()
        # This comes before anything is written, so that bad data or missing conditions leave no folder behind.
        team.from_first(lambda: check_place(run, spec))
        refuse_among_autoencoders(run)
        data = team.first_before_others(lambda: open_data(spec, size=size, max_bad=max_bad, split_by=split_by))
        team.from_first(lambda: check_folders(run))
        going_on = not fresh and bool(list_checkpoints(run))
        start = team.first_before_others(lambda: start_of(run, init, going_on, fresh))
        check_kind(start, data)
        source = None if start is None else start.bundle
        own = source is None and not fresh and (run / "codec").is_dir()
        before = read_codec(run / "codec") if own else None if source is None else source.codec
        opened, requested = data, config
        requested = smoothed_as_before(requested, run, going_on)
        config, data = team.first_before_others(lambda: grouped(requested, opened, before, own))
        about_latents: dict[str, Any] = {"going_on": going_on, "start": start, "allow_data_change": allow_data_change}
        data = in_latents(data, autoencoder, run, **about_latents)
        check_latents(config, data)
        config = as_before(resolve(config, data), start)
        check_start(start, config, data)
        team.from_first(lambda: check_writable(run))
        with contextlib.ExitStack() as held, StopFlag() as stop:

            def lock() -> None:
                try:
                    held.enter_context(RunLock(run))
                except UsageError as error:
                    raise error.mended_by(elsewhere(run)) from None

            team.from_first(lock)
            try:
                job = Job(data, config, run, budget, size, fresh, allow_data_change, start)
                return _Loop(job, console, stop, team).run_all()
            except BaseException as error:
                shown = out_of_memory(config, data, team) if is_out_of_memory(error) else error
                if team.first:
                    write_end(run, stop.reason, shown)
                if shown is error:
                    raise
                raise shown from error


class _Loop:
    def __init__(self, job: Job, console: Console, stop: StopFlag, team: Team) -> None:
        self.job, self.data, self.config, self.run, self.budget = job, job.data, job.config, job.run, job.budget
        self.console, self.stop, self.team = console, stop, team
        self.identity = team.from_first(self._tidy)
        train = self.config.train
        self.keeper = Keeper(self.run, train.checkpoint_every, train.keep, console, team.first)
        self.log = self.keeper.log
        self.seconds, self.level = 0.0, False
        self.pace = Pace(self.budget, train.batch_size)
        self.watch = Watch(self.keeper, self.config, self.data.train)

    def _tidy(self) -> Identity:
        for remark in take_over(self.run, self.job.fresh, self.data.codec is None or self.data.codec.once):
            self.console.say(remark)
        clean_stale(self.run)
        size = (self.job.size,) * 2 if isinstance(self.job.size, int) else self.job.size
        data, allowed = self.data, self.job.allow_data_change
        refuse_changes(self.run, self.config, data.fingerprint, allowed, size, data.split_by)
        return identity_of(self.run)

    # --- the run ---------------------------------------------------------------------------------------------------

    def run_all(self) -> TrainResult:
        """Set up, start or resume, train, and finish the run."""
        for note in self.data.remarks():
            self.log(note)
        header = self._peek()
        if header is not None and has_ended(self.run) and self._over(header):
            return self._result(header.step, finished=True, already=True)
        self.data = self.team.first_before_others(self._prepare)
        self.watch.forms = self.data.forms
        choice = Choice(**header.state["choice"]) if header is not None else None
        if choice is None and "auto" in (self.config.train.precision, self.config.train.layout):
            self.console.say("probing which arithmetic and memory layout are fastest here")
        self.trainer = Trainer(self.config, self.data, choice, self.job.start)
        self.team.from_first(lambda: self._write_config())
        if header is not None:
            self._restore(header)
        self.team.from_first(self._make_ready)
        about = introduction(self.trainer, self.config, self.budget, self.run, going_on=header is not None)
        for line in about:
            self.log(line)
        pace = self.pace.step_seconds
        self.team.from_first(
            lambda: require_room(self.run, self.trainer, self.budget, self.log, seconds=self.seconds, step_seconds=pace)
        )
        seed, device = self.config.train.seed, self.trainer.device
        heldout = Heldout(self.data, self.trainer.objective, self.trainer.config.conditions, seed, device)
        state = None if header is None else header.state
        self.previews = Previews(self.trainer, heldout, self.keeper, self.budget, state)
        self.evaluations = Evaluations(self.job, self.trainer, heldout, self.keeper, self.stop, state or {})
        with contextlib.ExitStack() as files:
            if self.team.first:
                step = self.trainer.step_count if header is not None else None
                files.enter_context(self.keeper.training(step))
            self._loop()
            self._finish()
        return self._result(self.trainer.step_count, finished=True)

    def _prepare(self) -> Data:
        start, folder, ready = self.job.start, self.run / CODEC, self.data.codec
        codec = None if start is None else codec_of(start, self.config, self.data)
        if codec is None and ready is not None and ready.once and not list_checkpoints(self.run):
            codec = ready
        if codec is not None and self.team.first:
            write_codec(folder, codec)
        return prepared(self.config, self.data, folder)

    def _write_config(self) -> None:
        start = None if self.job.start is None else self.job.start.record()
        write_config(self.run, self.config, self.data, self.job.size, self.budget, start, self.identity)

    def _make_ready(self) -> None:
        if later := drop_later(self.run, self.trainer.images_seen):
            self.log(f"note: {later} snapshot(s) in {self.run / 'ema'} were later than the checkpoint: made again.")
        for folder in ("previews", "checkpoints"):
            (self.run / folder).mkdir(exist_ok=True)
        self._write_running()

    def _peek(self) -> Checkpoint | None:
        checkpoint = newest_checkpoint(self.run, self.team)
        if checkpoint is None:
            return None
        for problem in checkpoint.problems:
            self.log(f"warning: {problem} Going back to step {checkpoint.step}.")
        self.seconds = float(checkpoint.state["seconds"])
        logged = logged_pace(read_lines(self.run / TIMINGS), checkpoint.step, self.seconds)
        self.pace = Pace(self.budget, self.config.train.batch_size, logged)
        self.watch.restore(checkpoint.state)
        return checkpoint

    def _restore(self, checkpoint: Checkpoint) -> None:
        if changed := restore(self.trainer, checkpoint):
            self.log(
                f"note: {changed} changed since the checkpoint; the run continues, but bit-for-bit equality is "
                "not promised."
            )

    def _over(self, checkpoint: Checkpoint) -> bool:
        """Return whether the run ended at a checkpoint: its budget is spent, or it was level and should then end."""
        self.level = self.config.train.stop_when_level and was_level(checkpoint.state)
        return self.level or self._progress(checkpoint.step * self.config.train.batch_size, checkpoint.step) >= 1

    def _progress(self, images: int, steps: int) -> float:
        return self.budget.progress(seconds=self.seconds, images=images, steps=steps)

    def _loop(self) -> None:
        trainer = self.trainer
        last_save = clock = time.monotonic()
        if self.evaluations.pending:
            self.evaluations.after_step(self.seconds)
        while (progress := self._progress(trainer.images_seen, trainer.step_count)) < 1 and not self._is_level():
            step = trainer.step_count
            parts, result = trainer.parts.count, trainer.step(progress)
            if (now_parts := trainer.parts.count) != parts:
                self.log(f"note: out of memory in step {step}: batches are now computed in {now_parts} parts.")
            now = time.monotonic()
            worked = self.pace.lap(now - clock)
            if (paused := now - clock - worked) > 0:
                self.log(f"note: paused for {duration_in_words(round(paused))}, which is not counted as training time.")
            self.seconds, clock = self.seconds + worked, now
            self.watch.guard(step, result)
            if self.team.first:
                self._log_step(result)
            pace = self.pace.fields(seconds=self.seconds, steps=step + 1)
            said = {"step": step + 1, "images": trainer.images_seen, "verdict": self.evaluations.verdict}
            self.console.progress(progress, loss=result.loss, **said, **pace)
            early = self.previews.after_step(self.seconds)
            if trainer.power is not None and self._passed(self.config.optim.posthoc_every):
                averages = trainer.power_averages()
                self.team.from_first(functools.partial(self._snapshot, averages))
            self.evaluations.after_step(self.seconds)
            due = (early or now - last_save >= self.keeper.every) and not self.keeper.saving
            reason, self.seconds, save = agreed(self.team, self.stop.reason, self.seconds, due)
            if reason is not None:
                self.stop.request(reason)
                self._save()
                if self.team.first:
                    self._write_running()
                self.stop.raise_if_requested(f"Step {trainer.step_count} is saved in {self.run}.")
            if save:
                self._save(wait=False)
                last_save = time.monotonic()

    def _is_level(self) -> bool:
        """Return whether the run ends here because it is level."""
        self.level = self.config.train.stop_when_level and self.evaluations.level
        return self.level

    def _passed(self, every: int) -> bool:
        """Return whether the last step reached or passed a multiple of `every` images."""
        seen = self.trainer.images_seen
        return seen // every > (seen - self.config.train.batch_size) // every

    def _log_step(self, result: StepResult) -> None:
        step, images = self.trainer.step_count, self.trainer.images_seen
        if self.watch.log(step, images, result):
            rate = images / max(self.seconds, 1e-9)
            self.keeper.note_lost()
            self.keeper.metrics.timings(step, seconds=self.seconds, images_per_second=rate)
            self._write_running()

    def _write_running(self) -> None:
        step, images = self.trainer.step_count, self.trainer.images_seen
        done = self._progress(images, step)
        with contextlib.suppress(ResourceError):  # a full disk is reported at the next checkpoint
            write_status(self.run, "running", step=step, images=images, seconds=self.seconds, progress=done)

    def _snapshot(self, averages: list[dict[str, Tensor]]) -> None:
        """Write the power-function averages. This comes before a checkpoint of the step, which implies that they exist.

        If the disk refuses, only this snapshot is lost; later averages are then computed from the others, less exactly.
        """
        assert self.trainer.power is not None
        try:
            self.trainer.power.snapshot(self.run, averages)
        except ResourceError as error:
            self.log(f"warning: {error} The snapshot at {self.trainer.images_seen:,} images is left out.")

    def _save(self, wait: bool = True, last: bool = False) -> None:
        """Save a checkpoint, and the model as it is unless this is the `last` one, after which the final model comes.

        Without `wait`, a save that fails because the disk is full is tried again later.
        """
        trainer, progress = self.trainer, self._progress(self.trainer.images_seen, self.trainer.step_count)
        state = {
            "seconds": self.seconds,
            "images": trainer.images_seen,
            "seed": self.config.train.seed,
            "progress": progress,
            **self.watch.state(),
            "evaluations": self.evaluations.state(),
            **self.previews.state(),
            "parts": trainer.parts.count,
            "choice": dataclasses.asdict(trainer.choice),
            "versions": setting_of(self.trainer),
            "fingerprint": self.data.fingerprint,
            "config": self.config.to_dict(),
            "shape": list(self.data.fitted.shape),
            "run": self.identity.id,
        }
        tensors = trainer.tensors()

        def save() -> None:
            bundle = None if last else bundle_of(trainer, tensors["ema"], self.job.size, self.seconds, progress)
            self.keeper.save(trainer.step_count, tensors, state, wait=wait, bundle=bundle)

        self.team.from_first(save)

    def _finish(self) -> None:
        trainer = self.trainer
        if trainer.power is not None:
            self.team.from_first(functools.partial(trainer.power.snapshot, self.run, trainer.power_averages()))
        self.evaluations.after_step(self.seconds, last=True)
        self._save(last=True)
        weights = trainer.average()
        self.team.from_first(lambda: self._bundle(weights))

    def _bundle(self, weights: dict[str, Tensor]) -> None:
        trainer = self.trainer
        self.keeper.record.claim(self.run / BUNDLE)
        save_bundle(self.run / BUNDLE, bundle_of(trainer, weights, self.job.size, self.seconds))
        images, step = trainer.images_seen, trainer.step_count
        write_status(self.run, "finished", step=step, images=images, seconds=self.seconds, progress=1.0)
        rate = images / max(self.seconds, 1e-9)
        if self.level:
            self.log("level: the last two evaluations found no improvement, so the run ends before its budget.")
        self.log(f"finished: step {step}, {images:,} images in {self.seconds:.0f} s ({rate:.0f} images/s)")

    def _result(self, step: int, finished: bool, already: bool = False) -> TrainResult:
        images = step * self.config.train.batch_size
        return TrainResult(self.run, step, images, self.seconds, finished, already, self.level)
