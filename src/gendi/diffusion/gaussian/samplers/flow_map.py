"""Sampling with a flow map: from each time to the next one in one call, without noise."""

from collections.abc import Iterator

from torch import Tensor

from gendi.diffusion.gaussian.denoiser import Denoiser
from gendi.diffusion.gaussian.flow_map import FlowMap, ddim_target
from gendi.diffusion.gaussian.samplers.state import Noise, State, pairs
from gendi.errors import UsageError


def flow_map(denoiser: Denoiser, x: Tensor, times: Tensor, noise: Noise) -> Iterator[State]:
    """Sample with a flow map, one call a step: x_s = F(x_t, t, s) for s < t.

    For an exact map the end does not depend on the number of steps. The x_0 of a state is where DDIM's step to x_s
    points. Raises `UsageError` for a denoiser that is no flow map.
    """
    if not isinstance(denoiser, FlowMap):
        raise UsageError(
            "the sampler flow-map needs a flow map, which takes x_t to any x_s in one call; this model knows x_0 "
            "alone, or is guided, which a flow map has built in. A student of consistency tuning is sampled by "
            "consistency, and any other model by ddim or dpmpp-2m."
        )
    for t, s in pairs(times):
        x_s = denoiser.move(x, t, s)
        x_0 = ddim_target(denoiser.schedule, x, x_s, t, s)
        x = x_s
        yield State(t, s, x, x_0)
