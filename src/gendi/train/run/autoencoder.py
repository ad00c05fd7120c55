"""Training an autoencoder of pictures, the first stage of latent diffusion, into a folder of its own.

FOLDER/autoencoder.json     the options and the data
FOLDER/codec/               the autoencoder as a codec of latents: what `gendi train DATA --autoencoder FOLDER` reads
FOLDER/checkpoints/         what it takes to go on exactly where the training stopped
FOLDER/previews/            held-out pictures above, and what is left of them below
FOLDER/metrics.jsonl        losses, and the reconstruction of held-out pictures
"""

import dataclasses
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gendi.data import Data, open_data
from gendi.data.codec_files import write_codec
from gendi.data.images.codec import ImageCodec
from gendi.data.images.latents import LatentCodec
from gendi.data.kinds import as_text, kind_of
from gendi.diffusion.autoencoder.config import AutoencoderConfig
from gendi.errors import BundleError, DataError, DivergedError, Mend, UsageError
from gendi.storage.files import atomic_write, encode_json, read_json
from gendi.storage.lock import RunLock
from gendi.storage.record import RunRecord
from gendi.train.budget import Budget
from gendi.train.kept.autoencoder import ABOUT, CODEC, read_autoencoder
from gendi.train.kept.belongings import check_place
from gendi.train.kept.checkpoint import checkpoint_folder, clean_stale, list_checkpoints, load_latest, save_checkpoint
from gendi.train.kept.folders import check_folders, elsewhere
from gendi.train.kept.resume import differing
from gendi.train.kept.status import MetricsLog
from gendi.train.progress.pace import Pace
from gendi.train.progress.signals import StopFlag
from gendi.train.progress.telling import Console, Silent
from gendi.train.step.autoencoder import AutoencoderTrainer, AutoencoderTraining, reconstruction

FORMAT = 1
CHECKPOINT_SECONDS = 120.0
PREVIEW_IMAGES = 5000
"""Pictures between two previews."""
SHOWN = 8
BAD_STEPS = 3
"""So many steps in a row without a finite loss end the training."""
RESULTS = (ABOUT, CODEC, "checkpoints", "previews", "metrics.jsonl", "timings.jsonl")


@dataclass(frozen=True)
class AutoencoderResult:
    """The folder, the codec, and how far the training has come."""

    folder: Path
    codec: LatentCodec
    step: int
    images: int
    seconds: float
    already_finished: bool = False


def train_autoencoder(
    spec: Any,
    folder: Path,
    budget: Budget,
    config: AutoencoderConfig | None = None,
    training: AutoencoderTraining | None = None,
    *,
    size: int | tuple[int, int] | None = None,
    fresh: bool = False,
    console: Console | None = None,
) -> AutoencoderResult:
    """Train an autoencoder on pictures until the budget is spent, or go on where an earlier call stopped.

    Args:
        spec: pictures; see `gendi.data.open_data`.
        folder: where to; it is made if it is missing.
        budget: how much to train in all, including earlier sittings.
        config: the options of the network.
        training: the options of the training.
        size: see `gendi.data.open_data`.
        fresh: start over; what gendi wrote there is deleted.
        console: shows what happens.

    Raises:
        UsageError: no pictures, or of a size that cannot be encoded; options out of range; the folder holds something
            else, or the training of an autoencoder with other options.
        DataError: the data are missing or bad, or not those with which the training began.
        DivergedError: three steps in a row had no finite loss.
        PreemptedError, InterruptedRunError: stopped; what was done is saved.
    """
    config, training = config or AutoencoderConfig(), training or AutoencoderTraining()
    config.validate()
    _check(training)
    console, spec = console or Silent(), as_text(spec)
    check_place(folder, spec)
    if (folder / "config.toml").exists():
        raise UsageError(f"{folder} holds a run. An autoencoder needs a folder of its own (--out).").mended_by(
            elsewhere(folder)
        )
    data = open_data(spec, size=size)
    if not kind_of(data.kind).pictures or not isinstance(data.codec, ImageCodec):
        raise UsageError(f"an autoencoder learns from pictures; {data.name} is data of the kind {data.kind}.")
    config.check_size(*data.codec.size)
    check_folders(folder, ("checkpoints", "previews", CODEC))
    about = {"autoencoder": config.to_dict(), "training": dataclasses.asdict(training), "fingerprint": data.fingerprint}
    folder.mkdir(parents=True, exist_ok=True)
    with RunLock(folder), StopFlag() as stop:
        record = RunRecord(folder)
        record.begin()
        if fresh:
            record.remove(RESULTS)
        clean_stale(folder)
        _refuse_changes(folder, about)
        record.claim(folder / ABOUT)
        atomic_write(folder / ABOUT, encode_json({"format": FORMAT, "data": data.spec, **about}))
        return _Training(data, folder, budget, config, training, record, console, stop).run()


class _Training:
    def __init__(
        self,
        data: Data,
        folder: Path,
        budget: Budget,
        config: AutoencoderConfig,
        training: AutoencoderTraining,
        record: RunRecord,
        console: Console,
        stop: StopFlag,
    ) -> None:
        self.data, self.folder, self.budget, self.record = data, folder, budget, record
        self.console, self.stop, self.training = console, stop, training
        self.trainer = AutoencoderTrainer(data, config, training)
        self.seconds, self.saved = 0.0, -1

    def run(self) -> AutoencoderResult:
        """Start or go on, train, and write the codec."""
        trainer, folder = self.trainer, self.folder
        checkpoint = load_latest(folder)
        if checkpoint is not None:
            trainer.restore(checkpoint)
            self.seconds, self.saved = float(checkpoint.state["seconds"]), checkpoint.step
            if checkpoint.state.get("finished") and self._progress() >= 1 and (folder / CODEC).is_dir():
                return self._result(read_autoencoder(folder), already=True)
        pace, clock, last, bad = Pace(self.budget, self.training.batch_size), time.monotonic(), time.monotonic(), 0
        with MetricsLog(folder, None if checkpoint is None else checkpoint.step) as log:
            while (progress := self._progress()) < 1:
                loss = trainer.step(progress)
                now = time.monotonic()
                self.seconds, clock = self.seconds + pace.lap(now - clock), now
                bad = 0 if np.isfinite(loss) else bad + 1
                if bad == BAD_STEPS:
                    raise DivergedError(f"the loss was {loss} in {bad} steps in a row: try a smaller --lr, or --fresh.")
                step, images = trainer.step_count, trainer.images_seen
                log.metrics(step, images=images, loss=loss)
                self.console.progress(
                    progress, loss=loss, step=step, images=images, **pace.fields(seconds=self.seconds, steps=step)
                )
                if images // PREVIEW_IMAGES > (images - self.training.batch_size) // PREVIEW_IMAGES:
                    self._preview(log)
                if self.stop.requested:
                    self._save(log)
                    self.stop.raise_if_requested(f"Step {step} is saved in {folder}.")
                if now - last >= CHECKPOINT_SECONDS:
                    self._save(log)
                    last = now
            codec = self._finished()
            log.metrics(trainer.step_count, images=trainer.images_seen, psnr=codec.about["psnr"])
            self.record.claim(folder / CODEC)
            write_codec(folder / CODEC, codec)
            self._preview(log, codec)
            self._save(log, finished=True)
        return self._result(codec)

    def _progress(self) -> float:
        return self.budget.progress(
            seconds=self.seconds, images=self.trainer.images_seen, steps=self.trainer.step_count
        )

    def _finished(self) -> LatentCodec:
        codec, data = self.trainer.codec(), self.data
        codec.about = {
            "data": data.name,
            "fingerprint": data.fingerprint,
            "images": self.trainer.images_seen,
            "pictures": len(data.train),
            "seed": self.training.seed,
            "psnr": reconstruction(codec, data.heldout),
        }
        return codec

    def _preview(self, log: MetricsLog, codec: LatentCodec | None = None) -> None:
        """Write a picture of held-out pictures and their reconstructions, and say how good these are."""
        codec, heldout, step = codec or self.trainer.unscaled(), self.data.heldout, self.trainer.step_count
        decibels = reconstruction(codec, heldout, 128)
        log.metrics(step, images=self.trainer.images_seen, heldout_psnr=decibels)
        self.console.say(f"step {step}: held-out pictures are reconstructed with {decibels:.1f} dB")
        given = heldout.batch(range(min(SHOWN, len(heldout))))
        picture = kind_of(self.data.kind).preview(np.concatenate([given, codec.restored(given)]))
        place = self.folder / "previews" / f"step_{step:08d}.png"
        self.record.claim(place)
        place.parent.mkdir(exist_ok=True)
        atomic_write(place, picture)

    def _save(self, log: MetricsLog, finished: bool = False) -> None:
        step = self.trainer.step_count
        if step == self.saved and not finished:
            return
        log.sync()
        self.record.claim(checkpoint_folder(self.folder, step))
        state = {"seconds": self.seconds, "finished": finished}
        save_checkpoint(self.folder, step, self.trainer.tensors(), state, 1)
        self.saved = step

    def _result(self, codec: LatentCodec, already: bool = False) -> AutoencoderResult:
        trainer = self.trainer
        return AutoencoderResult(self.folder, codec, trainer.step_count, trainer.images_seen, self.seconds, already)


def _check(training: AutoencoderTraining) -> None:
    if not 0 < training.lr <= 1 or not 1 <= training.batch_size <= 1_000_000 or training.seed < 0:
        raise UsageError(
            f"lr = {training.lr:g} must lie in (0, 1], batch_size = {training.batch_size} between 1 and 1,000,000, and "
            f"seed = {training.seed} must be 0 or more."
        )


def _refuse_changes(folder: Path, about: dict[str, Any]) -> None:
    """Compare autoencoder.json, if there are checkpoints, with what is requested."""
    path = folder / ABOUT
    if not list_checkpoints(folder):
        return
    before = read_json(path) if path.is_file() else None
    if not isinstance(before, dict):
        raise BundleError(
            f"{path} is missing or damaged, but there are checkpoints beside it. Give --fresh to start over."
        )
    if changed := {
        **differing(about["autoencoder"], before.get("autoencoder"), "autoencoder"),
        **differing(about["training"], before.get("training"), "training"),
    }:
        raise UsageError(
            f"{folder} holds an autoencoder with other options: {'; '.join(changed.values())}. Give the same ones to "
            "go on, another folder (--out) to begin a second one, or --fresh to start this one over."
        ).mended_by(elsewhere(folder))
    if before.get("fingerprint") != about["fingerprint"]:
        raise DataError(
            f"The data are not those with which the autoencoder in {folder} was begun: their fingerprint was "
            f"{before.get('fingerprint')}, and is {about['fingerprint']} now. Restore the data, or give --fresh "
            "to start over."
        ).mended_by(Mend(add=("--fresh",)))
