"""Turns the bytes of images into the tensors that feature networks take."""

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

Images = UInt8[np.ndarray, "_ _ _"] | UInt8[np.ndarray, "_ _ _ _"]
"""Images (N, H, W) or (N, H, W, C)."""


def to_tensor(images: Images) -> Tensor:
    """Return float32 `(n, C, H, W)` with the values 0..255.

    Its strides are always the same. Those of an axis of length 1, such as that of grey, may be anything, and by them
    torch chooses between convolutions that differ in the last bits.
    """
    if images.ndim == 3:
        images = images[..., None]
    n, height, width, channels = images.shape
    return torch.empty(n, channels, height, width).copy_(
        torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2)
    )
