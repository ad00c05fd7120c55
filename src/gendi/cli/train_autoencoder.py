"""`gendi train-autoencoder`."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from gendi.cli.console import program, say, show, show_json
from gendi.cli.one_budget import one_budget
from gendi.cli.parse import Count, Duration, Folder, Number, Seed, Size, named, parse, shows
from gendi.cli.values import format_duration
from gendi.data.kinds import claimed_by
from gendi.diffusion.autoencoder.config import AutoencoderConfig
from gendi.errors import UsageError

EXAMPLES = """\
  gendi train-autoencoder photos/ --size 128               ten minutes, into runs/photos-autoencoder
  gendi train-autoencoder photos/ --size 128               run it again: it continues, or says that it is finished
  gendi train photos/ --size 128 --autoencoder runs/photos-autoencoder     then a diffusion model of its latents
  gendi train-autoencoder photos/ --autoencoder.channels 4 --autoencoder.regularise kl --autoencoder.strength 1e-4"""
MINUTES = 10.0


@dataclass(frozen=True)
class TrainAutoencoder:
    """Train an autoencoder that turns large pictures into small latents and back, for diffusion in these latents. The
    same command again continues where it stopped.
    """

    data: Annotated[tyro.conf.Positional[str], named("DATA", "(required)")] = ""
    """Pictures: a folder of images, an .npz or a .npy."""
    max_time: Annotated[Duration, shows("10m, if no other budget is given")] = None
    """Budget in time of training, in all: 90s, 8m."""
    images: Annotated[Count, shows("none")] = None
    """Budget in images seen, repeats counted."""
    steps: Annotated[Count, shows("none")] = None
    """Budget in optimiser steps."""
    out: Annotated[Folder, shows("runs/, the name of the data, -autoencoder")] = None
    """Folder of the autoencoder."""
    size: Annotated[Size, shows("the images' own")] = None
    """Bring all images to this size: 128, or 96x64 for height 96 and width 64."""
    batch_size: Annotated[Count, shows("32")] = None
    """Images per step."""
    lr: Annotated[Number, shows("0.002")] = None
    """Peak learning rate."""
    seed: Annotated[Seed, shows("0")] = None
    """Seed of every draw."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Arithmetic of the network; auto takes bf16 where the machine computes in it."""
    fresh: bool = False
    """Start over: delete what gendi wrote into the folder."""
    json: bool = False
    """Print one JSON object."""
    autoencoder: AutoencoderConfig = field(default_factory=AutoencoderConfig)

    def folder(self) -> Path:
        """Return the folder: as given, or runs/ and the name of the data."""
        if self.out is not None:
            return Path(self.out)
        place = self.data.partition("?")[0]
        name = Path(place).resolve().stem if Path(place).exists() else place.partition(":")[0]
        return Path("runs") / f"{name}-autoencoder"


def main(args: Sequence[str]) -> int:
    """Run the command."""
    command = parse(TrainAutoencoder, args, "gendi train-autoencoder", EXAMPLES)
    if not command.data:
        raise UsageError("DATA is missing: give a folder of pictures. See gendi train-autoencoder --help.")
    if (kind := claimed_by(command.data)) is not None and not kind.pictures:
        raise UsageError(f"an autoencoder learns from pictures; {command.data} is data of the kind {kind.name}.")
    command.autoencoder.validate()
    limits = one_budget(command.max_time, command.images, command.steps) or {"seconds": 60 * MINUTES}
    from gendi.train.budget import Budget
    from gendi.train.progress.console import make_console
    from gendi.train.run.autoencoder import train_autoencoder
    from gendi.train.step.autoencoder import AutoencoderTraining

    given: dict[str, Any] = {"lr": command.lr, "batch_size": command.batch_size, "seed": command.seed}
    given = {name: value for name, value in given.items() if value is not None}
    training = AutoencoderTraining(precision=command.precision, **given)
    folder = command.folder()
    with make_console() as screen:
        found = train_autoencoder(
            command.data,
            folder,
            Budget(**limits),
            command.autoencoder,
            training,
            size=command.size,
            fresh=command.fresh,
            console=screen,
        )
    decibels = found.codec.about["psnr"]
    if command.json:
        facts = {"step": found.step, "images": found.images, "seconds": found.seconds, "psnr": decibels}
        show_json({"autoencoder": folder, "shape": list(found.codec.shape), **facts})
        return 0
    if found.already_finished:
        say(f"{folder} is finished; a larger budget (--max-time, --images, --steps) trains it longer")
    show(f"{folder}: {found.codec.description}; held-out pictures are reconstructed with {decibels:.1f} dB")
    say(f"{found.images:,} images in {format_duration(found.seconds)}")
    size = "" if command.size is None else f" --size {'x'.join(map(str, command.size))}"
    say(f"next:\n  {program()} train {command.data}{size} --autoencoder {folder}")
    return 0
