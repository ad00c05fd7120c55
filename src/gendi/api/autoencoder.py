"""Training an autoencoder of pictures from Python."""

from pathlib import Path
from typing import Any

from gendi.data.images.latents import LatentCodec
from gendi.diffusion.autoencoder.config import AutoencoderConfig
from gendi.train.budget import Budget
from gendi.train.progress.console import make_console
from gendi.train.progress.telling import Silent
from gendi.train.run.autoencoder import train_autoencoder
from gendi.train.step.autoencoder import AutoencoderTraining


def fit_autoencoder(
    data: Any,
    *,
    out: str | Path,
    config: AutoencoderConfig | None = None,
    seconds: float | None = None,
    images: int | None = None,
    steps: int | None = None,
    size: int | tuple[int, int] | None = None,
    fresh: bool = False,
    quiet: bool = False,
    **training: Any,
) -> LatentCodec:
    """Train an autoencoder on pictures until the budget is spent, or go on where an earlier call stopped.

        latents = gendi.fit_autoencoder("photos/", out="runs/photos-autoencoder", size=128, seconds=600)
        model = gendi.fit("photos/", out="runs/photos", size=128, autoencoder=latents, seconds=1200)

    Args:
        data: pictures: see `gendi.data.open_data`.
        out: the folder of the autoencoder.
        config: the options of the network: see `gendi.diffusion.autoencoder.config`.
        seconds, images, steps: the budget, at most one of them; 10 minutes by default.
        size: (height, width), or one number for both, to which all pictures are brought.
        fresh: start over.
        quiet: say nothing.
        training: `batch_size`, `lr`, `seed`, `ema_images`, `precision` of
            `gendi.train.step.autoencoder.AutoencoderTraining`.

    Raises:
        GendiError: what its subclasses say.
    """
    if seconds is None and images is None and steps is None:
        seconds = 600.0
    budget, options = Budget(seconds=seconds, images=images, steps=steps), AutoencoderTraining(**training)
    common: dict[str, Any] = {"size": size, "fresh": fresh}
    if quiet:
        return train_autoencoder(data, Path(out), budget, config, options, console=Silent(), **common).codec
    with make_console() as console:
        return train_autoencoder(data, Path(out), budget, config, options, console=console, **common).codec
