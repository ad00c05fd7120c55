"""From a configuration to an untrained network."""

from collections.abc import Sequence

from torch import nn

from gendi.diffusion.config import ConditionConfig
from gendi.diffusion.networks.config import NetworkConfig
from gendi.diffusion.networks.registry import NETWORKS, check_way_in
from gendi.errors import UsageError


def build_network(
    config: NetworkConfig,
    shape: tuple[int, ...],
    conditions: Sequence[ConditionConfig] = (),
    out_channels: int | None = None,
) -> nn.Module:
    """Return an untrained network that is told `conditions`, for samples of shape (C, H, W), or (D,) for an MLP.

    It has `out_channels` outputs, by default C or D.

    Raises:
        UsageError: a network for samples of another shape; a way to enter that the network has not; or a condition of
            size -1, which only training can resolve: the data say how many classes there are.
    """
    for condition in conditions:
        if condition.size < 0:
            raise UsageError(f"the size of the condition {condition.name} is left to the data: give the number itself.")
        check_way_in(config, condition.name, condition.kind, condition.via)
    info = NETWORKS.find(config.kind)
    if len(shape) != info.dimensions:
        wanted = {1: "vectors (D,)", 3: "images (C, H, W)"}.get(info.dimensions, f"{info.dimensions} dimensions")
        raise UsageError(f"network.kind = {config.kind!r} is for {wanted}; these samples have shape {shape}.")
    return info.build(config, shape[0], conditions, shape[0] if out_channels is None else out_channels)
