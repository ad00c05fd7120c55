"""Augmentation: each time training sees a picture, it may be mirrored, and a random part of it may be enlarged.

    flip    with probability 1/2 the columns are in reverse order
    crop    c >= 1: a window of 1/z of height and width, z uniform in [1, c], at a place uniform within the picture,
            is enlarged to the full size (bicubic, rounded to bytes)

Draws are keyed by (seed, step) and the place in the batch, so that a run resumed from a checkpoint repeats them
exactly. Pictures among the conditions are changed in the same way as the picture that they describe. Augmentation works
on bytes, before encoding.
"""

from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float32, UInt8
from torch import Tensor

from gendi.data.images.codec import to_bytes, to_planes
from gendi.diffusion.randomness import stream
from gendi.errors import UsageError

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
        rows: pictures (B, H, W, C) of bytes.
        cond: their raw conditions by name.
        flip: see above.
        crop: see above.
        seed: the seed of the run.
        step: the training step.
        batch_size: the number of pictures of the whole batch.
        part: the places of `rows` in the whole batch.
    """
    if not flip and crop == 1:
        return rows, dict(cond)
    boxes = windows(batch_size, flip=flip, crop=crop, seed=seed, step=step)[part]
    moved = {name: cut(value, boxes) for name, value in cond.items() if value.ndim == 4}
    return cut(rows, boxes), dict(cond) | moved


def windows(n: int, *, flip: bool, crop: float, seed: int, step: int) -> Float32[Tensor, "n 2 3"]:
    """Return for each picture the affine map from places in the result to places in the picture, both in [-1, 1]."""
    u = stream(seed, "augmentation", step).random((n, 4))
    scale = 1 / (1 + (crop - 1) * u[:, 0])
    mirror = np.where((u[:, 1] < 0.5) & flip, -1.0, 1.0)
    shift = (1 - scale[:, None]) * (2 * u[:, 2:] - 1)
    maps = np.zeros((n, 2, 3), np.float32)
    maps[:, 0, 0], maps[:, 1, 1], maps[:, :, 2] = mirror * scale, scale, shift
    return torch.from_numpy(maps)


def cut(pixels: Pictures, boxes: Float32[Tensor, "b 2 3"]) -> Pictures:
    """Return the part of each picture that its map selects, at the size of the picture; mirror images are exact."""
    if bool((boxes[:, 0, 0].abs() == 1).all()):
        mirrored = (boxes[:, 0, 0] < 0).to(pixels.device)[:, None, None, None]
        return torch.where(mirrored, pixels.flip(2), pixels)
    x = to_planes(pixels)
    grid = F.affine_grid(boxes.to(x), list(x.shape), align_corners=False)
    found = F.grid_sample(x, grid, mode="bicubic", padding_mode="border", align_corners=False)
    return to_bytes(found.clamp_(-1, 1))


def variants(rows: Pictures, *, flip: bool, crop: float) -> list[Pictures]:
    """Return pictures and, with `flip`, their mirror images, for a codec that encodes all of them in advance.

    Raises `UsageError` if `crop` is more than 1, since no two cuts are the same.
    """
    if crop != 1:
        raise UsageError(
            "train.crop cannot be done in latents, which are computed once for each picture: leave it out, or train "
            "on pixels. train.flip can."
        )
    return [rows, rows.flip(2)] if flip else [rows]
