"""The samplers under a short name; they live in `gendi.diffusion.gaussian.samplers`."""

from gendi.diffusion.gaussian.samplers import GRIDS as GRIDS
from gendi.diffusion.gaussian.samplers import SAMPLERS as SAMPLERS
from gendi.diffusion.gaussian.samplers import SamplerInfo as SamplerInfo
from gendi.diffusion.gaussian.samplers import State as State
from gendi.diffusion.gaussian.samplers import get_sampler as get_sampler
from gendi.diffusion.gaussian.samplers import initial as initial
from gendi.diffusion.gaussian.samplers import make_grid as make_grid
from gendi.diffusion.gaussian.samplers import sample as sample
from gendi.diffusion.gaussian.samplers import trajectory as trajectory

__all__ = ["GRIDS", "SAMPLERS", "SamplerInfo", "State", "get_sampler", "initial", "make_grid", "sample", "trajectory"]
