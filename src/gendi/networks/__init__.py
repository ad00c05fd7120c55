"""Networks: each maps (x (B, C, H, W), time value (B,), labels (B,) or None) to a tensor of x's shape."""

from gendi.networks.unet import UNet, build_network

__all__ = ["UNet", "build_network"]
