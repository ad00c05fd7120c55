"""Preview grids of a run: samples from the same seeds at every stage of training."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gendi.data import Data
from gendi.data.codec import ImageCodec
from gendi.data.images.pictures import grid_image, png_bytes
from gendi.data.told import derived, stored
from gendi.diffusion.conditions import ask
from gendi.diffusion.config import ConditionConfig
from gendi.diffusion.gaussian.denoiser import NetworkDenoiser
from gendi.diffusion.gaussian.samplers import sample
from gendi.storage.files import atomic_write

PREVIEWS, PREVIEW_STEPS = 36, 12


def preview(
    denoiser: NetworkDenoiser, codec: ImageCodec, cond: dict[str, Tensor], seed: int, device: torch.device
) -> Tensor:
    """Return 36 samples as bytes (36, H, W, C), told `cond`, in 12 calls and from the same noises every time."""
    steps = min(PREVIEW_STEPS, denoiser.schedule.steps or PREVIEW_STEPS)
    x = sample(denoiser, codec.shape, PREVIEWS, steps=steps, seed=seed, device=device, cond=cond)
    return codec.decode(x)


def preview_conditions(data: Data, specs: Sequence[ConditionConfig]) -> dict[str, Tensor]:
    """Return what the 36 previews are told: classes in turn, and of anything else what held-out samples have."""
    rows = np.arange(PREVIEWS) % len(data.heldout)
    told = stored(specs, data.heldout, rows)
    x_0 = data.encode(torch.from_numpy(data.heldout.batch(rows)), told, torch.from_numpy(rows))
    return told | derived(specs, x_0) | ask(specs, None, PREVIEWS)


def write_preview(path: Path, images: Tensor) -> None:
    """Write a preview grid as PNG."""
    path.parent.mkdir(exist_ok=True)
    atomic_write(path, png_bytes(grid_image(images.numpy())))
