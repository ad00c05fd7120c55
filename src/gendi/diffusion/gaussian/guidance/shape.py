"""Rules that correct x0_hat after guidance where a large scale overdoes it."""

import math

import torch
from torch import Tensor

from gendi.diffusion.conditions import Conditions
from gendi.diffusion.gaussian.denoiser import Denoiser
from gendi.diffusion.gaussian.guidance.base import Answer, Guided, MixtureRule, answer_of
from gendi.diffusion.gaussian.process import like
from gendi.errors import UsageError


class Rescale(Guided):
    """A guided answer whose spread is brought back to that of the plain answer.  [Lin et al. 2023, section 3.4]

        x0 = phi (std x_c / std x_w) x_w + (1 - phi) x_w

    Here std is over all dimensions of a sample, x_w is the rule's answer and x_c that of its first branch, from the
    same call. Lin et al. rescale the network's output; here it is x0_hat. phi = 0 changes nothing.

    Args:
        rule: a rule that mixes: `ClassifierFree`, `Factorised` or `Autoguidance`.
        phi: how far the spread is brought back, from 0 to 1.

    Raises:
        UsageError: phi lies outside [0, 1].
    """

    def __init__(self, rule: MixtureRule, phi: float) -> None:
        super().__init__(rule)
        if not 0 <= phi <= 1:
            raise UsageError(f"the guidance rescale {phi:g} is out of range: it must lie between 0 and 1.")
        self.rule, self.phi = rule, phi

    def _answer(self, x_t: Tensor, t: Tensor, cond: Conditions) -> Answer:
        answer, plain = self.rule.parts(x_t, t, cond)
        there, here = (x.flatten(1).double().std(1, correction=0) for x in (plain, answer.x_0))
        ratio = torch.where(here > 0, there / here, 1)
        return Answer(like(1 + self.phi * (ratio - 1), x_t) * answer.x_0, answer.share)


class Threshold(Guided):
    """Dynamic thresholding: x0_hat in the range of the data, [-limit, limit].  [Saharia et al. 2022, section 2.3]

        x0 = clip(x0, -s, s) limit / s,   s = max(limit, the percentile of |x0| over a sample's dimensions)

    The percentile is the smallest value that the share `percentile` of the dimensions does not exceed. Without a
    percentile s = limit, which is clipping. A learned variance is not changed.

    Args:
        denoiser: any denoiser, usually a guided one.
        percentile: the share of dimensions, in (0, 1]; None clips.
        limit: the largest magnitude of data in model space.

    Raises:
        UsageError: the percentile lies outside (0, 1], or the limit is not above 0 and finite.
    """

    def __init__(self, denoiser: Denoiser, percentile: float | None = 0.995, limit: float = 1.0) -> None:
        super().__init__(denoiser)
        if percentile is not None and not 0 < percentile <= 1:
            raise UsageError(f"the threshold's percentile {percentile:g} is out of range: above 0, at most 1.")
        if not 0 < limit < math.inf:
            raise UsageError(f"the threshold's limit {limit:g} is out of range: it must be above 0 and finite.")
        self.percentile, self.limit = percentile, limit

    def _answer(self, x_t: Tensor, t: Tensor, cond: Conditions) -> Answer:
        answer = answer_of(self.denoiser, x_t, t, cond)
        x_0 = answer.x_0
        if self.percentile is None:
            return Answer(x_0.clamp(-self.limit, self.limit), answer.share)
        sizes = x_0.flatten(1).abs()
        rank = math.ceil(self.percentile * sizes.shape[1])
        s = like(sizes.kthvalue(rank, dim=1).values.clamp(min=self.limit), x_0)
        return Answer(x_0.clamp(-s, s) * (self.limit / s), answer.share)
