"""`gendi mix`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import tyro

from gendi.api.edit_settings import STEPS
from gendi.cli.edits import Edit, in_range, perform, read_edit
from gendi.cli.parse import Calls, Number, named, shows

if TYPE_CHECKING:
    from gendi.api.editor import Edited, Editor

EXAMPLES = """\
  gendi mix runs/mnist a.png b.png                          half of each
  gendi mix runs/mnist a.png b.png --weight 0 --detail 1    the content of a, the detail of b"""


@dataclass(frozen=True, kw_only=True)
class Mix(Edit):
    """Mix two pictures at a noise level: their content, which is decided at that level already, and their detail, which
    is not, are mixed with a weight each.
    """

    other: Annotated[tyro.conf.Positional[str], named("IMAGE")]
    """The other picture."""
    weight: Annotated[Number, shows("0.5")] = None
    """Share of the other's content, 0 to 1."""
    detail: Annotated[Number, shows("as --weight")] = None
    """Share of the other's detail, 0 to 1."""
    level: Annotated[Number, shows("0.5")] = None
    """Time in (0, 1] at which they are mixed; the later it is, the less counts as content and the more as detail."""
    steps: Annotated[Calls, shows("50")] = None
    """Steps of the ODE each way, two network calls each."""


def main(args: Sequence[str]) -> int:
    """Run the command."""
    command, words = read_edit(Mix, args, "mix", EXAMPLES)
    weight = in_range("--weight", 0.5 if command.weight is None else command.weight, 0, 1)
    detail = in_range("--detail", weight if command.detail is None else command.detail, 0, 1)
    level = in_range("--level", 0.5 if command.level is None else command.level, 0.01, 1)
    steps = command.steps or STEPS

    def work(editor: "Editor") -> "Edited":
        from gendi.cli.edit_files import read_picture

        a, b = (read_picture(editor, path) for path in (command.image, command.other))
        return editor.mix(a, b, weight, detail, level)

    settings = {"other": command.other, "weight": weight, "detail": detail, "level": level, "steps": steps}
    return perform("mix", command, words, settings, work, n=1, options={"steps": steps})
