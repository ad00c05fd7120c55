"""`gendi vary`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from gendi.cli.edits import Draw, drawing_options, in_range, perform, read_edit
from gendi.cli.parse import Number, shows

if TYPE_CHECKING:
    from gendi.api.editor import Edited, Editor

EXAMPLES = """\
  gendi vary runs/mnist digit.png --strength 0.4 --n 8    eight others like it
  gendi vary runs/mnist digit.png --strength 0.7 --class 7 --guidance 2
  gendi vary --again runs/mnist/vary-digit.png            the same again"""


@dataclass(frozen=True, kw_only=True)
class Vary(Draw):
    """Draw variations of a picture: noise is added up to some time, and removed again (SDEdit)."""

    strength: Annotated[Number, shows("0.4")] = None
    """Where on the time axis to start: 0 is the picture itself, 1 a new one."""


def main(args: Sequence[str]) -> int:
    """Run the command."""
    command, words = read_edit(Vary, args, "vary", EXAMPLES)
    given = 0.4 if command.strength is None else command.strength
    strength = in_range("--strength", given, 0, 1, ", 0 for the picture itself and 1 for a new one")

    def work(editor: "Editor") -> "Edited":
        from gendi.cli.edit_files import read_picture

        return editor.vary(read_picture(editor, command.image), strength)

    n = command.n or 4
    settings = {"strength": strength, "n": n, "seed": command.seed or 0}
    return perform("vary", command, words, settings, work, n=n, options=drawing_options(command))
