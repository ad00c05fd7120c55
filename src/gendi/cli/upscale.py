"""`gendi upscale`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from gendi.cli.console import say
from gendi.cli.editing import METHODS, Draw, options_of, perform, read_edit
from gendi.cli.parse import Count, Number, Text, shows
from gendi.errors import UsageError, unknown_name

if TYPE_CHECKING:
    from torch import Tensor

    from gendi.cli.edited import Model, Result

EXAMPLES = """\
  gendi upscale runs/mnist small.png --factor 4              a 7 x 7 picture to 28 x 28
  gendi upscale runs/mnist small.png --factor 4 --method dps --n 8
  gendi upscale runs/sr small.png --factor 4                 by a model trained with --condition low-res:4"""


@dataclass(frozen=True, kw_only=True)
class Upscale(Draw):
    """Make a small picture as large as the model's, with detail that the model finds likely.

    A model that was trained with --condition low-res:FACTOR is told the small picture; of any other the mean of every
    FACTOR x FACTOR pixels is held to it.
    """

    factor: Annotated[Count, shows("the model's size over the picture's")] = None
    """How many times larger."""
    method: Annotated[Text, shows("mmps; told, by a model that was trained for it")] = None
    """told, or mmps, pigdm or dps (led by gradients)."""
    std: Annotated[Number, shows("0.05")] = None
    """mmps, pigdm: how exactly to follow the small picture, -1 being black and 1 white."""
    zeta: Annotated[Number, shows("0.3")] = None
    """dps: length of a step."""


def main(args: Sequence[str]) -> int:
    """Run the command."""
    command, words = read_edit(Upscale, args, "upscale", EXAMPLES)
    known = ("told", *(name for name in METHODS if name != "repaint"))
    if command.method is not None and command.method not in known:
        raise unknown_name("method", command.method, known)

    def work(model: "Model") -> "Result":
        from gendi.cli.edited import Result

        factor = _factor(command, model)
        height, width = model.size
        small, n = model.picture(command.image, (height // factor, width // factor)), command.n or 4
        method = command.method or ("told" if _is_told(model, factor) else "mmps")
        say(f"{height // factor} x {width // factor} to {height} x {width}, by {method}")
        large = small.repeat_interleave(factor, 2).repeat_interleave(factor, 3)
        x, steps = (_told if method == "told" else _solved)(command, model, small, factor, method, n)
        return Result((large,), x, {"factor": factor, "method": method, "steps": steps})

    return perform("upscale", command, words, {"n": command.n or 4, "seed": command.seed or 0}, work)


def _factor(command: Upscale, model: "Model") -> int:
    """Return how many times larger; as the picture's file says where no flag does."""
    from gendi.cli.edited import picture_size

    height, width = model.size
    if command.factor is None:
        small = picture_size(Path(command.image))
        factor = height // small[0] if 2 * small[0] <= height else 0
        if (small[0] * factor, small[1] * factor) != (height, width):
            raise UsageError(
                f"{command.image} is {small[0]} x {small[1]} pixels (height x width), of which the model's {height} x "
                f"{width} is no multiple. Scale or crop it first."
            )
        return factor
    if command.factor < 2 or height % command.factor or width % command.factor:
        raise UsageError(
            f"--factor {command.factor} cannot be: it must be 2 or more and divide the model's {height} x {width} "
            "pixels (height x width)."
        )
    return command.factor


def _is_told(model: "Model", factor: int) -> bool:
    return model.bundle.condition(f"low-res:{factor}") is not None


def _told(command: Upscale, model: "Model", small: "Tensor", factor: int, method: str, n: int) -> "tuple[Tensor, int]":
    """Return n draws of a model that is told the small picture, as it was in training, and the steps."""
    from gendi.cli.edited import drawing, to_bytes
    from gendi.diffusion.gaussian.samplers import sample

    if not _is_told(model, factor):
        raise UsageError(f"--method told needs a model that was trained with --condition low-res:{factor}.")
    if command.std is not None or command.zeta is not None:
        raise UsageError("--std and --zeta are no options of --method told.")
    how = drawing(command, model)
    large = to_bytes(small)[0].repeat(factor, 0).repeat(factor, 1)
    denoiser, cond = model.told(n, {f"low-res:{factor}": large})
    shape = model.bundle.codec.shape
    x = sample(denoiser, shape, n, how, cond=cond, poll=model.poll)
    return x, how.steps


def _solved(
    command: Upscale, model: "Model", small: "Tensor", factor: int, method: str, n: int
) -> "tuple[Tensor, int]":
    """Return n draws that pool to the small picture, and the steps."""
    from gendi.cli.edited import drawing
    from gendi.diffusion.gaussian.inverse.methods import solve
    from gendi.diffusion.gaussian.inverse.operators import Pool

    options = options_of(command, method)
    how, (denoiser, cond) = drawing(command, model, method), model.told(n)
    y, shape = small.expand(n, -1, -1, -1), model.bundle.codec.shape
    return solve(denoiser, Pool(factor), y, shape, how, method=method, cond=cond, poll=model.poll, **options), how.steps
