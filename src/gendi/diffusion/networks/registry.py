"""The registry of networks. This module does not import torch.

Your own network is added in Python, or by the entry points `gendi.networks` of an installed package:

    NETWORKS.register("mine", NetworkInfo(Mine, dimensions=3))

`network.kind` may then be "mine".
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from gendi.diffusion.config import ConditionConfig
from gendi.diffusion.networks import rules
from gendi.diffusion.networks.config import NetworkConfig
from gendi.errors import UsageError
from gendi.machine.registry import Registry, at_address

if TYPE_CHECKING:
    from torch import nn

    Make = Callable[[NetworkConfig, int, Sequence[ConditionConfig], int], nn.Module]


@dataclass(frozen=True)
class NetworkInfo:
    """A network in the registry: how to build it, and what its options must satisfy.

    Args:
        make: a class or a function that builds a network from (configuration, channels of a sample, conditions,
            channels of the output); or its address "package.module:attribute".
        dimensions: the number of axes of a sample: 3 for (C, H, W), 1 for (D,).
        title: what messages call the network.
        check: raises `UsageError` for options that disagree.
        check_way_in: raises `UsageError` if a condition, given as (configuration, name, kind, via), cannot enter so.
        tokens: whether a sample is L tokens, whole numbers of shape (L,), and the output is (B, L, channels).
    """

    make: "str | Make"
    dimensions: int
    title: str = ""
    check: Callable[[NetworkConfig], None] | None = None
    check_way_in: Callable[[NetworkConfig, str, str, str], None] | None = None
    tokens: bool = False

    def build(
        self, config: NetworkConfig, channels: int, conditions: Sequence[ConditionConfig], out_channels: int
    ) -> "nn.Module":
        """Return an untrained network."""
        make = self.make
        if isinstance(make, str):
            make = cast("Make", at_address(make))
        return make(config, channels, conditions, out_channels)


_HERE = "gendi.diffusion.networks"

NETWORKS: Registry[NetworkInfo] = Registry(
    "network",
    "gendi.networks",
    {
        "unet": NetworkInfo(f"{_HERE}.unet:UNet", 3, "U-Net", rules.check_unet, rules.unet_way_in),
        "dit": NetworkInfo(f"{_HERE}.dit:DiT", 3, "DiT", rules.check_dit, rules.token_way_in),
        "mlp": NetworkInfo(f"{_HERE}.mlp:MLP", 1, "MLP", rules.check_mlp, rules.mlp_way_in),
        "sequence": NetworkInfo(
            f"{_HERE}.sequence:SequenceTransformer",
            1,
            "sequence transformer",
            rules.check_sequence,
            rules.sequence_way_in,
            tokens=True,
        ),
    },
)
"""The networks by the names that `network.kind` may have."""


def validate(config: NetworkConfig) -> None:
    """Raise `UsageError` naming the first field that disagrees with another; the numbers are within `ranges`."""
    if config.kind not in NETWORKS:
        raise UsageError(f"network.kind = {config.kind!r} is unknown. Known: {', '.join(map(repr, NETWORKS))}.")
    levels = len(config.channels)
    for name, values in (("blocks", config.blocks), ("heads", config.heads)):
        if isinstance(values, tuple) and len(values) != levels:
            raise UsageError(f"network.{name} has {len(values)} entries for {levels} level(s): give one, or each.")
    if config.time_features % 2:
        raise UsageError(f"network.time_features = {config.time_features} must be even: a sine and a cosine each.")
    check = NETWORKS[config.kind].check
    if check is not None:
        check(config)


def check_way_in(config: NetworkConfig, name: str, kind: str, via: str) -> None:
    """Raise `UsageError` if the condition `name` of a kind cannot enter this network by `via`."""
    check = NETWORKS.find(config.kind).check_way_in
    if check is not None:
        check(config, name, kind, via)
