"""Previews during a run: held-out losses, and pictures of samples that use the same seeds each time."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gendi.data import Data
from gendi.data.kinds import kind_of
from gendi.data.row_conditions import derived, stored
from gendi.diffusion.conditions import requested_conditions, take
from gendi.diffusion.config import ConditionConfig
from gendi.diffusion.gaussian.denoiser import NetworkDenoiser
from gendi.diffusion.gaussian.samplers import sample
from gendi.errors import ResourceError, UsageError
from gendi.storage.files import atomic_write
from gendi.train.progress.heldout import Heldout
from gendi.train.progress.keeping import Keeper
from gendi.train.step.trainer import Trainer

PREVIEWS, PREVIEW_STEPS = 36, 12


def preview(denoiser: NetworkDenoiser, data: Data, cond: dict[str, Tensor], seed: int, device: torch.device) -> bytes:
    """Return a picture of 36 samples under the conditions `cond`, drawn in 12 calls from the same noises every time."""
    steps = min(PREVIEW_STEPS, denoiser.schedule.steps or PREVIEW_STEPS)
    x = sample(denoiser, data.fitted.shape, PREVIEWS, steps=steps, seed=seed, device=device, cond=cond)
    return kind_of(data.kind).preview(data.fitted.decode(x.cpu(), take(cond, slice(None)), seed, 0).numpy())


def preview_conditions(data: Data, specs: Sequence[ConditionConfig]) -> dict[str, Tensor]:
    """Return the conditions of the 36 previews: the classes in turn, and other conditions from held-out rows."""
    rows = np.arange(PREVIEWS) % len(data.heldout)
    cond = stored(specs, data.heldout, rows)
    x_0 = data.encode(torch.from_numpy(data.heldout.batch(rows)), cond, torch.from_numpy(rows))
    return cond | derived(data, specs, x_0) | requested_conditions(specs, None, PREVIEWS)


def write_preview(path: Path, picture: bytes) -> None:
    """Write a preview, which is a PNG file."""
    path.parent.mkdir(exist_ok=True)
    atomic_write(path, picture)


class Previews:
    """Writes the held-out loss of the averaged weights, and a picture of samples if the kind of data has previews.

    Args:
        trainer: the trainer of the run.
        heldout: the held-out rows.
        keeper: writes the files of the run.
    """

    def __init__(self, trainer: Trainer, heldout: Heldout, keeper: Keeper) -> None:
        self.trainer, self.heldout, self.keeper = trainer, heldout, keeper
        self.cond = preview_conditions(trainer.data, trainer.config.conditions)

    def __call__(self, weights: dict[str, Tensor]) -> None:
        """Write the held-out loss and the preview of the averaged weights, whole, at the trainer's step."""
        trainer, data, step = self.trainer, self.trainer.data, self.trainer.step_count
        denoiser = trainer.ema_denoiser(weights=weights)
        # A request to stop waits for the preview, which is short, so that an interrupted run writes the same files.
        mean, quartiles = self.heldout(denoiser)
        self.keeper.metrics.metrics(step, images=trainer.images_seen, heldout=mean, heldout_q=quartiles)
        if kind_of(data.kind).previews:
            denoiser.clip = 1.0 if trainer.config.sample.clip else None
            denoiser.schedule = trainer.objective.sampling_schedule()
            picture = preview(denoiser, data, self.cond, trainer.config.train.seed, trainer.device)
            try:
                place = self.keeper.run / "previews" / f"step_{step:08d}.png"
                self.keeper.record.claim(place)
                write_preview(place, picture)
            except (ResourceError, UsageError) as error:
                self.keeper.log(f"warning: {error} The preview at step {step} is left out.")
        spread = " ".join(f"{q:.4f}" for q in quartiles)
        self.keeper.console.say(f"step {step}: held-out loss {mean:.4f} (by quartile of t: {spread})")
