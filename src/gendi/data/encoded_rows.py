"""Rows in model space, for codecs that encode rows once; those that take long are kept on the disk.

The folder of the cache is named by a hash of the codec, the data and what was encoded of them, and its manifest has the
SHA-256 of the file. A folder that is damaged counts as none, and the rows are encoded again. A cache that cannot be
written is no error.
"""

import contextlib
import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32

from gendi.data.codec import Codec
from gendi.errors import BundleError, ResourceError
from gendi.storage.files import verify_manifest
from gendi.storage.folders import replace_folder
from gendi.storage.safe_tensors import read_tensors, tensor_bytes, tensor_chunks
from gendi.storage.store import cache_dir

ROWS = "rows.safetensors"


def kept_rows(
    codec: Codec, fingerprint: str, what: str, n: int, encode: Callable[[], Float32[np.ndarray, "n ..."]]
) -> Float32[np.ndarray, "n ..."]:
    """Return n rows in model space: those in the cache if the codec has a key and they are there, else `encode()`.

    Args:
        codec: the codec.
        fingerprint: the fingerprint of the data.
        what: which rows of the data these are, and how they were changed before.
        n: how many there are.
        encode: computes them.
    """
    key = codec.cache_key
    if key is None:
        return encode()
    name = hashlib.sha256("\0".join((key, fingerprint, what)).encode()).hexdigest()[:32]
    folder = cache_dir() / "latents" / name
    found = _read(folder, (n, *codec.shape))
    if found is None:
        found = encode()
        _write(folder, found)
    return found


def _read(folder: Path, shape: tuple[int, ...]) -> Float32[np.ndarray, "n ..."] | None:
    if not folder.is_dir():
        return None
    try:
        verify_manifest(folder)
        return np.asarray(read_tensors(folder / ROWS, {"rows": (shape, torch.float32)})["rows"].numpy())
    except (BundleError, ResourceError, OSError):
        return None


def _write(folder: Path, rows: Float32[np.ndarray, "n ..."]) -> None:
    tensors = {"rows": torch.from_numpy(rows)}
    with contextlib.suppress(OSError, ResourceError), replace_folder(folder, tensor_bytes(tensors) + 4096) as writer:
        writer.write(ROWS, tensor_chunks(tensors))
