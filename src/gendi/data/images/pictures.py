"""Images as pictures: grids and PNG bytes. Everything takes uint8 arrays (N, H, W, C) with 1 or 3 (or 4) channels."""

import io
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo


def to_image(pixels: NDArray[np.uint8]) -> Image.Image:
    """Return one image (H, W, C) as a Pillow image."""
    return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


def enlargement(side: int) -> int:
    """Return the factor by which pictures of `side` pixels are enlarged in a grid."""
    return max(1, min(4, 64 // side))


def grid_side(count: int, side: int, longest: int, gap: int = 2) -> int:
    """Return the pixels of a grid's side of `count` pictures whose own side is `side`, and `longest` the longer one."""
    return count * (side * enlargement(longest) + gap) + gap


def grid_bytes(shape: Sequence[int], n: int) -> int:
    """Return about how many bytes the PNG of a square grid of n pictures of shape (C, H, W) takes."""
    channels, *sides = shape
    height, width = (grid_side(math.isqrt(n), side, max(sides)) for side in sides)
    return height * (width * channels + 1) + 4096  # as many bytes as it has, and PNG's own


def grid_image(
    images: NDArray[np.uint8], columns: int | None = None, scale: int | None = None, gap: int = 2, paper: int = 128
) -> Image.Image:
    """Return the images (N, H, W, C) in rows, nearly square by default, enlarged by a whole factor."""
    n, height, width, channels = images.shape
    columns = columns or math.ceil(math.sqrt(n))
    rows = math.ceil(n / columns)
    scale = scale or enlargement(max(height, width))
    big = images.repeat(scale, axis=1).repeat(scale, axis=2)
    sheet = np.full(
        (rows * (height * scale + gap) + gap, columns * (width * scale + gap) + gap, channels), paper, np.uint8
    )
    for k, image in enumerate(big):
        top, left = gap + k // columns * (height * scale + gap), gap + k % columns * (width * scale + gap)
        sheet[top : top + height * scale, left : left + width * scale] = image
    return to_image(sheet)


def png_bytes(image: Image.Image, text: dict[str, str] | None = None) -> bytes:
    """Return the image as a PNG file, with `text` in its metadata."""
    info = PngInfo()
    for key, value in (text or {}).items():
        info.add_itxt(key, value)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", pnginfo=info)
    return buffer.getvalue()
