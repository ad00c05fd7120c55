"""`gendi inpaint`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from gendi.cli.editing import METHODS, Draw, options_of, perform, read_edit
from gendi.cli.parse import Count, Number, Text, named, shows
from gendi.errors import UsageError, unknown_name

if TYPE_CHECKING:
    from gendi.cli.edited import Model, Result

EXAMPLES = """\
  gendi inpaint runs/mnist digit.png --mask mask.png                  paint where the mask is white
  gendi inpaint runs/mnist digit.png --mask mask.png --n 8 --class 7
  gendi inpaint runs/mnist digit.png --mask mask.png --method repaint --resamplings 20
  gendi inpaint --again runs/mnist/inpaint-digit.png                  the same again"""


@dataclass(frozen=True, kw_only=True)
class Inpaint(Draw):
    """Paint part of a picture anew; the rest stays as it is, to the byte."""

    mask: Annotated[str, named("MASK")]
    """A picture of the same size: white is painted, black is kept."""
    method: Annotated[Text, shows("dps")] = None
    """dps, mmps or pigdm (led by gradients), or repaint (by going back and forth)."""
    std: Annotated[Number, shows("0.05")] = None
    """mmps, pigdm: how exactly to follow what is kept, -1 being black and 1 white."""
    zeta: Annotated[Number, shows("0.3")] = None
    """dps: length of a step."""
    resamplings: Annotated[Count, shows("10")] = None
    """repaint: how often each step is made; the calls are --steps times this."""


def main(args: Sequence[str]) -> int:
    """Run the command."""
    command, words = read_edit(Inpaint, args, "inpaint", EXAMPLES)
    method = command.method or "dps"
    if method not in METHODS:
        raise unknown_name("method", method, METHODS)
    options = options_of(command, method)
    if method == "repaint" and command.sampler is not None:
        raise UsageError(f"--sampler {command.sampler} cannot be given with --method repaint, which has its own step.")

    def work(model: "Model") -> "Result":
        import torch

        from gendi.cli.edited import Result, drawing, read_mask
        from gendi.diffusion.gaussian.inverse.methods import inpaint

        picture, known, n = model.picture(command.image), read_mask(command.mask, model.size), command.n or 4
        denoiser, cond = model.told(n)
        how = drawing(command, model, method)
        x = inpaint(
            denoiser,
            picture.expand(n, -1, -1, -1),
            known,
            how,
            method=method,
            cond=cond,
            poll=model.poll,
            **options,
        )
        figures = {"steps": how.steps} | ({} if method == "repaint" else {"sampler": how.sampler})
        return Result((picture, torch.where(known.to(picture.device), picture, 0)), x, figures)

    settings = {"mask": command.mask, "method": method, **options, "n": command.n or 4, "seed": command.seed or 0}
    return perform("inpaint", command, words, settings, work)
