"""Builds the network, the denoiser and the objective of a run from its configuration."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from gendi.data.codec import Codec
from gendi.diffusion.config import ConditionConfig
from gendi.diffusion.gaussian.denoiser import NetworkDenoiser, make_denoiser
from gendi.diffusion.gaussian.objectives.base import Learner
from gendi.diffusion.gaussian.schedule import Schedule
from gendi.diffusion.networks.build import build_network
from gendi.diffusion.networks.cost import Cost, cost_of, flops_of_layers
from gendi.diffusion.networks.told import of_a_flow_map, scale, without_effect
from gendi.diffusion.objective import Objective
from gendi.diffusion.shares import Shares
from gendi.diffusion.trained import Trained
from gendi.train.config import RunConfig
from gendi.train.weights.families import Batches, family_of


def network_of(config: RunConfig, shape: tuple[int, ...], more: tuple[ConditionConfig, ...] = ()) -> nn.Module:
    """Return an untrained network for samples of `shape`, with as many outputs as the run's denoiser needs.

    It is told `more` beside the conditions of the run.
    """
    network = build_network(config.network, shape, (*conditions_of(config), *more), outputs_of(config, shape))
    if told := (*told_of(config), *more):
        without_effect(network, told)
    return network


def told_of(config: RunConfig) -> tuple[ConditionConfig, ...]:
    """Return the numbers that the network is told beside the time and the conditions of the data."""
    ends = config.objective.distil.guidance_range
    angles = of_a_flow_map() if config.objective.parameterisation.flow_map else ()
    return (*angles, scale(*ends)) if ends else angles


def conditions_of(config: RunConfig) -> tuple[ConditionConfig, ...]:
    """Return the conditions of the network of a run: those of the data, and what else it is told."""
    return (*config.conditions, *told_of(config))


def outputs_of(config: RunConfig, shape: tuple[int, ...]) -> int:
    """Return how many channels, or numbers, the network of a run outputs for samples of `shape`."""
    return family_of(config).outputs(config, shape)


def run_cost(config: RunConfig, shape: tuple[int, ...]) -> Cost:
    """Return the cost of the network of a run on samples of `shape`; see `cost_of`."""
    return cost_of(config.network, shape, conditions_of(config), outputs_of(config, shape))


def posterior_of(config: RunConfig, codec: Codec, device: torch.device | str) -> dict[str, nn.Module]:
    """Return the option `posterior` of the denoiser of a run, if its data have points, or no option.

    The outputs of a flow map are no means, and those of other parameterisations than EDM's with one output are F.
    """
    meaning = config.objective.parameterisation
    affine = meaning.flow_map or not meaning.precondition or meaning.variance != "fixed"
    found = None if affine or config.network.time_input != "log-snr" else codec.point_posterior()
    return {} if found is None else {"posterior": found.to(device)}


def denoiser_of(config: RunConfig, network: nn.Module, process: Any, sigma_data: float, **options: Any) -> Trained:
    """Return the denoiser of a run's network under a schedule or a process.

    `options` are `clip`, `precision` and what `posterior_of` returns.
    """
    return family_of(config).denoiser(config, network, process, sigma_data, **options)


def mean_of(
    config: RunConfig, network: nn.Module, schedule: Schedule, sigma_data: float, **options: Any
) -> NetworkDenoiser:
    """Return the denoiser E[x_0 | x_t] of a network that has only begun to be a student, as `denoiser_of` does.

    It is told nothing, which the network takes as it took its teacher's calls.
    """
    meaning, time_input = config.objective.parameterisation, config.network.time_input
    return make_denoiser(network, schedule, meaning, sigma_data, time_input, **options)


def shares_of(config: RunConfig, network: nn.Module, shape: tuple[int, ...], device: torch.device) -> Shares | None:
    """Return how samplers divide a batch among the cores of a CPU; None for other devices and for vectors."""
    if device.type != "cpu" or len(shape) != 3:
        return None
    return Shares.of(flops_of_layers(network, shape, conditions_of(config)), torch.get_num_threads())


def objective_of(
    config: RunConfig,
    half_bin: float | None,
    device: torch.device,
    sigma_data: float = 1.0,
    teacher: Callable[[Any], NetworkDenoiser] | None = None,
    learner: Callable[[Any, tuple[ConditionConfig, ...]], Learner] | None = None,
) -> Objective[Any, Any]:
    """Return the objective of a run on `device`; `half_bin` is that of its codec, and `Batches` explains the rest."""
    return family_of(config).objective(config, Batches(half_bin, device, sigma_data, teacher, learner))
