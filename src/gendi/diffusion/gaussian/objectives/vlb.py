"""The variational bound. The loss of each row is one of its T terms, T L_t (see `bound.py`).  [Ho et al. 2020, eq.
5]"""

from jaxtyping import Float
from torch import Tensor

from gendi.diffusion.gaussian.objectives.bound import bound_term
from gendi.diffusion.gaussian.objectives.noising import Answer, NoisingObjective


class VariationalBound(NoisingObjective):
    """The objective that the module's docstring describes."""

    def of(self, answer: Answer) -> Float[Tensor, " batch"]:
        return bound_term(
            answer.denoiser,
            answer.x_0,
            answer.t,
            answer.error,
            answer.c,
            answer.share,
            self.half_bin,
            large=self.options.fixed_variance == "large",
        )
