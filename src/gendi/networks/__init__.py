"""Networks: each maps (x (B, C, H, W), time value (B,), labels (B,) or None) to a tensor of x's shape, or
to as many channels as it was built with."""

from gendi.networks.unet import UNet, build_network

__all__ = ["UNet", "build_network"]
