"""`gendi denoise`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from gendi.cli.console import say
from gendi.cli.editing import Draw, in_range, perform, read_edit
from gendi.cli.parse import Number, shows

if TYPE_CHECKING:
    from gendi.cli.edited import Model, Result

EXAMPLES = """\
  gendi denoise runs/mnist noisy.png                 how noisy it is, is estimated
  gendi denoise runs/mnist noisy.png --noise 0.2     deviation of the noise, black to white being 1"""


@dataclass(frozen=True, kw_only=True)
class Denoise(Draw):
    """Take the noise out of a picture: first the mean of what it may have been, then draws of it."""

    noise: Annotated[Number, shows("estimated")] = None
    """Standard deviation of the noise, as a share of the way from black to white (0.2 is 51 levels of a byte)."""

    TURNS: ClassVar[bool] = False


def main(args: Sequence[str]) -> int:
    """Run the command."""
    command, words = read_edit(Denoise, args, "denoise", EXAMPLES)
    if command.noise is not None:
        in_range("--noise", command.noise, 1e-3, 10, ", as a share of the way from black to white")

    def work(model: "Model") -> "Result":
        import torch

        from gendi.cli.edited import Result, drawing
        from gendi.diffusion.conditions import take
        from gendi.diffusion.gaussian.inverse.noisy import denoise, denoised_mean, estimate_noise

        picture, n = model.picture(command.image), command.n or 4
        noise = command.noise
        if noise is None:
            noise = max(1e-3, float(estimate_noise(picture)) / 2)
            say(f"the noise is estimated at {noise:.3g} (--noise says otherwise)")
        how, (denoiser, cond) = drawing(command, model), model.told(n)
        mean = denoised_mean(denoiser, picture, 2 * noise, take(cond, slice(0, 1), model.device))
        x = denoise(denoiser, picture.expand(n, -1, -1, -1), 2 * noise, how, cond, model.poll)
        figures = {"noise": noise, "estimated": command.noise is None, "sampler": how.sampler, "steps": how.steps}
        return Result((picture,), torch.cat([mean, x]), figures)

    return perform("denoise", command, words, {"n": command.n or 4, "seed": command.seed or 0}, work)
