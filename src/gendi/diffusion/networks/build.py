"""Builds an untrained network from a configuration."""

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
    """Return an untrained network that takes `conditions`, for samples of shape (C, H, W), (D,) for an MLP, or
    (L,) for tokens.

    It has `out_channels` outputs, by default C or D; for tokens they are K, the number of different ones.

    Raises:
        UsageError: the network is for samples of another shape; a condition enters in a way that the network does not
            have; or a condition has size -1, which stands for the number of classes of the data, known only in
            training.
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
