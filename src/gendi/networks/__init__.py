"""Networks: each maps (x (B, ...), time value (B,), conditions by name) to a tensor of x's shape, or to as many
channels as it was built with."""

from gendi.networks.build import build_network, network_of
from gendi.networks.dit import DiT
from gendi.networks.mlp import MLP
from gendi.networks.unet import UNet

__all__ = ["MLP", "DiT", "UNet", "build_network", "network_of"]
