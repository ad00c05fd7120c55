"""Turns the bytes of images into the tensors that feature networks take."""

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

Images = UInt8[np.ndarray, "_ _ _"] | UInt8[np.ndarray, "_ _ _ _"]
"""Images (N, H, W) or (N, H, W, C)."""


def to_tensor(images: Images) -> Tensor:
    """Return float32 `(n, C, H, W)` with the values 0..255."""
    if images.ndim == 3:
        images = images[..., None]
    return torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float().contiguous()
