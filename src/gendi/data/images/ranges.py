"""Turns an array of unknown layout and range into images (N, H, W, C) of bytes, or refuses it clearly.

Layouts: (N, H, W); (N, H, W, C) if the last axis is 1, 3 or 4; else (N, C, H, W) if the second axis is.

Ranges: bytes are taken as they are; booleans are black and white; other integers within 0..255 are taken as they are,
and 16-bit integers beyond that are scaled by 1/257; floats in [0, 1], in [-1, 1] (reaching below -0.5) or in [0, 255]
(whole numbers, or reaching 128) are scaled and rounded. Any other range is refused, because a wrong guess would train
on wrong pictures.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gendi.errors import DataError
from gendi.storage.file_rows import ArrayRows, FileRows
from gendi.storage.store import build

CHANNELS = (1, 3, 4)
_TOLERANCE = 1e-4  # floats may exceed their range by this much, since resizing and arithmetic overshoot a little
_CHUNK_BYTES = 1 << 26


def as_images(array: ArrayRows, where: str) -> ArrayRows:
    """Return a view (N, H, W, C) of `array`. Raises `DataError` on another rank or layout, and on an empty array."""
    shape = array.shape
    if array.ndim == 3:
        array = array.viewed((*shape, 1)) if isinstance(array, FileRows) else array[..., None]
    elif array.ndim == 4 and shape[3] not in CHANNELS and shape[1] in CHANNELS:
        axes = (0, 2, 3, 1)
        array = array.viewed(axes=axes) if isinstance(array, FileRows) else array.transpose(axes)
    elif array.ndim != 4 or shape[3] not in CHANNELS:
        raise DataError(
            f"{where} has shape {shape}. Images are wanted as (N, H, W), (N, H, W, C) or (N, C, H, W) with C = 1, 3 "
            "or 4: reshape the array and save it again."
        )
    if array.size == 0:
        raise DataError(f"{where} has shape {shape}: it holds no image.")
    return array


def to_bytes(images: ArrayRows, where: str, key: str) -> tuple[ArrayRows, tuple[str, ...]]:
    """Return images (N, H, W, C) as bytes, and notes on how they were read.

    Bytes are returned as the same array. `key` names the result in the cache if it does not fit in memory.

    Raises:
        DataError: the dtype or the range cannot be read as pixels, or there are NaN or infinite values.
    """
    if images.dtype == np.uint8:
        dark = images[:1000].max() == 1
        note = f"{where}: no byte at its start is above 1; if 1 means white, multiply by 255"
        return images, ((note,) if dark else ())
    scale, shift, notes = _reading(images, where)

    def fill(out: NDArray[np.uint8]) -> dict[str, Any]:
        start = 0
        for chunk in _chunks(images):
            levels = np.rint((chunk.astype(np.float64) + shift) * scale)
            out[start : start + len(chunk)] = np.clip(levels, 0, 255)
            start += len(chunk)
        return {}

    return build(images.shape, key, fill)[0], notes


def _reading(images: ArrayRows, where: str) -> tuple[float, float, tuple[str, ...]]:
    """Return (scale, shift, notes): a byte is round((value + shift) * scale)."""
    kind = images.dtype.kind
    if kind == "b":
        return 255.0, 0.0, (f"{where}: booleans, false is black and true is white",)
    if kind not in "iuf":
        raise DataError(
            f"{where} has dtype {images.dtype}: images are wanted as numbers (uint8 at best). Object arrays are "
            "never read."
        )
    low, high, whole = _survey(images, where)
    found = f"{where} has dtype {images.dtype} and values from {low:g} to {high:g}"
    if kind in "iu":
        if low >= 0 and high <= 255:
            return 1.0, 0.0, ()
        if images.dtype == np.uint16:
            return 1 / 257, 0.0, (f"{where}: 16-bit values, 65535 is white",)
        raise DataError(f"{found}: integers are wanted in 0..255, or uint16 in 0..65535. Scale them and save again.")
    if low >= -_TOLERANCE and high <= 1 + _TOLERANCE:
        return 255.0, 0.0, (f"{where}: floats in [0, 1], 1 is white",)
    if -1 - _TOLERANCE <= low <= -0.5 and high <= 1 + _TOLERANCE:
        return 127.5, 1.0, (f"{where}: floats in [-1, 1], 1 is white",)
    if low >= -_TOLERANCE and high <= 255 + _TOLERANCE and (whole or high >= 128):
        return 1.0, 0.0, (f"{where}: floats in [0, 255], 255 is white",)
    raise DataError(
        f"{found}, which fits none of [0, 1], [-1, 1] and [0, 255] clearly. Scale the array to bytes (uint8) and "
        "save it again."
    )


def _survey(images: ArrayRows, where: str) -> tuple[float, float, bool]:
    """Return the least and the greatest value, and whether all are whole. Raises `DataError` on NaN and infinity."""
    low, high, whole, bad, start = np.inf, -np.inf, True, 0, 0
    first: tuple[int, ...] = ()
    for chunk in _chunks(images):
        if images.dtype.kind == "f":
            wrong = ~np.isfinite(chunk)
            if wrong.any():
                if not bad:
                    row, *rest = (int(i) for i in np.unravel_index(int(wrong.argmax()), wrong.shape))
                    first = (start + row, *rest)
                bad += int(wrong.sum())
                start += len(chunk)
                continue
            whole = whole and bool((chunk == np.rint(chunk)).all())
        low, high = min(low, float(chunk.min())), max(high, float(chunk.max()))
        start += len(chunk)
    if bad:
        raise DataError(
            f"{where} has {bad} value(s) that are NaN or infinite, the first in image {first[0]} at row {first[1]}, "
            f"column {first[2]}, channel {first[3]}. Remove those images or mend the values."
        )
    return low, high, whole


def _chunks(images: ArrayRows) -> Iterator[NDArray[Any]]:
    """Yield consecutive images, about 64 MB at a time."""
    rows = max(1, _CHUNK_BYTES // max(1, images[0].nbytes))
    for start in range(0, len(images), rows):
        yield images[start : start + rows]
