"""The place of images: in memory as bytes if they fit, and otherwise in a memory-mapped file.

Arrays that come from a file are mapped privately (copy on write). When images are set aside a few of them move, which
changes a few pages of memory and never the file.
"""

import json
import math
import mmap
import os
import platform
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import DTypeLike, NDArray

from gendi.errors import ResourceError
from gendi.storage.files import atomic_write

MEMORY_SHARE = 0.25
"""Arrays larger than this share of the available memory are memory-mapped."""

Fill = Callable[[NDArray[np.uint8]], dict[str, Any]]
"""Writes every row of a new array, and returns what else must be kept, as values for JSON."""

# Python has a name for the flag from 3.13 on. Without the flag, Linux counts the whole private mapping as memory.
_FALLBACK = 0x4000 if sys.platform == "linux" and platform.machine() in {"x86_64", "aarch64"} else 0
_NORESERVE: int = getattr(mmap, "MAP_NORESERVE", _FALLBACK)


def say(message: str) -> None:
    """Print a line of progress to stderr."""
    print(f"gendi: {message}", file=sys.stderr, flush=True)


def cache_dir() -> Path:
    """Return the cache folder.

    It is `$GENDI_CACHE`, or the platform's own place (`$XDG_CACHE_HOME/gendi` or `~/.cache/gendi` on Linux).
    """
    if named := os.environ.get("GENDI_CACHE"):
        return Path(named).expanduser()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "gendi"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "gendi" / "Cache"
    xdg = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (xdg if xdg.is_absolute() else Path.home() / ".cache") / "gendi"


def fits_in_memory(nbytes: int) -> bool:
    """Return whether an array of `nbytes` should be held in memory."""
    return bool(nbytes <= MEMORY_SHARE * psutil.virtual_memory().available)


def map_private(path: Path, dtype: DTypeLike, shape: tuple[int, ...], offset: int) -> NDArray[Any]:
    """Return an array of `shape` and `dtype` that starts at byte `offset` of a file, mapped copy on write.

    Raises:
        ValueError: the file is shorter than that.
        OSError: the file cannot be read or mapped.
    """
    items = math.prod(shape)
    with path.open("rb") as file:
        if sys.platform == "win32":
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        else:
            flags, prot = mmap.MAP_PRIVATE | _NORESERVE, mmap.PROT_READ | mmap.PROT_WRITE
            mapped = mmap.mmap(file.fileno(), 0, flags=flags, prot=prot)
    return np.frombuffer(mapped, dtype, items, offset).reshape(shape)


def build(shape: tuple[int, ...], key: str, fill: Fill) -> tuple[NDArray[np.uint8], dict[str, Any]]:
    """Return a uint8 array of `shape` written by `fill`, and what `fill` returned.

    The array is in memory if it fits. Otherwise it is mapped from `decoded/KEY.npy` of the cache folder, where the next
    call finds it again; so `key` must name the source and everything else that the bytes depend on.

    Raises:
        ResourceError: the disk is too full, or the cache folder cannot be written.
    """
    nbytes = math.prod(shape)
    if fits_in_memory(nbytes):
        array = np.empty(shape, np.uint8)
        return array, fill(array)
    path = cache_dir() / "decoded" / f"{key}.npy"
    side = path.with_suffix(".json")
    if path.is_file() and side.is_file():
        return _map_npy(path, shape), json.loads(side.read_text("utf-8"))
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
        info = fill(np.asarray(writable))
        writable.flush()
        del writable
        atomic_write(side, json.dumps(info))
        temporary.replace(path)
        return _map_npy(path, shape), info
    except OSError as error:
        raise ResourceError(
            f"The decoded images ({nbytes / 1e9:.1f} GB) do not fit in memory and could not be written to "
            f"{path.parent}: {error}. Point GENDI_CACHE at a folder with room, or choose a smaller size."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def _map_npy(path: Path, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    offset = path.stat().st_size - math.prod(shape)
    return map_private(path, np.uint8, shape, offset)
