"""`gendi denoise`."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from gendi.cli.console import say
from gendi.cli.edits import Draw, drawing_options, in_range, perform, read_edit
from gendi.cli.parse import Number, shows

if TYPE_CHECKING:
    from gendi.api.editor import Edited, Editor

EXAMPLES = """\
  gendi denoise runs/mnist noisy.png                 the noise level is estimated
  gendi denoise runs/mnist noisy.png --noise 0.2     standard deviation of the noise, where black to white is 1"""


@dataclass(frozen=True, kw_only=True)
class Denoise(Draw):
    """Remove the noise from a picture. The first result is the mean of all clean pictures it may have been; the others
    are samples of them.
    """

    noise: Annotated[Number, shows("estimated")] = None
    """Standard deviation of the noise, as a share of the way from black to white (0.2 is 51 levels of a byte)."""


def main(args: Sequence[str]) -> int:
    """Run the command."""
    command, words = read_edit(Denoise, args, "denoise", EXAMPLES)
    if command.noise is not None:
        in_range("--noise", command.noise, 1e-3, 10, ", as a share of the way from black to white")

    def work(editor: "Editor") -> "Edited":
        from gendi.cli.edit_files import read_picture

        picture = read_picture(editor, command.image)
        noise = command.noise
        if noise is None:
            noise = editor.estimate_noise(picture)
            say(f"the noise is estimated at {noise:.3g} (give --noise to set it yourself)")
        found = editor.denoise(picture, noise)
        figures = {"noise": noise, "estimated": command.noise is None, **found.figures}
        return dataclasses.replace(found, figures=figures)

    n = command.n or 4
    settings = {"n": n, "seed": command.seed or 0}
    return perform("denoise", command, words, settings, work, n=n, options=drawing_options(command))
