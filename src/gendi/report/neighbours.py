"""The training images nearest to a few samples: has the model made something, or remembered it?"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from gendi.data.split import Rows

_BLOCK_BYTES = 1 << 26


def nearest_images(
    queries: NDArray[np.uint8],
    images: Rows,
    k: int = 3,
    *,
    poll: Callable[[], None] | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Find the k (at most N) nearest of `images` (N, H, W, C) to each of `queries` (Q, H, W, C).

    The distance is Euclidean over pixels in [0, 1]. The search is over float32 products, a block of images at a time
    (they may be memory-mapped); the distances returned are those of the bytes. `poll` is called before every block.

    Returns:
        indices (Q, k), nearest first, and distances (Q, k).
    """
    k = min(k, len(images))
    flat = queries.reshape(len(queries), -1).astype(np.float32) / 255
    best = np.full((len(queries), k), np.inf, np.float32)
    index = np.zeros((len(queries), k), np.int64)
    rows = max(1, _BLOCK_BYTES // (4 * flat.shape[1]))
    for start in range(0, len(images), rows):
        if poll is not None:
            poll()
        block = images[start : start + rows].reshape(-1, flat.shape[1]).astype(np.float32) / 255
        score = np.einsum("ij,ij->i", block, block) - 2 * (flat @ block.T)
        here = np.broadcast_to(np.arange(start, start + len(block)), score.shape)
        merged, where = np.concatenate([best, score], 1), np.concatenate([index, here], 1)
        order = np.argsort(merged, axis=1, kind="stable")[:, :k]
        best, index = np.take_along_axis(merged, order, 1), np.take_along_axis(where, order, 1)
    found = images[index.reshape(-1)].reshape(*index.shape, *queries.shape[1:])
    difference = queries[:, None].astype(np.float64) - found
    return index, np.sqrt((difference**2).sum(axis=(2, 3, 4))) / 255
