"""`gendi upscale`."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from gendi.api.edit_settings import CONDITIONAL, METHODS, OLD_NAMES
from gendi.cli.console import say
from gendi.cli.edits import Draw, drawing_options, options_of, perform, read_edit
from gendi.cli.parse import Count, Number, Text, shows
from gendi.errors import UsageError, unknown_name

if TYPE_CHECKING:
    from gendi.api.editor import Edited, Editor

EXAMPLES = """\
  gendi upscale runs/mnist small.png --factor 4              a 7 x 7 picture to 28 x 28
  gendi upscale runs/mnist small.png --factor 4 --method dps --n 8
  gendi upscale runs/sr small.png --factor 4                 by a model trained with --condition low-res:4"""


@dataclass(frozen=True, kw_only=True)
class Upscale(Draw):
    """Enlarge a small picture to the size of the model's pictures, with detail that the model finds likely.

    A model that was trained with --condition low-res:FACTOR is given the small picture as a condition. Any other model
    draws pictures whose means over blocks of FACTOR x FACTOR pixels are held to the small picture.
    """

    factor: Annotated[Count, shows("the model's size over the picture's")] = None
    """How many times larger."""
    method: Annotated[Text, shows("conditional if the model was trained for it, else mmps")] = None
    """conditional, for a model trained with low-res:FACTOR; or mmps, pigdm or dps, which follow gradients."""
    std: Annotated[Number, shows("0.05")] = None
    """mmps, pigdm: standard deviation with which the small picture is followed, where black is -1 and white is 1."""
    zeta: Annotated[Number, shows("0.3")] = None
    """dps: length of a gradient step."""


def main(args: Sequence[str]) -> int:
    """Run the command."""
    command, words = read_edit(Upscale, args, "upscale", EXAMPLES)
    known = (CONDITIONAL, *(name for name in METHODS if name != "repaint"))
    if command.method in OLD_NAMES:
        command = dataclasses.replace(command, method=OLD_NAMES[command.method])
    if command.method is not None and command.method not in known:
        raise unknown_name("method", command.method, known)
    options = _options(command)

    def work(editor: "Editor") -> "Edited":
        from gendi.cli.edit_files import read_picture

        factor, (height, width) = _factor(command, editor), editor.size
        small = read_picture(editor, command.image, (height // factor, width // factor))
        method = editor.upscaling(factor, command.method)
        if method == CONDITIONAL and options:
            raise UsageError("--std and --zeta are no options of --method conditional.")
        say(f"{height // factor} x {width // factor} to {height} x {width}, by {method}")
        return editor.upscale(small, method)

    n = command.n or 4
    settings, more = {"n": n, "seed": command.seed or 0}, drawing_options(command) | options
    return perform("upscale", command, words, settings, work, n=n, options=more)


def _options(command: Upscale) -> dict[str, Any]:
    """Return the options of the method that were given. Raises `UsageError` for an option of another method."""
    if command.method == CONDITIONAL:
        if command.std is not None or command.zeta is not None:
            raise UsageError("--std and --zeta are no options of --method conditional.")
        return {}
    return options_of(command, command.method or "mmps")


def _factor(command: Upscale, editor: "Editor") -> int:
    """Return how many times larger the result is; without --factor, the size of the picture's file decides."""
    from gendi.cli.edit_files import picture_size

    height, width = editor.size
    if command.factor is None:
        small = picture_size(Path(command.image))
        factor = height // small[0] if 2 * small[0] <= height else 0
        if (small[0] * factor, small[1] * factor) != (height, width):
            raise UsageError(
                f"{command.image} is {small[0]} x {small[1]} pixels (height x width), and the model's {height} x "
                f"{width} is not 2, 3 or more times as large. Scale or crop it first, for instance to {height // 2} x "
                f"{width // 2}."
            )
        return factor
    if command.factor < 2 or height % command.factor or width % command.factor:
        raise UsageError(
            f"--factor {command.factor} is out of range: it must be 2 or more and divide the model's {height} x "
            f"{width} pixels (height x width)."
        )
    return command.factor
