"""Decodes image files to bytes, by these rules:

- Formats: PNG, JPEG, GIF, BMP, TIFF, WebP, PPM and, if Pillow supports it, AVIF; recognised by content, not by name.
- Only the first frame of an animation, or the first page of a file, is read.
- EXIF rotation is applied.
- Transparency (alpha or a transparent colour) is composited over white.
- Palette, CMYK, YCbCr, LAB and HSV become RGB; bilevel becomes grey.
- 16-bit grey is scaled, 65535 to 255, not clipped (Pillow does the same for 16-bit colour); the values of 32-bit
  integer grey must fit in 16 bits. Floating-point pixels are refused.
- An image of more than 178,956,970 pixels is refused by its header, before anything is decoded.
- An image of another size is fitted: its largest centred part with the right proportions is resampled (bicubic,
  antialiased).
"""

import contextlib
import io
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from gendi.storage.file_rows import ArrayRows
from gendi.storage.store import build

MAX_PIXELS = 178_956_970
"""Pillow's own limit: twice 2^30 / 4 / 3."""
SUFFIXES = frozenset(
    ".png .jpg .jpeg .jpe .jfif .gif .bmp .tif .tiff .webp .ppm .pgm .pbm .pnm .avif".split()  # noqa: SIM905
)
"""The endings of names that are taken for images."""
_FORMATS = ("PNG", "JPEG", "MPO", "GIF", "BMP", "TIFF", "WEBP", "PPM", "AVIF")
_WIDE = frozenset({"I", "I;16", "I;16B", "I;16L", "I;16N"})
_ORIENTATION = 0x0112
_EXIF = {"exif", "Raw profile type exif", "XML:com.adobe.xmp"}
_TOO_LARGE = f"too large to decode safely (at most {MAX_PIXELS:,} pixels)"


class BadImageError(Exception):
    """An image file that cannot be used; its text is the reason."""


def read_size(source: Path | bytes) -> tuple[int, int, bool]:
    """Return (height, width, grey) from the header alone, with EXIF rotation applied.

    `source` is a file or the content of one. Raises `BadImageError`.
    """
    with _opened(source) as image:
        width, height = image.size
        # Pillow rotates a TIFF by itself. A PNG without EXIF in its header would be decoded only to look for EXIF.
        if image.format != "TIFF" and (image.format != "PNG" or _EXIF & image.info.keys()):
            turned = image.getexif().get(_ORIENTATION, 1)
            if turned in {5, 6, 7, 8}:
                width, height = height, width
        return height, width, image.mode in {"1", "L", "LA", "La", *_WIDE}


def decode(source: Path | bytes, height: int, width: int, *, grey: bool) -> NDArray[np.uint8]:
    """Return the image as bytes (height, width, 1 or 3), converted and fitted by this module's rules.

    `source` is a file or the content of one. Raises `BadImageError`.
    """
    with _opened(source) as image:
        flat = _flatten(ImageOps.exif_transpose(image)).convert("L" if grey else "RGB")
        if flat.size != (width, height):
            flat = ImageOps.fit(flat, (width, height), Image.Resampling.BICUBIC)
        return np.asarray(flat, np.uint8).reshape(height, width, 1 if grey else 3)


def resize(images: ArrayRows, height: int, width: int, key: str) -> ArrayRows:
    """Return images (N, H, W, C) fitted to (N, height, width, C), channel by channel.

    `key` names the result in the cache.
    """
    if images.shape[1:3] == (height, width):
        return images

    def fill(out: NDArray[np.uint8]) -> dict[str, Any]:
        for i, image in enumerate(images):
            for c in range(images.shape[3]):
                plane = Image.fromarray(np.ascontiguousarray(image[..., c]))
                out[i, ..., c] = np.asarray(ImageOps.fit(plane, (width, height), Image.Resampling.BICUBIC))
        return {}

    return build((len(images), height, width, images.shape[3]), f"{key}-{height}x{width}", fill)[0]


def enlarged(size: tuple[int, int], target: tuple[int, int]) -> bool:
    """Return whether fitting an image of `size` to `target`, both (height, width), enlarges it."""
    return max(target[0] / size[0], target[1] / size[1]) > 1


@contextlib.contextmanager
def _opened(source: Path | bytes) -> Iterator[Image.Image]:
    """Open an image without decoding it. Any exception inside the `with` block becomes a `BadImageError`."""
    if isinstance(source, Path) and source.is_symlink() and not source.exists():
        raise BadImageError("broken link")
    try:
        if (source.stat().st_size if isinstance(source, Path) else len(source)) == 0:
            raise BadImageError("empty file (0 bytes)")
        Image.init()
        formats = [name for name in _FORMATS if name in Image.OPEN]
        # If given a name, Pillow 12 and 13 map uncompressed files, and scramble a TIFF that is rotated by 90 degrees.
        with _stream(source) as file, Image.open(file, formats=formats) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise BadImageError(f"{width} x {height} pixels, {_TOO_LARGE}")
            yield image
    except (BadImageError, MemoryError):
        raise
    except Exception as error:  # decoders raise almost anything on damaged bytes
        raise BadImageError(_reason(error)) from error


def _stream(source: Path | bytes) -> io.BufferedReader | io.BytesIO:
    return source.open("rb") if isinstance(source, Path) else io.BytesIO(source)


def _reason(error: Exception) -> str:
    if isinstance(error, Image.DecompressionBombError):
        return _TOO_LARGE
    if isinstance(error, UnidentifiedImageError):
        return "not an image in a format that is read (PNG, JPEG, GIF, BMP, TIFF, WebP, PPM)"
    if isinstance(error, PermissionError):
        return "no permission to read it"
    return f"cannot be decoded, damaged or truncated: {error or type(error).__name__}"


def _flatten(image: Image.Image) -> Image.Image:
    """Return the first frame as L or RGB, without transparency."""
    if image.mode in _WIDE:
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 65_535:
            raise BadImageError(f"integer pixels from {values.min()} to {values.max()}: 8 or 16 bits are read")
        return Image.fromarray(np.rint(values / 257).astype(np.uint8))
    if image.mode == "F":
        raise BadImageError("floating-point pixels, whose white is unknown: save it with 8 or 16 bits")
    if image.mode == "1":
        return image.convert("L")
    if image.mode in {"RGBA", "LA", "PA", "RGBa", "La"} or "transparency" in image.info:
        over = image.convert("RGBA")
        flat = Image.alpha_composite(Image.new("RGBA", over.size, "white"), over).convert("RGB")
        return flat.convert("L") if image.mode in {"L", "LA", "La"} else flat
    return image if image.mode in {"L", "RGB"} else image.convert("RGB")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hide Pillow's warnings (odd EXIF, a large image). Real problems are raised as errors."""
    with warnings.catch_warnings(action="ignore"):
        yield
