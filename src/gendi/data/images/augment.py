"""Each picture a little different every time it is seen: mirrored, and cut out of a larger copy of itself.

    flip    with probability 1/2 the columns are in reverse order
    crop    c >= 1: a window of 1/z of height and width, z uniform in [1, c], at a place uniform within the picture,
            brought back to the full size (bicubic, rounded to bytes)

Draws are keyed by (seed, step) and the place in the batch, so that going on from a checkpoint is exact. Pictures among
the conditions go the same way as the picture that they are about. All of this is done to bytes, before encoding.
"""

from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float32, UInt8
from torch import Tensor

from gendi.data.images.codec import to_bytes, to_planes
from gendi.diffusion.randomness import stream

Pictures = UInt8[Tensor, "b h w c"]


def augment(
    rows: Pictures,
    cond: Mapping[str, Tensor],
    *,
    flip: bool,
    crop: float,
    seed: int,
    step: int,
    batch_size: int,
    part: slice = slice(None),
) -> tuple[Pictures, dict[str, Tensor]]:
    """Return pictures (B, H, W, C) of bytes and their raw conditions as training step `step` sees them.

    Args:
        flip, crop: see above.
        batch_size: pictures of the whole batch, of which these are those at `part`.
    """
    if not flip and crop == 1:
        return rows, dict(cond)
    boxes = windows(batch_size, flip=flip, crop=crop, seed=seed, step=step)[part]
    moved = {name: cut(value, boxes) for name, value in cond.items() if value.ndim == 4}
    return cut(rows, boxes), dict(cond) | moved


def windows(n: int, *, flip: bool, crop: float, seed: int, step: int) -> Float32[Tensor, "n 2 3"]:
    """Return the affine map of each picture: from places in the result to places in the picture, both in [-1, 1]."""
    u = stream(seed, "augmentation", step).random((n, 4))
    scale = 1 / (1 + (crop - 1) * u[:, 0])
    mirror = np.where((u[:, 1] < 0.5) & flip, -1.0, 1.0)
    shift = (1 - scale[:, None]) * (2 * u[:, 2:] - 1)
    maps = np.zeros((n, 2, 3), np.float32)
    maps[:, 0, 0], maps[:, 1, 1], maps[:, :, 2] = mirror * scale, scale, shift
    return torch.from_numpy(maps)


def cut(pixels: Pictures, boxes: Float32[Tensor, "b 2 3"]) -> Pictures:
    """Return the part of each picture that its map says, at the picture's size; a mere mirror image is exact."""
    if bool((boxes[:, 0, 0].abs() == 1).all()):
        mirrored = (boxes[:, 0, 0] < 0).to(pixels.device)[:, None, None, None]
        return torch.where(mirrored, pixels.flip(2), pixels)
    x = to_planes(pixels)
    grid = F.affine_grid(boxes.to(x), list(x.shape), align_corners=False)
    found = F.grid_sample(x, grid, mode="bicubic", padding_mode="border", align_corners=False)
    return to_bytes(found.clamp_(-1, 1))
