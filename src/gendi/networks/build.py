"""From a configuration to an untrained network."""

from collections.abc import Sequence

from torch import nn

from gendi.config import ConditionConfig, NetworkConfig, RunConfig
from gendi.errors import UsageError
from gendi.networks.unet import UNet


def build_network(
    config: NetworkConfig,
    shape: tuple[int, ...],
    conditions: Sequence[ConditionConfig] = (),
    out_channels: int | None = None,
) -> nn.Module:
    """Return an untrained network for samples of shape (C, H, W) that is told `conditions`.

    It has `out_channels` outputs, by default C. Raises `UsageError` for a condition of size -1, which only training can
    resolve: the data say how many classes there are.
    """
    for condition in conditions:
        if condition.size < 0:
            raise UsageError(f"the size of the condition {condition.name} is left to the data: give the number itself.")
    return UNet(config, shape[0], conditions, shape[0] if out_channels is None else out_channels)


def network_of(config: RunConfig, shape: tuple[int, ...]) -> nn.Module:
    """Return an untrained network for a run whose samples have `shape`, with an output for each that the loss needs."""
    return build_network(config.network, shape, config.conditions, shape[0] * config.objective.outputs)
