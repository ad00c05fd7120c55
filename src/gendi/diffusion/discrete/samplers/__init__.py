"""Samplers of tokens: plain functions of a denoiser, in one registry.

A sampler is a generator `(denoiser, x, times, draws, **options) -> State, State, ...`: it starts from x at times[0],
and yields the state after each step. `denoiser` returns probabilities in float64 and has its conditions bound
(`gendi.diffusion.discrete.denoiser.Bound`); `draws()` returns uniform numbers in float64, (B, L), which are the same
for a sample whatever its neighbours are. A sampler with the argument `fixed` is told which positions are given.

**Draws are in float64**, by the inverse of the distribution function. The usual way, the argmax of log p plus Gumbel
noise in float32, cannot draw noise far out in the tail: it lowers the temperature without a word [Zheng et al. 2025].
"""

from gendi.diffusion.discrete.samplers.draw import sample, trajectory
from gendi.diffusion.discrete.samplers.info import TokenSamplerInfo
from gendi.diffusion.discrete.samplers.registry import TOKEN_SAMPLERS
from gendi.diffusion.discrete.samplers.state import TokenState, categorical

__all__ = ["TOKEN_SAMPLERS", "TokenSamplerInfo", "TokenState", "categorical", "sample", "trajectory"]
