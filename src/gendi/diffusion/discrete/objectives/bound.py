"""The variational bound as a loss.

continuous time     the integrand at t, uniform on (0, 1]                     [Sahoo et al. 2024, eq. 10]
chain of T          T times the term of step i, i uniform on 1 .. T           [Austin et al. 2021, eq. 1]
"""

from jaxtyping import Float, Float64
from torch import Tensor

from gendi.diffusion.conditions import Conditions
from gendi.diffusion.discrete.bound import bound_term
from gendi.diffusion.discrete.network import NetworkTokenDenoiser
from gendi.diffusion.discrete.objectives.base import TokenObjective
from gendi.diffusion.discrete.process import Tokens


class TokenBoundLoss(TokenObjective):
    """The objective that the module's docstring describes."""

    def at(
        self,
        denoiser: NetworkTokenDenoiser,
        x_0: Tokens,
        t: Float64[Tensor, " batch"],
        u: Float64[Tensor, "batch length"],
        cond: Conditions,
    ) -> Float[Tensor, " batch"]:
        process = self.schedule
        if process.steps is None:
            x_t = process.noised(x_0, t, u)
            return process.bound_rate(x_0, x_t, denoiser(x_t, t, **cond), t).mean(1)
        t = (t * process.steps).ceil() / process.steps
        x_t, s = process.noised(x_0, t, u), t - 1 / process.steps
        terms = bound_term(process, x_0, x_t, denoiser(x_t, t, **cond), t, s.clamp(min=0))
        return process.steps * terms / x_0.shape[1]
