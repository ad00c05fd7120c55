"""The weighted squared error for the mean, and the bound for the learned variance alone.

simple + vlb_weight T L_t, in which L_t has no gradient for the mean     [Nichol & Dhariwal 2021, eq. 16]
"""

from jaxtyping import Float
from torch import Tensor

from gendi.diffusion.gaussian.objectives.bound import bound_term
from gendi.diffusion.gaussian.objectives.noising import Answer, NoisingObjective


class Hybrid(NoisingObjective):
    """See the module's docstring."""

    def of(self, answer: Answer) -> Float[Tensor, " batch"]:
        error = answer.error.detach()
        bound = bound_term(answer.denoiser, answer.x_0, answer.t, error, answer.c, answer.share, self.half_bin)
        return self.weighted_error(answer) + self.options.vlb_weight * bound
