"""Is it learning? The loss on held-out images at fixed (t, noise), and preview grids from fixed seeds."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gendi.data import Data
from gendi.data.kinds import kind_of
from gendi.data.row_conditions import derived, stored
from gendi.data.vectors import HELD_OUT
from gendi.diffusion.batches import in_batches
from gendi.diffusion.conditions import ask, take
from gendi.diffusion.config import ConditionConfig
from gendi.diffusion.gaussian.denoiser import NetworkDenoiser
from gendi.diffusion.gaussian.objectives.simple import denoising_loss
from gendi.diffusion.gaussian.objectives.times import draw_times
from gendi.diffusion.gaussian.samplers import sample
from gendi.diffusion.randomness import normal, stream
from gendi.storage.files import atomic_write

HELDOUT_IMAGES = 256
PREVIEWS, PREVIEW_STEPS = 36, 12


class Heldout:
    """Fixed held-out rows, times and noises; the times are stratified over the training distribution and sorted."""

    def __init__(
        self,
        data: Data,
        denoiser: NetworkDenoiser,
        conditions: Sequence[ConditionConfig],
        seed: int,
        device: torch.device,
    ) -> None:
        split = data.heldout
        n = min(HELDOUT_IMAGES, len(split))
        indices = np.sort(stream(seed, "heldout-images").permutation(len(split))[:n])
        told = stored(conditions, split, indices)
        self.half_bin = data.fitted.half_bin
        rows = torch.from_numpy(split.batch(indices))
        self.x_0 = data.encode(rows, told, torch.from_numpy(indices) + HELD_OUT).to(device)
        times = draw_times(denoiser.objective, denoiser.schedule, n, seed, -1)
        self.t = times.sort().values.to(device)
        self.eps = normal(tuple(self.x_0.shape), seed, "heldout-noise").to(device)
        self.cond = take(told, slice(None), device) | derived(data, conditions, self.x_0)

    @torch.no_grad()
    def __call__(self, denoiser: NetworkDenoiser) -> tuple[float, list[float]]:
        """Return the mean loss and the mean by quartile of t, from least to most noise (NaN where there is no
        image).
        """
        losses: list[Tensor] = []

        def work(rows: slice) -> None:
            x_0, t, eps = self.x_0[rows], self.t[rows], self.eps[rows]
            losses.append(denoising_loss(denoiser, x_0, t, eps, take(self.cond, rows, x_0.device), self.half_bin).cpu())

        in_batches(len(self.t), 64, work)
        values = torch.cat(losses).double()
        quartiles = [float(q.mean()) if len(q) else math.nan for q in values.tensor_split(4)]
        return float(values.mean()), quartiles


def preview(denoiser: NetworkDenoiser, data: Data, cond: dict[str, Tensor], seed: int, device: torch.device) -> bytes:
    """Return a picture of 36 samples under the conditions `cond`, in 12 calls and from the same noises every time."""
    steps = min(PREVIEW_STEPS, denoiser.schedule.steps or PREVIEW_STEPS)
    x = sample(denoiser, data.fitted.shape, PREVIEWS, steps=steps, seed=seed, device=device, cond=cond)
    return kind_of(data.kind).preview(data.fitted.decode(x.cpu(), take(cond, slice(None)), seed, 0).numpy())


def preview_conditions(data: Data, specs: Sequence[ConditionConfig]) -> dict[str, Tensor]:
    """Return what the 36 previews are told: classes in turn, and of anything else what held-out samples have."""
    rows = np.arange(PREVIEWS) % len(data.heldout)
    told = stored(specs, data.heldout, rows)
    x_0 = data.encode(torch.from_numpy(data.heldout.batch(rows)), told, torch.from_numpy(rows))
    return told | derived(data, specs, x_0) | ask(specs, None, PREVIEWS)


def write_preview(path: Path, picture: bytes) -> None:
    """Write a preview, a PNG."""
    path.parent.mkdir(exist_ok=True)
    atomic_write(path, picture)
