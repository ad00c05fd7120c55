"""Pictures that are nearly equal and lie in different classes: copies, other sizes or mild edits of one picture.

Each picture becomes a thumbnail of 8 x 8 means. Two pictures are near-duplicates if their thumbnails differ, as a root
mean square, by less than a few levels of 255, and by less than a quarter of what each varies within itself, so that
different faint pictures on one background are none. Pictures of one colour are left out, as all of them would be equal.

The means of two thumbnails differ by no more than the thumbnails do. So these are sorted by their means, and each is
compared with its neighbours in that order alone.
"""

from itertools import pairwise

import numpy as np
from jaxtyping import Float32
from numpy.typing import NDArray

from gendi.data.split import Split

SIDE = 8
CLOSE, PART = 4.0, 0.25
"""Two thumbnails are those of one picture if their root mean square difference is below this, in levels of 255 and as a
part of their deviation."""
MOST = 100_000
"""Of more pictures than this, so many are compared, evenly spaced."""
AT_ONCE = 256
"""Thumbnails that are compared with all of their neighbours at once."""


def count_across_classes(split: Split) -> int:
    """Return how many pictures of a split have a near-duplicate in another class; 0 without classes."""
    labels = split.labels
    if labels is None or len(split) < 2:
        return 0
    chosen = np.linspace(0, len(split) - 1, min(len(split), MOST)).astype(np.int64)
    small = np.concatenate([thumbnails(split.batch(part)) for part in np.split(chosen, range(1024, len(chosen), 1024))])
    shown = np.flatnonzero(np.ptp(small, axis=1) >= 1)
    order = shown[np.argsort(small[shown].mean(1), kind="stable")]
    of, mean, deviation = labels[chosen[order]], small[order].mean(1), small[order].std(1)
    x = small[order] - small[order].mean(0)  # so that squares are small, and their differences exact
    square = (x**2).mean(1)
    count = 0
    for first in range(0, len(x), AT_ONCE):
        here = slice(first, first + AT_ONCE)
        low = int(np.searchsorted(mean, mean[here][0] - CLOSE))
        high = int(np.searchsorted(mean, mean[here][-1] + CLOSE, "right"))
        apart = square[here, None] + square[None, low:high] - 2 * (x[here] @ x[low:high].T) / x.shape[1]
        most = np.minimum(CLOSE, PART * np.minimum(deviation[here, None], deviation[None, low:high]))
        count += int(((apart < most**2) & (of[here, None] != of[None, low:high])).any(1).sum())
    return count


def thumbnails(rows: NDArray[np.uint8]) -> Float32[np.ndarray, "b d"]:
    """Return the means of blocks that part height and width of pictures (B, H, W, C) evenly, 8 x 8 x C of each."""
    out = rows.astype(np.float32)
    for axis in (1, 2):
        edges = np.linspace(0, out.shape[axis], SIDE + 1)
        parts = [
            out.take(range(int(low), max(int(high), int(low) + 1)), axis).mean(axis) for low, high in pairwise(edges)
        ]
        out = np.stack(parts, axis)
    return out.reshape(len(out), -1)
