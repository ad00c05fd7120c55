"""Guidance in an interval of noise levels: where it helps, and nowhere else."""

import math

import torch
from torch import Tensor

from gendi.diffusion.conditions import Conditions
from gendi.diffusion.gaussian.denoiser import Denoiser, LearnedVariance
from gendi.diffusion.gaussian.guidance.base import Answer, Guided, answers_of, pick
from gendi.errors import UsageError


class Interval(Guided):
    """A rule inside an interval of noise levels, another denoiser outside it.  [Kynkaanniemi et al. 2024, section 3]

        x0 = inside(x_t)    where low < sigma / alpha <= high
             outside(x_t)   elsewhere

    The rule is not called outside the interval, so its extra cost arises only inside.

    Args:
        inside: the rule.
        outside: the denoiser elsewhere, usually the one that the rule holds.
        low, high: the interval, 0 <= low < high; high may be infinite.

    Raises:
        UsageError: the interval is empty, or only one of the two denoisers learned its variance.
    """

    def __init__(self, inside: Denoiser, outside: Denoiser, low: float, high: float = math.inf) -> None:
        super().__init__(inside)
        if not 0 <= low < high:
            raise UsageError(
                f"the guidance interval from {low:g} to {high:g} of sigma / alpha is empty: it needs 0 <= LOW < HIGH."
            )
        if isinstance(inside, LearnedVariance) != isinstance(outside, LearnedVariance):
            raise UsageError("the rule and the denoiser outside its interval must both learn a variance, or neither.")
        self.outside, self.low, self.high = outside, low, high

    def _answer(self, x_t: Tensor, t: Tensor, cond: Conditions) -> Answer:
        alpha, sigma = self.schedule(t)
        level = (sigma / alpha).expand(len(x_t))
        within = (self.low < level) & (level <= self.high)
        wanted = torch.stack([within, ~within])
        answers = [
            answers_of(model, x_t, t, [cond], mask[None])[0]
            for model, mask in zip((self.denoiser, self.outside), wanted, strict=True)
            if bool(mask.any())
        ]
        wanted = wanted[wanted.any(1)]
        shares = [answer.share for answer in answers if answer.share is not None]
        return Answer(pick(wanted, [answer.x_0 for answer in answers]), pick(wanted, shares) if shares else None)
