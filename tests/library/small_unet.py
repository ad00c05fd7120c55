"""A small U-Net with no zeros left, and inputs for it."""

import torch
from torch import Tensor
from worlds import gaussian

from gendi.diffusion.config import ConditionConfig
from gendi.diffusion.networks import UNet, build_network
from gendi.diffusion.networks.config import NetworkConfig

SMALL = NetworkConfig(channels=(8, 16), blocks=1, groups=4, heads=2, time_dim=16)


def build(image_channels: int = 1, **changes: object) -> UNet:
    """Return a network in evaluation mode in which nothing is zero any more."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        classes = changes.pop("classes", 0)
        specs = (ConditionConfig("class", size=classes),) if classes else ()
        network = build_network(NetworkConfig(**{**vars(SMALL), **changes}), (image_channels, 8, 8), specs)
        with torch.no_grad():
            for p in network.parameters():
                p += 0.1 * torch.randn(p.shape)
    return network.eval()


def inputs(batch: int, channels: int = 1, height: int = 8, width: int = 8) -> tuple[Tensor, Tensor]:
    return gaussian(batch, channels, height, width).float(), torch.linspace(-1, 1, batch)
