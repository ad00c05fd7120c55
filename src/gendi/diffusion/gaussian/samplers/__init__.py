"""Samplers: plain functions of a denoiser, in one registry.

A sampler is a generator `(denoiser, x, times, noise, **options) -> State, State, ...`: it starts from x at times[0],
makes a network call or two per step, and yields the state after each. It knows nothing of conditions: the denoiser
that it is given has them bound (`gendi.diffusion.gaussian.conditioned`), so an option and a condition may share a name.
Its history lives in its local variables, so one denoiser serves any number of loops. A caller who wants the film
iterates over the states; a caller who wants the sample takes the last one.
"""

from gendi.diffusion.gaussian.samplers.draw import draw, initial, sample, trajectory
from gendi.diffusion.gaussian.samplers.drawing import Drawing
from gendi.diffusion.gaussian.samplers.grid import GRIDS, make_grid
from gendi.diffusion.gaussian.samplers.info import SamplerInfo
from gendi.diffusion.gaussian.samplers.registry import SAMPLERS, get_sampler
from gendi.diffusion.gaussian.samplers.state import State

__all__ = [
    "GRIDS",
    "SAMPLERS",
    "Drawing",
    "SamplerInfo",
    "State",
    "draw",
    "get_sampler",
    "initial",
    "make_grid",
    "sample",
    "trajectory",
]
