"""Each picture a little different every time it is seen: mirrored, and cut out of a larger copy of itself.

    flip    with probability 1/2 the columns are in reverse order
    crop    c >= 1: a window of 1/z of height and width, z uniform in [1, c], at a place uniform within the picture,
            brought back to the full size (bicubic, rounded to bytes)

Draws are keyed by (seed, step) and the place in the batch, so that going on from a checkpoint is exact. Pictures among
the conditions go the same way as the picture that they are about.
"""

from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32
from torch import Tensor

from gendi.diffusion.randomness import stream
from gendi.train.config import TrainConfig

Pictures = Float[Tensor, "b c h w"]


def augment(
    x_0: Float[Tensor, "b ..."], cond: Mapping[str, Tensor], config: TrainConfig, step: int, rows: slice = slice(None)
) -> tuple[Float[Tensor, "b ..."], dict[str, Tensor]]:
    """Return pictures (B, C, H, W) in [-1, 1] and their conditions as training step `step` sees them; vectors as they
    are.

    `rows` says which of the step's batch they are: all of it, or one process's part.
    """
    pictures = {name: value for name, value in cond.items() if value.ndim == 4}
    if x_0.ndim != 4 or (not config.flip and config.crop == 1):
        return x_0, dict(cond)
    boxes = windows(len(x_0) if rows == slice(None) else config.batch_size, config, step)[rows]
    return cut(x_0, boxes), dict(cond) | {name: cut(value, boxes) for name, value in pictures.items()}


def windows(n: int, config: TrainConfig, step: int) -> Float32[Tensor, "n 2 3"]:
    """Return the affine map of each picture: from places in the result to places in the picture, both in [-1, 1]."""
    u = stream(config.seed, "augmentation", step).random((n, 4))
    scale = 1 / (1 + (config.crop - 1) * u[:, 0])
    mirror = np.where((u[:, 1] < 0.5) & config.flip, -1.0, 1.0)
    shift = (1 - scale[:, None]) * (2 * u[:, 2:] - 1)
    maps = np.zeros((n, 2, 3), np.float32)
    maps[:, 0, 0], maps[:, 1, 1], maps[:, :, 2] = mirror * scale, scale, shift
    return torch.from_numpy(maps)


def cut(x: Pictures, boxes: Float32[Tensor, "b 2 3"]) -> Pictures:
    """Return the part of each picture that its map says, at the picture's size; a mere mirror image is exact."""
    if bool((boxes[:, 0, 0].abs() == 1).all()):
        return torch.where((boxes[:, 0, 0] < 0).to(x.device)[:, None, None, None], x.flip(3), x)
    grid = F.affine_grid(boxes.to(x), list(x.shape), align_corners=False)
    found = F.grid_sample(x, grid, mode="bicubic", padding_mode="border", align_corners=False)
    return found.clamp_(-1, 1).add_(1).mul_(127.5).round_().div_(127.5).sub_(1)
