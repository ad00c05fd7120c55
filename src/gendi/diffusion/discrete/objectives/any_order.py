"""The bound for masks, written in the number of masks instead of the time.

Of L positions n are masked, n uniform on 1 .. L and the positions at random, and the loss is 1 / n times the sum over
them of -log p(x_0^i | x_t). Its mean times L is the bound of any-order autoregression, which is that of the masked
process in continuous time under any schedule. As n itself is drawn, and not a time that decides how many masks there
are, the estimate varies less. [Uria et al. 2014; Hoogeboom et al. 2022, eq. 4; Ou et al. 2024, theorem 2]
"""

from jaxtyping import Float, Float64
from torch import Tensor, where

from gendi.diffusion.conditions import Conditions
from gendi.diffusion.discrete.network import NetworkTokenDenoiser
from gendi.diffusion.discrete.objectives.base import TokenObjective
from gendi.diffusion.discrete.process import Absorbing, Tokens


class AnyOrder(TokenObjective):
    """The objective that the module's docstring describes."""

    def at(
        self,
        denoiser: NetworkTokenDenoiser,
        x_0: Tokens,
        t: Float64[Tensor, " batch"],
        u: Float64[Tensor, "batch length"],
        cond: Conditions,
    ) -> Float[Tensor, " batch"]:
        process, length = self.schedule, x_0.shape[1]
        assert isinstance(process, Absorbing)
        n = (t * length).ceil()[:, None]
        masked = u.argsort(1).argsort(1) < n
        x_t = where(masked, process.mask, x_0)
        log_p = denoiser(x_t, process.schedule.time(1 - n[:, 0] / length), **cond)
        cross = -log_p.gather(-1, x_0[..., None])[..., 0]
        return (where(masked, cross, 0.0) / n.to(cross)).sum(1)
