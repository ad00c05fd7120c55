"""A picture of sequences: a row for each, a coloured square for each token, in the order of the alphabet."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

SIDE, GAP = 6, 2


def letters_png(rows: NDArray[Any]) -> bytes:
    """Return a PNG file that shows tokens (n, L): the same token has the same colour in every such picture."""
    import io

    from PIL import Image

    colours = _colours(int(rows.max(initial=0)) + 1)
    squares = colours[rows.astype(np.int64)].repeat(SIDE, axis=0).repeat(SIDE, axis=1)
    height, width = squares.shape[:2]
    page = np.full((height + 2 * GAP, width + 2 * GAP, 3), 255, np.uint8)
    page[GAP:-GAP, GAP:-GAP] = squares
    buffer = io.BytesIO()
    Image.fromarray(page).save(buffer, "PNG")
    return buffer.getvalue()


def _colours(count: int) -> NDArray[np.uint8]:
    """Return colours (count, 3) of tokens, whose hues are the golden angle apart."""
    hue = (np.arange(count) * 0.618034) % 1 * 6
    ramps = [np.clip(np.abs((hue + shift) % 6 - 3) - 1, 0, 1) for shift in (0, 4, 2)]
    return np.asarray(60 + 170 * np.stack(ramps, axis=1), np.uint8)
