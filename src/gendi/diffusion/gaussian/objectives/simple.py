"""The weighted squared error of each row.

    mean over dimensions of w(t) c_out^2 |F - F*|^2 = w(t) |x_0 - x0_hat|^2

The weights w(t) are in `weightings.py`. With the weighting `simple` this is L_simple.  [Ho et al. 2020, eq. 14]
"""

from jaxtyping import Float
from torch import Tensor

from gendi.diffusion.gaussian.objectives.noising import Answer, NoisingObjective


class Simple(NoisingObjective):
    """The objective that the module's docstring describes."""

    def of(self, answer: Answer) -> Float[Tensor, " batch"]:
        return self.weighted_error(answer)
