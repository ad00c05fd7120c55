"""A scatter plot of points in the plane, drawn pixel by pixel: quick enough for a preview while a model trains."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE, LIMIT = 320, 2.6
"""Pixels of a side, and the largest coordinate that is shown."""
INK = np.array([31, 90, 180], np.float64)


def scatter_png(rows: NDArray[np.floating]) -> bytes:
    """Return a PNG file (320 x 320) that shows points (n, 2) as dots; darker where they lie close together."""
    dots = np.zeros((SIDE, SIDE))
    fine = np.asarray(rows, np.float64)[np.isfinite(rows).all(1)]
    column, row = (((fine + LIMIT) / (2 * LIMIT)) * SIDE).T
    places = np.stack([SIDE - 1 - np.floor(row), np.floor(column)], 1).astype(np.int64)
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            at = places + np.array([dy, dx])
            inside = ((at >= 0) & (at < SIDE)).all(1)
            np.add.at(dots, tuple(at[inside].T), 1.0 if dy == dx == 0 else 0.5)
    strength = max(1.0, len(fine) / 400)
    share = (1 - np.exp(-dots / strength * 1.2))[..., None]
    picture = 255 * (1 - share) + INK * share
    out = io.BytesIO()
    Image.fromarray(np.rint(picture).astype(np.uint8)).save(out, "PNG")
    return out.getvalue()
