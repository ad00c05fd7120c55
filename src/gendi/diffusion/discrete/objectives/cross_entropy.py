"""The cross-entropy of noisy tokens, each counting alike at every time: the mean over positions of [x_t is noisy] times
-log p(x_0^i | x_t). It is the loss of masked language models, and no bound.  [Devlin et al. 2019; Chang et al. 2022]
"""

from jaxtyping import Float, Float64
from torch import Tensor, where

from gendi.diffusion.conditions import Conditions
from gendi.diffusion.discrete.network import NetworkTokenDenoiser
from gendi.diffusion.discrete.objectives.base import TokenObjective
from gendi.diffusion.discrete.process import Absorbing, Tokens


class CrossEntropy(TokenObjective):
    """The objective that the module's docstring describes. With uniform noise, every position may be noisy."""

    def at(
        self,
        denoiser: NetworkTokenDenoiser,
        x_0: Tokens,
        t: Float64[Tensor, " batch"],
        u: Float64[Tensor, "batch length"],
        cond: Conditions,
    ) -> Float[Tensor, " batch"]:
        process = self.schedule
        x_t = process.noised(x_0, t, u)
        cross = -denoiser(x_t, t, **cond).gather(-1, x_0[..., None])[..., 0]
        return (where(x_t == process.mask, cross, 0.0) if isinstance(process, Absorbing) else cross).mean(1)
