"""Files of samples of pictures: a PNG grid, a folder of PNGs, or an .npz. Each has texts that say how they were drawn.

    samples.png     a grid of up to 10,000 images with 1 to 4 channels; it can be read back exactly
    samples/        00000.png, 00001.png, ...: one file per sample, numbered by its index in the seed's stream
    samples.npz     uint8 "samples" (N, H, W), or (N, H, W, C) for more than one channel; "settings", text; where
                    classes were drawn, their numbers "labels" (N,) and their names "labels_names"

This module does not interpret the texts; in a PNG they are text chunks. It does not import torch.
"""

import json
import math
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from gendi.data.images.class_rows import Asked, with_names
from gendi.data.images.pictures import grid_image, png_bytes, to_image
from gendi.errors import DataError, UsageError
from gendi.storage.disk import disk_error, require_space
from gendi.storage.files import temporary_name

PNG_CHANNELS = range(1, 5)
GRID_MOST = 10_000
PAPER = 128
"""The grey of the places in a grid that have no image."""
GAP = 2
"""Pixels between the images of a grid, and around it."""
SETTINGS = "gendi"
"""The key of the text that says how samples were drawn; in an .npz the text is the array "settings"."""
_LAYOUT, _MAX_TEXT = "gendi-grid", 1 << 20

Images = UInt8[np.ndarray, "n height width channels"]
Texts: TypeAlias = Callable[[int, int], Mapping[str, str]]
"""A function that is called with n and the number of the first sample, and returns the texts of the file by key."""


def write_samples(
    path: Path, images: Images, texts: Texts | None = None, first: int = 0, asked: Asked | None = None
) -> None:
    """Write samples as a grid (.png), an archive (.npz), or a new folder (a name without a suffix).

    A file of that name is replaced at once, so that a failure leaves the old file.

    Args:
        path: where to write.
        images: the samples (N, H, W, C).
        texts: returns the texts to write; none by default.
        first: the number of the first sample.
        asked: the classes of the samples: an archive holds them, and a grid has a row for each that was requested.

    Raises:
        UsageError: another suffix, a folder that holds something, or images that a PNG cannot hold.
        ResourceError: the disk is full or refuses.
    """
    check_destination(path, len(images), images.shape[3])
    texts = texts or _no_texts
    temporary = temporary_name(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        require_space(path.parent, images.nbytes // (1 if path.suffix == ".npz" else 4))
        try:
            if path.suffix == ".npz":
                arrays: dict[str, Any] = {"samples": images[..., 0] if images.shape[3] == 1 else images}
                if (settings := texts(len(images), first).get(SETTINGS)) is not None:
                    arrays["settings"] = np.array(settings)
                if asked is not None:
                    arrays |= {"labels": asked.labels, "labels_names": np.array(asked.names)}
                with temporary.open("xb") as file:
                    np.savez(file, **arrays)
            elif path.suffix == ".png":
                temporary.write_bytes(_grid(images, texts(len(images), first), asked))
            else:
                temporary.mkdir()
                for i, image in enumerate(images, first):
                    (temporary / f"{i:05d}.png").write_bytes(png_bytes(to_image(image), dict(texts(1, i))))
                if path.is_dir():
                    path.rmdir()  # check_destination has made sure that it is empty
            temporary.replace(path)
        except BaseException:
            _remove(temporary)
            raise
    except OSError as error:
        raise disk_error(error, path, images.nbytes) from error


def _no_texts(n: int, first: int) -> dict[str, str]:
    return {}


def check_destination(path: Path, n: int, channels: int) -> None:
    """Raise `UsageError` if `n` images of `channels` channels cannot be written to `path`.

    It is called before the work starts.
    """
    if path.suffix not in (".png", ".npz", ""):
        raise UsageError(
            f"--out {path}: samples are written as a grid (NAME.png), an archive (NAME.npz) or a folder (a name "
            f"without a suffix), not as {path.suffix}."
        )
    if path.suffix != ".npz" and channels not in PNG_CHANNELS:
        raise UsageError(f"--out {path}: a PNG holds 1 to 4 channels and these images have {channels}. Write an .npz.")
    if path.suffix == ".png" and n > GRID_MOST:
        raise UsageError(f"--out {path}: a grid shows at most {GRID_MOST:,} images. Write an .npz or a folder.")
    if path.suffix and path.is_dir():
        raise UsageError(f"--out {path} is a folder. Choose another name.")
    if not path.suffix and path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise UsageError(
            f"--out {path} is there already, and is not an empty folder. Choose another name or remove it."
        )


def read_samples(path: Path) -> Images:
    """Return the samples in a grid that gendi wrote, or in any folder of pictures, .npz or .npy.

    Raises `DataError` saying what is wrong.
    """
    if path.is_dir():
        from gendi.data.images.folder import load_folder

        return load_folder(path, max_bad=0).rows[:]
    if path.suffix == ".png" and path.is_file():
        return _read_grid(path)
    if path.suffix == ".npz" and path.is_file() and _npz_text(path) is not None:
        return _read_own_npz(path)
    from gendi.data.images.evaluation import load_samples

    return load_samples(path)


def read_texts(path: Path) -> dict[str, Any]:
    """Return the texts in a picture or an .npz of samples, by key. Raises `DataError` if it cannot be read."""
    if path.suffix == ".npz":
        text = _npz_text(path)
        return {} if text is None else {SETTINGS: text}
    return png_text(path)


def _grid(images: Images, texts: Mapping[str, str], asked: Asked | None = None) -> bytes:
    """Return the PNG of a nearly square grid, or of rows of classes, with what is needed to cut it into samples."""
    if asked is not None and asked.in_rows and images.shape[3] in (1, 3):
        slots = asked.slots()
        rows = np.where((slots < 0)[:, None, None, None], PAPER, images[slots]).astype(np.uint8)
        _, height, width, _ = images.shape
        scale = max(1, min(4, 64 // max(height, width)))
        left, picture = with_names(grid_image(rows, asked.columns, scale, GAP), asked, height * scale + GAP)
        layout: dict[str, Any] = {"n": len(slots), "height": height, "width": width, "columns": asked.columns}
        layout |= {"scale": scale, "gap": GAP, "left": left, "slots": slots.tolist()}
        return png_bytes(picture, dict(texts) | {_LAYOUT: json.dumps(layout)})
    n, height, width, _ = images.shape
    columns, scale = math.ceil(math.sqrt(n)), max(1, min(4, 64 // max(height, width)))
    layout = {"n": n, "height": height, "width": width, "columns": columns, "scale": scale, "gap": GAP}
    picture = grid_image(images, columns, scale, GAP)
    return png_bytes(picture, dict(texts) | {_LAYOUT: json.dumps(layout)})


def _read_grid(path: Path) -> Images:
    text = png_text(path).get(_LAYOUT)
    if text is None:
        raise DataError(
            f"{path} is a single picture, no grid that gendi sample wrote. Give a folder of pictures, an .npz "
            "or a .npy."
        )
    try:
        layout = json.loads(text)
        slots, left = layout.pop("slots", None), layout.pop("left", 0)
        n, height, width, columns, scale, gap = (
            layout[key] for key in ("n", "height", "width", "columns", "scale", "gap")
        )
        if not all(type(value) is int and 1 <= value <= 1 << 20 for value in layout.values()):
            raise ValueError("a number is out of range")
        with Image.open(path) as picture:
            sheet = np.atleast_3d(np.asarray(picture))[:, left:]
        rows, down, across = math.ceil(n / columns), height * scale + gap, width * scale + gap
        if sheet.shape[:2] != (rows * down + gap, columns * across + gap):
            raise ValueError(f"the picture is {sheet.shape[0]} x {sheet.shape[1]}")
        cells = sheet[gap:, gap:].reshape(rows, down, columns, across, sheet.shape[2])
        out = cells[:, : height * scale : scale, :, : width * scale : scale].swapaxes(1, 2)
        images: Images = np.ascontiguousarray(out.reshape(rows * columns, height, width, sheet.shape[2])[:n])
        if slots is not None:
            images = images[np.argsort(np.where(np.array(slots) < 0, n, slots), kind="stable")[: max(slots) + 1]]
    except (ValueError, KeyError, TypeError, OSError, Image.DecompressionBombError) as error:
        raise DataError(
            f"{path} could not be cut into samples ({error}): it was edited after gendi wrote it."
        ) from None
    return images


def png_text(path: Path) -> dict[str, Any]:
    """Return the texts in a picture's file. Raises `DataError` if it is no picture."""
    try:
        with Image.open(path) as picture:
            return {str(key): value for key, value in picture.info.items()}
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{path} could not be read as a picture: {error}.") from None


def _read_own_npz(path: Path) -> Images:
    """Return the samples of an .npz that gendi wrote, whose layout is known."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            images = arrays["samples"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} could not be read as .npz: {error}.") from None
    if images.dtype != np.uint8 or images.ndim not in (3, 4):
        raise DataError(
            f"{path}: its samples are {images.dtype} of shape {images.shape}; it was edited after gendi wrote it."
        )
    return np.asarray(images[..., None] if images.ndim == 3 else images, np.uint8)


def _npz_text(path: Path) -> str | None:
    try:
        with zipfile.ZipFile(path) as archive:
            if "settings.npy" not in archive.namelist() or archive.getinfo("settings.npy").file_size > _MAX_TEXT:
                return None
        with np.load(path, allow_pickle=False) as arrays:
            return str(arrays["settings"])
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} could not be read as .npz: {error}.") from None


def _remove(path: Path) -> None:
    if path.is_dir():
        for inside in path.iterdir():
            inside.unlink()
        path.rmdir()
    else:
        path.unlink(missing_ok=True)
