"""A cache on disk of networks that learned from a folder of pictures, so that each is trained once.

A file that is damaged counts as none, and the network is trained again. A cache folder that cannot be written is no
error.
"""

import contextlib
import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from gendi.errors import ResourceError
from gendi.storage.files import atomic_write
from gendi.storage.store import cache_dir


def network_path(name: str, parts: Iterable[object]) -> Path:
    """Return where the network of that name is kept that depends on `parts`: the data, and how it was trained."""
    key = hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()[:32]
    return cache_dir() / "extractors" / f"{name}-{key}.safetensors"


def kept_tensors(path: Path) -> dict[str, Tensor] | None:
    """Return the tensors of a file of the cache by name; None if there is none that can be read."""
    try:
        return load(path.read_bytes())
    except (OSError, SafetensorError, ValueError):
        return None


def keep_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors into a file of the cache, whole or not at all."""
    with contextlib.suppress(OSError, ResourceError):
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(path, save({name: value.contiguous() for name, value in tensors.items()}))
