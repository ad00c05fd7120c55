"""The weighted squared error trains the mean, and the variational bound trains only the learned variance.

simple + vlb_weight T L_t, where L_t has no gradient for the mean     [Nichol & Dhariwal 2021, eq. 16]
"""

from jaxtyping import Float
from torch import Tensor

from gendi.diffusion.gaussian.objectives.bound import bound_term
from gendi.diffusion.gaussian.objectives.noising import Answer, NoisingObjective


class Hybrid(NoisingObjective):
    """The objective that the module's docstring describes."""

    def of(self, answer: Answer) -> Float[Tensor, " batch"]:
        error = answer.error.detach()
        bound = bound_term(answer.denoiser, answer.x_0, answer.t, error, answer.c, answer.share, self.half_bin)
        return self.weighted_error(answer) + self.options.vlb_weight * bound
