"""Networks: each maps (x (B, ...), time value (B,), conditions by name) to a tensor of x's shape, or to as many
channels as it was built with."""

from typing import TYPE_CHECKING

from gendi.machine.lazy import lazy_names

if TYPE_CHECKING:
    from gendi.diffusion.networks.build import build_network as build_network
    from gendi.diffusion.networks.config import NetworkConfig as NetworkConfig
    from gendi.diffusion.networks.dit import DiT as DiT
    from gendi.diffusion.networks.mlp import MLP as MLP
    from gendi.diffusion.networks.unet import UNet as UNet

_HOMES = {
    "DiT": "gendi.diffusion.networks.dit",
    "MLP": "gendi.diffusion.networks.mlp",
    "NetworkConfig": "gendi.diffusion.networks.config",
    "UNet": "gendi.diffusion.networks.unet",
    "build_network": "gendi.diffusion.networks.build",
}
__all__ = ["MLP", "DiT", "NetworkConfig", "UNet", "build_network"]
__getattr__, __dir__ = lazy_names(__name__, _HOMES)
