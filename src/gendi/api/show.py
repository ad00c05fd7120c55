"""Showing pictures: `gendi.show`."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from gendi.data.images.pictures import grid_image
from gendi.errors import UsageError

CHANNELS = (1, 3, 4)


def show(images: Any, columns: int | None = None, scale: int | None = None) -> Image.Image:
    """Return pictures as one picture, in rows: a notebook shows it, `.save("x.png")` writes it, `.show()` opens it.

    Args:
        images: bytes as `gendi.sample` returns them, (N, H, W, C), (N, H, W) if they are grey, or a single picture
            (H, W, C) or (H, W), of NumPy or torch; or a sequence of pictures of one size.
        columns: how many pictures a row has; by default the sheet is nearly square.
        scale: the whole factor by which pictures are enlarged; by default small ones to about 64 pixels.

    Raises:
        UsageError: these are no pictures, or not bytes.
    """
    pictures = _bytes_of(images)
    for name, value in (("columns", columns), ("scale", scale)):
        if value is not None and value < 1:
            raise UsageError(f"{name} = {value} is out of range: it must be 1 or more.")
    return grid_image(pictures, columns, scale)


def _bytes_of(images: Any) -> NDArray[np.uint8]:
    """Return pictures as bytes (N, H, W, C)."""
    if isinstance(images, Tensor):
        images = images.detach().cpu().numpy()
    if isinstance(images, Sequence) and not isinstance(images, str):
        parts = [_bytes_of(picture) for picture in images]
        if len({part.shape[1:] for part in parts}) > 1:
            raise UsageError("gendi.show lays out pictures of one size; these have several.")
        images = np.concatenate(parts) if parts else np.zeros(0, np.uint8)
    if not isinstance(images, np.ndarray):
        raise UsageError(f"gendi.show shows arrays of pictures, such as gendi.sample returns; got {_what(images)}.")
    if images.dtype != np.uint8:
        raise UsageError(
            f"gendi.show shows bytes from 0 to 255 (uint8); these are {images.dtype}. What a network sees becomes "
            "bytes by model.codec.decode(x)."
        )
    if images.ndim == 2 or (images.ndim == 3 and images.shape[-1] in CHANNELS):
        images = images[None]
    if images.ndim == 3:
        images = images[..., None]
    pictures: NDArray[np.uint8] = images
    if images.ndim != 4 or images.shape[-1] not in CHANNELS or not images.size:
        raise UsageError(f"gendi.show shows pictures (N, H, W, C) with 1, 3 or 4 channels; got shape {images.shape}.")
    return pictures


def _what(value: object) -> str:
    return f"a {type(value).__name__}"
