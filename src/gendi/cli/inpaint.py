"""`gendi inpaint`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from gendi.api.edit_settings import METHODS
from gendi.cli.edits import Draw, drawing_options, options_of, perform, read_edit
from gendi.cli.parse import Count, Number, Text, named, shows
from gendi.errors import UsageError, unknown_name

if TYPE_CHECKING:
    from gendi.api.editor import Edited, Editor

EXAMPLES = """\
  gendi inpaint runs/mnist digit.png --mask mask.png                  paint where the mask is white
  gendi inpaint runs/mnist digit.png --mask mask.png --n 8 --class 7
  gendi inpaint runs/mnist digit.png --mask mask.png --method repaint --resamplings 20
  gendi inpaint --again runs/mnist/inpaint-digit.png                  the same again"""


@dataclass(frozen=True, kw_only=True)
class Inpaint(Draw):
    """Repaint part of a picture; the rest stays exactly as it is."""

    mask: Annotated[str, named("MASK")]
    """A picture of the same size: white is painted, black is kept."""
    method: Annotated[Text, shows("dps")] = None
    """dps, mmps or pigdm, which follow gradients; or repaint, which goes back and forth."""
    std: Annotated[Number, shows("0.05")] = None
    """mmps, pigdm: standard deviation with which the kept pixels are followed, where black is -1 and white is 1."""
    zeta: Annotated[Number, shows("0.3")] = None
    """dps: length of a gradient step."""
    resamplings: Annotated[Count, shows("10")] = None
    """repaint: how often each step is made; the number of calls is --steps times this."""


def main(args: Sequence[str]) -> int:
    """Run the command."""
    command, words = read_edit(Inpaint, args, "inpaint", EXAMPLES)
    method = command.method or "dps"
    if method not in METHODS:
        raise unknown_name("method", method, METHODS)
    options = options_of(command, method)
    if method == "repaint" and command.sampler is not None:
        raise UsageError(f"--sampler {command.sampler} cannot be given with --method repaint, which has its own step.")

    def work(editor: "Editor") -> "Edited":
        from gendi.cli.edit_files import read_mask, read_picture

        return editor.inpaint(read_picture(editor, command.image), read_mask(command.mask, editor.size), method)

    n, bound = command.n or 4, {"clip": 1.0} if method in ("mmps", "pigdm") else {}
    settings = {"mask": command.mask, "method": method, **bound, **options, "n": n, "seed": command.seed or 0}
    more = drawing_options(command) | options
    return perform("inpaint", command, words, settings, work, n=n, options=more)
