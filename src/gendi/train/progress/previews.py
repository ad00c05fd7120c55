"""Previews during a run: held-out losses, and pictures of samples that use the same seeds each time.

`gendi.train.progress.occasions` says when they are made.
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gendi.data import Data
from gendi.data.kinds import kind_of
from gendi.data.row_conditions import derived, stored
from gendi.diffusion.conditions import requested_conditions, take
from gendi.diffusion.config import ConditionConfig
from gendi.diffusion.gaussian.samplers import Drawing
from gendi.diffusion.trained import Trained
from gendi.errors import ResourceError, UsageError
from gendi.storage.files import atomic_write
from gendi.train.budget import Budget
from gendi.train.config import RunConfig
from gendi.train.progress.heldout import HELDOUT_IMAGES, Heldout
from gendi.train.progress.keeping import Keeper
from gendi.train.progress.occasions import Occasions
from gendi.train.step.trainer import Trainer
from gendi.train.weights.families import family_of

PREVIEWS, PREVIEW_STEPS = 36, 12


def preview(
    config: RunConfig, denoiser: Trained, data: Data, cond: dict[str, Tensor], seed: int, device: torch.device
) -> bytes:
    """Return a picture of 36 samples under the conditions `cond`, drawn in 12 calls (of tokens, 48).

    The noises are the same every time.
    """
    family = family_of(config)
    how = Drawing(seed=seed, device=device)
    how = replace(how, **family.quick(config, PREVIEW_STEPS, how.sampler))
    x = family.draw(denoiser, data.fitted.shape, PREVIEWS, how, cond)
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
        budget: of the whole run.
        state: the state of the checkpoint from which the run goes on; None for a new run.
    """

    def __init__(
        self, trainer: Trainer, heldout: Heldout, keeper: Keeper, budget: Budget, state: Mapping[str, Any] | None
    ) -> None:
        self.trainer, self.heldout, self.keeper = trainer, heldout, keeper
        self.cond = preview_conditions(trainer.data, trainer.config.conditions)
        train, drawn = trainer.config.train, kind_of(trainer.data.kind).previews
        work = (HELDOUT_IMAGES + (PREVIEWS * PREVIEW_STEPS if drawn else 0)) / 3  # a step is three forward passes
        known = {} if state is None else state.get("previews")
        self.occasions = None
        if train.preview_every:
            self.occasions = Occasions(train.preview_every, work, budget, train.batch_size, known)

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint's state.json holds of this; nothing if there are no previews."""
        return {} if self.occasions is None else {"previews": self.occasions.state()}

    def after_step(self, seconds: float) -> bool:
        """Make a preview if it is time to; return whether it was an early one. All processes call this after each step.

        Args:
            seconds: how long the run has trained.
        """
        occasions = self.occasions
        if occasions is None:
            return False
        team, seen = self.trainer.team, self.trainer.images_seen
        before = seen - self.trainer.config.train.batch_size
        if occasions.halvings is None:
            occasions.halvings = team.from_first(lambda: occasions.choose(seconds, seen))
            if occasions.halvings is not None:  # what was due before the pace was known is made now
                before = before // occasions.every * occasions.every
        if not occasions.passed(before, seen):
            return False
        weights = self.trainer.average()
        team.from_first(functools.partial(self, weights))
        return seen < occasions.every

    def __call__(self, weights: dict[str, Tensor]) -> None:
        """Write the held-out loss and the preview of the averaged weights, whole, at the trainer's step."""
        trainer, data, step = self.trainer, self.trainer.data, self.trainer.step_count
        denoiser = trainer.ema_denoiser(weights=weights)
        # A request to stop waits for the preview, which is short, so that an interrupted run writes the same files.
        mean, quartiles = self.heldout(denoiser)
        self.keeper.metrics.metrics(step, images=trainer.images_seen, heldout=mean, heldout_q=quartiles)
        if kind_of(data.kind).previews:
            denoiser.clip = 1.0 if trainer.config.sample.clip else None
            denoiser.under(trainer.objective.sampling_schedule())
            picture = preview(trainer.config, denoiser, data, self.cond, trainer.config.train.seed, trainer.device)
            try:
                place = self.keeper.run / "previews" / f"step_{step:08d}.png"
                self.keeper.record.claim(place)
                write_preview(place, picture)
            except (ResourceError, UsageError) as error:
                self.keeper.log(f"warning: {error} The preview at step {step} is left out.")
        spread = " ".join(f"{q:.4f}" for q in quartiles)
        self.keeper.console.say(f"step {step}: held-out loss {mean:.4f} (by quartile of t: {spread})")
