"""What the commands that edit pictures share: their flags, and the way from them to a file.

A command says which flags it adds, what it shows beside its results, and how the results come about; opening the model,
reading pictures and writing is in `gendi.cli.edited`, which imports torch.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from gendi.cli.console import say, show, show_json
from gendi.cli.parse import Calls, Count, Folder, Number, Samples, Seed, Text, named, shows
from gendi.cli.values import format_duration
from gendi.errors import UsageError

if TYPE_CHECKING:
    from gendi.cli.edited import Model, Result


METHODS = {"mmps": 40, "pigdm": 40, "dps": 100, "repaint": 20}
"""How to solve an inverse problem, with the steps that are enough (those of `gendi.edits`, which imports torch)."""


@dataclass(frozen=True, kw_only=True)
class Edit:
    """Flags of every edit."""

    run: Annotated[tyro.conf.Positional[str], named("RUN")]
    """Folder of a run or of a bundle."""
    image: Annotated[tyro.conf.Positional[str], named("IMAGE")]
    """A picture; it is read as a folder of pictures is: colour or grey as the model has it."""
    class_: Annotated[Text, tyro.conf.arg(name="class", help_behavior_hint="(default: not told)")] = None
    """Class of the picture, by name or number, for a model that was trained with classes."""
    guidance: Annotated[Number, shows("1")] = None
    """How strongly to lead to the class: 1 is no guidance, 2 to 3 are usual."""
    out: Annotated[Folder, shows("COMMAND-IMAGE.png in the run's folder")] = None
    """Where to: NAME.png (what was given and the results, side by side), or a name without a suffix (a new folder with
    a PNG for each result).
    """
    json: bool = False
    """Print one JSON object."""


@dataclass(frozen=True, kw_only=True)
class Draw(Edit):
    """Flags of the edits that draw."""

    n: Annotated[Samples, shows("4")] = None
    """How many results; each has noise of its own."""
    sampler: Annotated[Text, shows("the model's own, often ancestral-karras")] = None
    """How to step from noise to data; `gendi samplers` lists them."""
    steps: Annotated[Calls, shows("as many as the method needs")] = None
    """Network calls per result."""
    seed: Annotated[Seed, shows("0")] = None
    """Seed of the noise."""
    batch_size: Annotated[Count, shows("64")] = None
    """Results per network call; halved by itself when memory runs out."""


def in_range(flag: str, value: float, low: float, high: float, why: str = "") -> float:
    """Return `value`. Raises `UsageError` unless low <= value <= high."""
    if not low <= value <= high:
        raise UsageError(f"{flag} {value:g} is out of range: it must lie between {low:g} and {high:g}{why}.")
    return value


def options_of(command: Draw, method: str) -> dict[str, Any]:
    """Return the options of a method among a command's flags std, zeta and resamplings.

    Raises `UsageError` for one of another method, and one that is not above 0.
    """
    own = {"mmps": ("std",), "pigdm": ("std",), "dps": ("zeta",), "repaint": ("resamplings",)}[method]
    found: dict[str, Any] = {"clip": 1.0} if method in ("mmps", "pigdm") else {}
    for name in ("std", "zeta", "resamplings"):
        value = getattr(command, name, None)
        if value is None:
            continue
        if name not in own:
            raise UsageError(f"--{name} is no option of --method {method}.")
        if not 0 < value < 1000:
            raise UsageError(f"--{name} {value:g} is out of range: it must lie above 0 and below 1000.")
        found[name] = value
    return found


def perform(name: str, command: Edit, settings: dict[str, Any], work: "Callable[[Model], Result]") -> int:
    """Open the model, run `work` on it, write the results, and say where they are.

    `settings` are what the file remembers beside what every edit has.
    """
    if command.guidance is not None:
        in_range("--guidance", command.guidance, 0, 100)
        if command.class_ is None:
            raise UsageError("--guidance leads to a class: say which by --class.")
    from gendi.cli.edited import check_out, open_model, write
    from gendi.train.signals import StopFlag

    out = _destination(name, command)
    check_out(out, Path(command.run))
    start = time.perf_counter()
    with StopFlag() as stop:
        model = open_model(command, lambda: stop.raise_if_requested("Nothing was written."))
        common: dict[str, Any] = {"command": name, "run": command.run, "image": command.image, "weights": model.weights}
        common |= {"class": command.class_, "guidance": command.guidance}
        result = work(model)
        write(out, result, common | settings | result.figures)
    seconds = time.perf_counter() - start
    say(f"done in {format_duration(seconds)}")
    if command.json:
        shape = (len(result.pictures), *model.bundle.codec.shape)
        show_json({"out": out, "shape": shape, "seconds": seconds, "settings": common | settings, **result.figures})
    else:
        show(f"{out}")
    return 0


def _destination(name: str, command: Edit) -> Path:
    if command.out is not None:
        return Path(command.out)
    run = Path(command.run)
    return (run if (run / "bundle").is_dir() else Path()) / f"{name}-{Path(command.image).stem}.png"
