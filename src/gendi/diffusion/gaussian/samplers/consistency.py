"""Multistep consistency sampling: go to the data at once, back to a lower noise level with fresh noise, and so on."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from gendi.diffusion.gaussian.denoiser import Denoiser
from gendi.diffusion.gaussian.flow_map.contract import FlowMap
from gendi.diffusion.gaussian.process import Process
from gendi.diffusion.gaussian.samplers.state import Noise, State, pairs
from gendi.diffusion.gaussian.schedule import Schedule
from gendi.errors import UsageError


def consistency(denoiser: Denoiser, x: Tensor, times: Tensor, noise: Noise, *, levels: str = "") -> Iterator[State]:
    """Sample with a consistency function, one call a step.  [Song et al. 2023, algorithm 1]

        x_s = alpha_s f(x_t, t) + sigma_s noise

    If f is the end of the probability-flow ODE and x_t has the distribution q(x_t), then f has the distribution of the
    data, and x_s has the distribution q(x_s), however few the steps are. With E[x_0 | x_t] in the place of f this is
    not so, and more steps do not mend it. Of a flow map f is the way to s = 0.

    Args:
        denoiser, x, times, noise: see `gendi.diffusion.gaussian.samplers`.
        levels: sigma / alpha of the calls after the first, with commas between them, such as "2, 0.5" for three calls;
            by default those of the grid.

    Raises:
        UsageError: the levels do not fall, or are not one fewer than the calls.
    """
    process = Process(denoiser.schedule)
    for k, (t, s) in enumerate(pairs(_at_levels(denoiser.schedule, times, levels) if levels else times)):
        x_0 = denoiser.move(x, t, torch.zeros_like(t)) if isinstance(denoiser, FlowMap) else denoiser(x, t)
        x = process.sample(x_0, s, noise(k)) if s > 0 else x_0
        yield State(t, s, x, x_0)


def _at_levels(schedule: Schedule, times: Tensor, levels: str) -> Tensor:
    """Return `times` with those between the first and the last moved to the noise levels that `levels` lists."""
    try:
        found = [float(word) for word in levels.split(",")]
    except ValueError:
        raise UsageError(f"levels = {levels!r} is no list of numbers: write it like 2, 0.5.") from None
    if len(found) != len(times) - 2:
        raise UsageError(
            f"levels = {levels!r} are the noise levels of {len(found)} calls after the first, and {len(times) - 1} "
            "calls were asked for: give one level fewer than calls."
        )
    if not all(0 < level < math.inf for level in found):
        raise UsageError(f"levels = {levels!r}: a noise level, sigma / alpha, is a number above 0.")
    between = schedule.time(-2 * torch.tensor(found, dtype=torch.float64).log())
    if schedule.steps is not None:
        between = (between * schedule.steps).round().clamp(min=1) / schedule.steps
    moved = torch.cat([times[:1], between, times[-1:]])
    if not bool((moved.diff() < 0).all()):
        raise UsageError(f"levels = {levels!r} must fall from call to call, and lie below the level of the first call.")
    return moved
