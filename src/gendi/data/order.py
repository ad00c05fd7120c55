"""The order in which training goes through the rows. Each epoch has its own order, keyed by the seed and the epoch."""

import numpy as np
from numpy.typing import NDArray

from gendi.diffusion.randomness import stream

WINDOW = 16
"""The number of blocks of rows (shards) that are open at a time, and whose rows training mixes."""


def batch_indices(n: int, batch: int, seed: int, step: int, blocks: NDArray[np.int64] | None = None) -> np.ndarray:
    """Return the data indices (batch,) of training step `step` (0-based).

    Each epoch has an order of its own, and batches are taken from the orders of all epochs laid end to end.

    Args:
        n: the number of rows.
        batch: the number of rows of a batch.
        seed: the seed of the run.
        step: the training step.
        blocks: the boundaries (K + 1,) of blocks of rows (shards). An epoch then permutes the blocks, takes `WINDOW` of
            them at a time, and permutes the rows of these blocks together. If None, an epoch permutes all rows.
    """
    first = step * batch
    epochs = range(first // n, (first + batch - 1) // n + 1)
    parts = [(epoch, max(first - epoch * n, 0), min(first + batch - epoch * n, n)) for epoch in epochs]
    if blocks is None:
        return np.concatenate([stream(seed, "order", epoch).permutation(n)[a:b] for epoch, a, b in parts])
    return np.concatenate([_of_windows(blocks, seed, epoch, a, b) for epoch, a, b in parts])


def _of_windows(blocks: NDArray[np.int64], seed: int, epoch: int, start: int, stop: int) -> np.ndarray:
    """Return the rows at the places from `start` to `stop` of an epoch's order. Other windows are not computed."""
    order = stream(seed, "block order", epoch).permutation(len(blocks) - 1)
    windows = [order[k : k + WINDOW] for k in range(0, len(order), WINDOW)]
    ends = np.cumsum([int((blocks[window + 1] - blocks[window]).sum()) for window in windows])
    low, high = np.searchsorted(ends, start, "right"), np.searchsorted(ends, stop, "left")
    rows = []
    for k in range(int(low), int(high) + 1):
        mine = np.concatenate([np.arange(blocks[block], blocks[block + 1]) for block in windows[k]])
        rows.append(stream(seed, "window order", epoch, k).permutation(mine))
    before = int(ends[low - 1]) if low else 0
    return np.concatenate(rows)[start - before : stop - before]
