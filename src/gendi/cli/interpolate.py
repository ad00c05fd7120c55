"""`gendi interpolate`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import tyro

from gendi.cli.editing import Edit, perform, read_edit
from gendi.cli.parse import Calls, Samples, named, shows
from gendi.errors import UsageError

if TYPE_CHECKING:
    from gendi.cli.edited import Model, Result

EXAMPLES = """\
  gendi interpolate runs/mnist a.png b.png            eight pictures from one to the other
  gendi interpolate runs/mnist a.png b.png --n 20 --out film/"""


@dataclass(frozen=True, kw_only=True)
class Interpolate(Edit):
    """Walk from one picture to another through the noise that the probability-flow ODE carries them to."""

    to: Annotated[tyro.conf.Positional[str], named("IMAGE")]
    """The picture to arrive at."""
    n: Annotated[Samples, shows("8")] = None
    """How many pictures, both ends among them."""
    steps: Annotated[Calls, shows("50")] = None
    """Steps of the ODE each way, two network calls each."""


def main(args: Sequence[str]) -> int:
    """Run the command."""
    command, words = read_edit(Interpolate, args, "interpolate", EXAMPLES)
    n, steps = command.n or 8, command.steps or 50
    if n < 2:
        raise UsageError("--n 1 is out of range: both ends are among the pictures, so it must be 2 or more.")

    def work(model: "Model") -> "Result":
        import torch

        from gendi.cli.edited import Result
        from gendi.diffusion.gaussian.inverse.latent import interpolate

        a, b = (model.picture(path).expand(n, -1, -1, -1) for path in (command.image, command.to))
        weights = torch.linspace(0, 1, n, dtype=torch.float64)
        x = interpolate(model.carrying(n), a, b, weights, steps=steps)
        return Result((), x)

    return perform("interpolate", command, words, {"to": command.to, "n": n, "steps": steps}, work)
