"""The losses and times of an objective, as the tests need them: at given times and noises."""

from typing import Any

from torch import Tensor

from gendi.diffusion.gaussian.config import ObjectiveConfig, ProcessConfig
from gendi.diffusion.gaussian.denoiser import NetworkDenoiser
from gendi.diffusion.gaussian.objectives import TIME_SAMPLINGS, NoisingObjective, Setting, make_objective
from gendi.diffusion.gaussian.schedule import Schedule
from gendi.diffusion.randomness import stream


def denoising_loss(
    options: ObjectiveConfig,
    denoiser: NetworkDenoiser,
    x_0: Tensor,
    t: Tensor,
    eps: Tensor,
    cond: Any = None,
    half_bin: float | None = None,
) -> Tensor:
    process = ProcessConfig(denoiser.schedule.name, denoiser.schedule.steps)
    objective = make_objective(Setting(options, process, half_bin))
    assert isinstance(objective, NoisingObjective)
    return objective.at(denoiser, x_0, t, eps, cond)


def draw_times(options: ObjectiveConfig, schedule: Schedule, batch: int, seed: int, step: int) -> Tensor:
    return TIME_SAMPLINGS.find(options.time_sampling).of(options, schedule).draw(stream(seed, "time", step), batch)
