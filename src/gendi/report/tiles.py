"""Images side by side: grids, strips and films. Pillow enlarges them by whole numbers, so that pixels stay square."""

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from gendi.data.images.pictures import laid_out

Pixels = NDArray[np.uint8]
WHITE = 192
"""The level above which the edges of pictures are light, on average: they would run into the page."""
OUTLINE = 160
"""The grey of the line around such pictures."""


def tile_images(images: Pixels) -> list[Image.Image]:
    """Return uint8 images (N, H, W, C) as Pillow images.

    They are in colour for C = 3, and otherwise show the first channel in grey.
    """
    planes = images if images.shape[3] == 3 else images[..., 0]
    return [Image.fromarray(np.ascontiguousarray(plane)) for plane in planes]


def fit(height: int, width: int, side: int) -> tuple[int, int]:
    """Return the size (width, height) of a tile for images of height x width.

    It is the largest whole multiple that fits into `side` pixels; larger images are shrunk to `side`.
    """
    longest = max(height, width)
    if longest <= side:
        return width * (side // longest), height * (side // longest)
    return max(1, round(width * side / longest)), max(1, round(height * side / longest))


def grid(images: Pixels, columns: int, *, side: int = 112, gap: int = 4) -> Image.Image:
    """Lay uint8 images (N, H, W, C) out in rows of `columns`; the gaps between them are transparent.

    Tiles are scaled by the largest whole number that fits into `side` pixels; only tiles larger than that are shrunk.
    """
    width, height = fit(images.shape[1], images.shape[2], side)
    enlarge = max(width, height) >= max(images.shape[1:3])
    how = Image.Resampling.NEAREST if enlarge else Image.Resampling.BOX
    tiles = [tile.resize((width, height), how) for tile in tile_images(images)]
    if _on_white(images):
        for tile in tiles:
            line = (OUTLINE,) * len(tile.getbands())
            ImageDraw.Draw(tile).rectangle((0, 0, width - 1, height - 1), outline=line)
    return laid_out(tiles, columns, gap=gap, mode="RGBA" if images.shape[3] == 3 else "LA")


def _on_white(images: Pixels) -> bool:
    """Return whether the pixels at the edges of pictures are light on average."""
    edges = [images[:, 0], images[:, -1], images[:, :, 0], images[:, :, -1]]
    return sum(float(edge.mean()) for edge in edges if edge.size) > WHITE * len(edges)


def png(image: Image.Image) -> bytes:
    """Return the image as a PNG file."""
    out = io.BytesIO()
    image.save(out, "PNG", optimize=True)
    return out.getvalue()


def film(frames: Sequence[Pixels], columns: int, *, side: int, milliseconds: int = 110, hold: int = 2400) -> bytes:
    """Return a GIF that plays `frames`, each uint8 (N, H, W, C) and laid out as a grid, over and over.

    The last frame stays for `hold` milliseconds. Grey films have 32 levels, films in colour 64 colours.
    """
    sheets = []
    for frame in frames:
        sheet = grid(frame, columns, side=side, gap=2)
        if frame.shape[3] == 3:
            backed = Image.new("RGB", sheet.size)
            backed.paste(sheet, mask=sheet.getchannel("A"))
            sheets.append(backed.quantize(64, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE))
        else:
            level = np.asarray(sheet.getchannel("L"), np.float32)
            indexed = Image.fromarray((level * (31 / 255)).round().astype(np.uint8), "P")
            indexed.putpalette([round(i * 255 / 31) for i in range(32) for _ in range(3)])
            sheets.append(indexed)
    out = io.BytesIO()
    durations = [milliseconds] * (len(sheets) - 1) + [hold]
    sheets[0].save(
        out, "GIF", save_all=True, append_images=sheets[1:], duration=durations, loop=0, optimize=False, disposal=1
    )
    return out.getvalue()
