"""`gendi explain`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from gendi.cli.condition_flags import ConditionFlags
from gendi.cli.console import show, show_json
from gendi.cli.outputs import Output
from gendi.cli.parse import Folder, Seed, Text, named, parse, shows
from gendi.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from gendi.train.kept.bundle import Bundle

EXAMPLES = """\
  gendi explain                               the model `digits`, which comes with gendi
  gendi explain runs/mnist --image seven.png  your model and your picture
  gendi explain toy:swissroll                 points in the plane, without a network"""


@dataclass(frozen=True)
class Explain:
    """Write one page, which opens offline, that walks through the forward and the reverse process: picture by picture,
    with the equation beside it, and with sliders.
    """

    run: Annotated[tyro.conf.Positional[str], named("RUN", "(default: digits)")] = "digits"
    """Folder of a run or of a bundle, or a model that comes with gendi, of pictures or of a toy world; or a toy world
    itself, as toy:swissroll, whose best possible denoiser is a formula.
    """
    image: Annotated[Folder, shows("a held-out picture of the data, or a sample")] = None
    """A picture of the model's size, to which noise is added step by step."""
    class_: Annotated[Text, tyro.conf.arg(name="class", help_behavior_hint="(default: not requested)")] = None
    """Class of the picture, by name or number, which is then given to the network."""
    seed: Annotated[Seed, shows("0")] = None
    """Seed of the noise."""
    out: Annotated[Folder, shows("explain.html in the run's folder")] = None
    """File to write."""
    json: bool = False
    """Print one JSON object."""


def main(args: Sequence[str]) -> int:
    """Run the command."""
    command = parse(Explain, args, "gendi explain", EXAMPLES)
    if command.out is not None and Path(command.out).suffix != ".html":
        raise UsageError(f"--out {command.out}: the page is written as NAME.html.")
    from gendi.api.conditions import as_words
    from gendi.cli.requests import say_moment
    from gendi.report.explain import explain_model, explain_world
    from gendi.report.explain.write import is_world
    from gendi.storage.files import atomic_write
    from gendi.train.kept.bundle import load_bundle
    from gendi.train.kept.folders import place_of
    from gendi.train.progress.signals import StopFlag

    toy = is_world(command.run)
    home = None if toy else place_of(command.run).home
    usual = Path(f"explain-{command.run.partition(':')[2].partition('?')[0]}.html") if toy else Path("explain.html")
    output = Output(command.out, usual if home is None else home / usual, home, (), [command.image])
    output.check()
    seed = command.seed or 0
    with StopFlag() as stop:

        def poll() -> None:
            stop.raise_if_requested("Nothing was written.")

        if toy:
            if command.image is not None or command.class_ is not None:
                raise UsageError("A toy world has points, and no pictures: leave --image and --class out.")
            text = explain_world(command.run, seed, poll=poll)
        else:
            bundle = load_bundle(command.run)
            say_moment(command.run, bundle)
            text = explain_model(
                bundle,
                command.run,
                picture=None if command.image is None else _read(bundle, Path(command.image)),
                named="" if command.image is None else Path(command.image).name,
                condition=as_words(ConditionFlags(class_=command.class_).conditions()),
                seed=seed,
                poll=poll,
            )
    path = output.claim()
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(path, text)
    if command.json:
        show_json({"page": path})
    else:
        show(f"{path}")
    return 0


def _read(bundle: "Bundle", path: Path) -> "NDArray[np.uint8]":
    """Return a picture as bytes (H, W, C), as the model needs it. Raises `UsageError` for another size or model."""
    from gendi.cli.edit_files import read_pixels
    from gendi.data.images.codec import pictures_only

    codec = pictures_only(bundle.codec, "--image")
    return read_pixels(path, (codec.height, codec.width), codec.channels)
