"""Showing images: grids and PNG files. All functions take uint8 arrays (N, H, W, C) with 1, 3 or 4 channels."""

import io
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

CAPTION = 14
"""Pixels that a line of text takes."""


def to_image(pixels: NDArray[np.uint8]) -> Image.Image:
    """Return one image (H, W, C) as a Pillow image."""
    return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


def enlargement(side: int) -> int:
    """Return the factor by which pictures of `side` pixels are enlarged in a grid."""
    return max(1, min(4, 64 // side))


def grid_side(count: int, side: int, longest: int, gap: int = 2) -> int:
    """Return the length in pixels of a side of a grid.

    Args:
        count: how many pictures lie along the side.
        side: the pixels of each of them along the side.
        longest: the pixels of the longer side of a picture, which decides the enlargement.
        gap: pixels between the pictures.
    """
    return count * (side * enlargement(longest) + gap) + gap


def grid_bytes(shape: Sequence[int], n: int) -> int:
    """Return about how many bytes the PNG of a square grid of n pictures of shape (C, H, W) takes."""
    channels, *sides = shape
    height, width = (grid_side(math.isqrt(n), side, max(sides)) for side in sides)
    return height * (width * channels + 1) + 4096  # the pixels without compression, and the PNG's own bytes


def grid_image(
    images: NDArray[np.uint8],
    columns: int | None = None,
    scale: int | None = None,
    gap: int = 2,
    paper: int = 128,
    captions: Sequence[str] = (),
) -> Image.Image:
    """Return the images (N, H, W, C) in rows, nearly square by default, enlarged by a whole factor, on grey `paper`.

    `captions` stand below the images, one for each; there are none by default.
    """
    n, height, width, channels = images.shape
    scale = scale or enlargement(max(height, width))
    tiles = [to_image(image) for image in images.repeat(scale, axis=1).repeat(scale, axis=2)]
    if captions:
        tiles = [_captioned(tile, text, paper) for tile, text in zip(tiles, captions, strict=True)]
    return laid_out(tiles, columns or math.ceil(math.sqrt(n)), gap=gap, margin=gap, paper=(paper,) * channels)


def _captioned(tile: Image.Image, text: str, paper: int) -> Image.Image:
    """Return a picture with a line of text below it; what is wider than the picture is cut off."""
    out = Image.new(tile.mode, (tile.width, tile.height + CAPTION), (paper,) * len(tile.getbands()))
    out.paste(tile)
    write_text(out, text, (1, tile.height + 1))
    return out


def write_text(sheet: Image.Image, text: str, place: tuple[int, int]) -> None:
    """Write a line of white text onto a sheet, with its left upper corner at `place`."""
    ImageDraw.Draw(sheet).text(place, text, fill=(255,) * len(sheet.getbands()), font=ImageFont.load_default())


def text_width(text: str) -> int:
    """Return how many pixels a line of text is wide."""
    return math.ceil(ImageFont.load_default().getlength(text))


def laid_out(
    tiles: Sequence[Image.Image],
    columns: int,
    *,
    gap: int,
    margin: int = 0,
    mode: str | None = None,
    paper: tuple[int, ...] | None = None,
) -> Image.Image:
    """Return a sheet with pictures of one size in rows of `columns`.

    Args:
        tiles: the pictures.
        columns: how many pictures a row has.
        gap: pixels between the pictures.
        margin: pixels around all of them.
        mode: Pillow's mode of the sheet; by default the mode of the pictures.
        paper: the colour behind the pictures, one number for each channel. By default all are zero, which is black, or
            transparent if there is an alpha channel.
    """
    width, height = tiles[0].size
    rows = math.ceil(len(tiles) / columns)
    size = (columns * (width + gap) - gap + 2 * margin, rows * (height + gap) - gap + 2 * margin)
    mode = mode or tiles[0].mode
    sheet = Image.new(mode, size, paper or (0,) * len(Image.new(mode, (1, 1)).getbands()))
    for i, tile in enumerate(tiles):
        sheet.paste(tile, (margin + i % columns * (width + gap), margin + i // columns * (height + gap)))
    return sheet


def png_bytes(image: Image.Image, text: dict[str, str] | None = None) -> bytes:
    """Return the image as a PNG file, with `text` in its metadata."""
    info = PngInfo()
    for key, value in (text or {}).items():
        info.add_itxt(key, value)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", pnginfo=info)
    return buffer.getvalue()
