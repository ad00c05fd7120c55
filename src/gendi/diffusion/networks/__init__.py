"""Networks. Each maps x (B, ...), time values (B,) and conditions by name to a tensor of the shape of x, or with the
number of channels that it was built for."""

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
