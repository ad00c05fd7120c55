"""`gendi interpolate`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import tyro

from gendi.api.edit_settings import STEPS
from gendi.cli.edits import Edit, perform, read_edit
from gendi.cli.parse import Calls, Samples, named, shows
from gendi.errors import UsageError

if TYPE_CHECKING:
    from gendi.api.editor import Edited, Editor

EXAMPLES = """\
  gendi interpolate runs/mnist a.png b.png            nine pictures from one to the other
  gendi interpolate runs/mnist a.png b.png --n 20 --out film/"""


@dataclass(frozen=True, kw_only=True)
class Interpolate(Edit):
    """Draw the pictures between two pictures: both are turned into noise by the probability-flow ODE, mixed there, and
    turned back.
    """

    to: Annotated[tyro.conf.Positional[str], named("IMAGE")]
    """The picture at the other end."""
    n: Annotated[Samples, shows("9")] = None
    """How many pictures, including both ends."""
    steps: Annotated[Calls, shows("50")] = None
    """Steps of the ODE each way, two network calls each."""


def main(args: Sequence[str]) -> int:
    """Run the command."""
    command, words = read_edit(Interpolate, args, "interpolate", EXAMPLES)
    n, steps = command.n or 9, command.steps or STEPS
    if n < 2:
        raise UsageError("--n 1 is out of range: both ends are among the pictures, so it must be 2 or more.")

    def work(editor: "Editor") -> "Edited":
        from gendi.cli.edit_files import read_picture

        a, b = (read_picture(editor, path) for path in (command.image, command.to))
        return editor.interpolate(a, b)

    settings = {"to": command.to, "n": n, "steps": steps}
    return perform("interpolate", command, words, settings, work, n=n, options={"steps": steps})
