"""Pictures that are nearly equal and lie in different classes: copies, other sizes or mild edits of one picture.

Each picture becomes a thumbnail of 8 x 8 means. Two pictures are near-duplicates if each of its rows rises and falls
in the same places (a difference hash, by which they are found), and if the thumbnails differ by less than a few levels
of 255 on average (which makes it certain). Pictures of one colour are left out, as all of them would be equal.
"""

from collections import defaultdict
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from gendi.data.split import Split

SIDE = 8
CLOSE = 4.0
"""Mean difference in levels of 255 below which two thumbnails are those of one picture."""
MOST_ALIKE = 200
"""Of more pictures with one hash than this, the first are compared."""


def count_across_classes(split: Split) -> int:
    """Return how many pictures of a split have a near-duplicate in another class; 0 without classes."""
    labels = split.labels
    if labels is None or len(split) < 2:
        return 0
    found: dict[bytes, list[int]] = defaultdict(list)
    thumbnails: list[NDArray[np.float32]] = []
    for start in range(0, len(split), 1024):
        for small in _thumbnails(split.rows[start : start + 1024]):
            thumbnails.append(small)
            if small.max() - small.min() >= 1:
                grey = small.mean(-1)
                found[np.packbits(grey[:, 1:] > grey[:, :-1]).tobytes()].append(len(thumbnails) - 1)
    count = 0
    for rows in found.values():
        if len(rows) < 2 or len(set(labels[rows].tolist())) < 2:
            continue
        alike = rows[:MOST_ALIKE]
        small, of = np.stack([thumbnails[i] for i in alike]), labels[alike]
        apart = np.abs(small[:, None] - small[None]).mean((2, 3, 4))
        count += int(((apart < CLOSE) & (of[:, None] != of[None])).any(1).sum())
    return count


def _thumbnails(rows: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the means (B, 8, 8, C) of blocks that part the height and the width of pictures (B, H, W, C) evenly."""
    out = rows.astype(np.float32)
    for axis in (1, 2):
        edges = np.linspace(0, out.shape[axis], SIDE + 1)
        parts = [
            out.take(range(int(low), max(int(high), int(low) + 1)), axis).mean(axis) for low, high in pairwise(edges)
        ]
        out = np.stack(parts, axis)
    return out
