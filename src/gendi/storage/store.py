"""The place of images: in memory as bytes if they fit, and otherwise in a file of the cache, read row by row."""

import json
import math
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

from gendi.errors import ResourceError
from gendi.machine.paths import home, home_folder
from gendi.machine.streams import tell
from gendi.storage.file_rows import ArrayRows, FileRows
from gendi.storage.files import atomic_write

MEMORY_SHARE = 0.25
"""Arrays larger than this share of the available memory stay in a file."""

Fill = Callable[[NDArray[np.uint8]], dict[str, Any]]
"""Writes every row of a new array, and returns what else must be kept, as values for JSON."""


def say(message: str) -> None:
    """Print a line of progress to stderr."""
    tell(f"gendi: {message}")


def cache_dir() -> Path:
    """Return the cache folder.

    It is `$GENDI_CACHE`, or the platform's own place (`$XDG_CACHE_HOME/gendi` or `~/.cache/gendi` on Linux).
    """
    if named := os.environ.get("GENDI_CACHE"):
        return home(named)
    if sys.platform == "darwin":
        return home_folder() / "Library" / "Caches" / "gendi"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or home_folder() / "AppData" / "Local") / "gendi" / "Cache"
    xdg = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (xdg if xdg.is_absolute() else home_folder() / ".cache") / "gendi"


def fits_in_memory(nbytes: int) -> bool:
    """Return whether an array of `nbytes` should be held in memory."""
    return bool(nbytes <= MEMORY_SHARE * psutil.virtual_memory().available)


def build(shape: tuple[int, ...], key: str, fill: Fill) -> tuple[ArrayRows, dict[str, Any]]:
    """Return bytes of `shape` written by `fill`, and what `fill` returned.

    They are an array in memory if that fits. Otherwise they are in `decoded/KEY.npy` of the cache folder, where the
    next call finds them again; so `key` must name the source and everything else that the bytes depend on.

    Raises:
        ResourceError: the disk is too full, or the cache folder cannot be written.
    """
    nbytes = math.prod(shape)
    if fits_in_memory(nbytes):
        array = np.empty(shape, np.uint8)
        return array, fill(array)
    path = cache_dir() / "decoded" / f"{key}.npy"
    side = path.with_suffix(".json")
    if (known := _built(path, side, shape)) is not None:
        return known
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(path.parent).free
        if nbytes > free:
            raise ResourceError(
                f"The decoded images need {nbytes / 1e9:.1f} GB, more than a quarter of the memory, and "
                f"{path.parent} has {free / 1e9:.1f} GB left. Free some space, point GENDI_CACHE at a larger disk, or "
                "choose a smaller size."
            )
        say(
            f"the images do not fit in memory: decoding {nbytes / 1e9:.1f} GB into {path} (it may be deleted "
            "afterwards)"
        )
        writable = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.uint8, shape=shape)
        _reserve(temporary)
        info = fill(np.asarray(writable))
        writable.flush()
        del writable
        atomic_write(side, json.dumps(info))
        temporary.replace(path)
        return _rows(path, shape), info
    except OSError as error:
        raise ResourceError(
            f"The decoded images ({nbytes / 1e9:.1f} GB) do not fit in memory and could not be written to "
            f"{path.parent}: {error}. Point GENDI_CACHE at a folder with room, or choose a smaller size."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def _built(path: Path, side: Path, shape: tuple[int, ...]) -> tuple[FileRows, dict[str, Any]] | None:
    """Return what an earlier call wrote; None if there is nothing, or if it is damaged."""
    try:
        return _rows(path, shape), json.loads(side.read_text("utf-8"))
    except (OSError, ValueError):
        return None


def _rows(path: Path, shape: tuple[int, ...]) -> FileRows:
    return FileRows(path, np.uint8, shape, max(0, path.stat().st_size - math.prod(shape)))


def _reserve(path: Path) -> None:
    """Take room on the disk for a whole file: a page that finds none when a map is written kills the process.

    Raises `OSError` if the disk is too full.
    """
    if hasattr(os, "posix_fallocate"):
        with path.open("rb+") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
