"""Autoguidance: a worse version of a model shows where its mistakes lie, and guidance moves away from them."""

import torch
from torch import Tensor

from gendi.diffusion.conditions import Conditions
from gendi.diffusion.gaussian.denoiser import Denoiser, LearnedVariance
from gendi.diffusion.gaussian.guidance.base import Answer, MixtureRule, answers_of, mix
from gendi.diffusion.gaussian.guidance.scale import Scale, checked_scale, scale_at
from gendi.errors import UsageError


class Autoguidance(MixtureRule):
    """Guidance of a good denoiser away from a bad one.  [Karras et al. 2024, section 4]

        x0 = x_bad + w (x_good - x_bad)

    Both are given the same conditions, or none. w = 1 is the good denoiser and w = 0 the bad one, bit for bit and at
    the cost of one of them; otherwise each is called once. A learned variance is that of the good denoiser.

    Args:
        denoiser: the good denoiser.
        bad: the bad one: smaller or trained for less time, for the same process and shape.
        scale: w, a number or a function of time, 0 or more.

    Raises:
        UsageError: the scale is NaN, infinite or below 0; the two schedules differ; or the good denoiser learned its
            variance and the bad one did not.
    """

    def __init__(self, denoiser: Denoiser, bad: Denoiser, scale: Scale) -> None:
        super().__init__(denoiser)
        times = torch.linspace(0.05, 1, 20, dtype=torch.float64)
        here, there = torch.stack(denoiser.schedule(times)), torch.stack(bad.schedule(times))
        if not torch.allclose(here, there, rtol=1e-3, atol=1e-4):
            raise UsageError(
                f"the bad model's schedule ({bad.schedule.name}) is not the model's ({denoiser.schedule.name}): at "
                "the same time the two see different mixtures of signal and noise. Give a model of the same process."
            )
        if isinstance(denoiser, LearnedVariance) and not isinstance(bad, LearnedVariance):
            raise UsageError("the model learned its variance and the bad model did not: give one that did.")
        self.bad, self.scale = bad, checked_scale(scale)

    def parts(self, x_t: Tensor, t: Tensor, cond: Conditions) -> tuple[Answer, Tensor]:
        """Return the guided answer, and x_good (x_bad where w = 0)."""
        w = scale_at(self.scale, t).expand(len(x_t))
        weights = torch.stack([w, 1 - w])
        wanted = weights != 0
        answers = [
            answers_of(model, x_t, t, [cond], mask[None])[0] if bool(mask.any()) else None
            for model, mask in zip((self.denoiser, self.bad), wanted, strict=True)
        ]
        called = [k for k, answer in enumerate(answers) if answer is not None]
        return mix(weights[called], [answer for answer in answers if answer is not None])
