"""A cache on disk of the features of reference images, so that later evaluations compute only those of their
samples."""

import contextlib
import hashlib
import io
import zipfile
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int64

from gendi.data.images.extractors import Extractor
from gendi.data.images.shared_features import features_of
from gendi.data.split import Rows
from gendi.errors import ResourceError
from gendi.machine.distributed import team
from gendi.machine.stopping import Poll
from gendi.storage.files import atomic_write
from gendi.storage.store import cache_dir


def reference_features(
    extractor: Extractor,
    images: Rows,
    indices: Int64[np.ndarray, " n"],
    fingerprint: str,
    *,
    poll: Poll | None = None,
) -> Float32[np.ndarray, "n d"]:
    """Return the features of `images[indices]` from the cache; several processes share the work for missing ones.

    The key is made of the data's fingerprint, the indices, the extractor's name and hash, and how it resizes. If a
    cache file is damaged, which the checksum of the zip shows, its features are computed again. A cache folder that
    cannot be written is no error.
    """
    key = hashlib.sha256()
    for part in (fingerprint, extractor.name, extractor.sha256, extractor.resize):
        key.update(part.encode() + b"\0")
    key.update(indices.tobytes())
    path = cache_dir() / "features" / f"{extractor.name}-{key.hexdigest()[:32]}.npz"
    found = team().from_first(lambda: _load(path, len(indices)))
    if found is not None:
        return found
    features = features_of(extractor, len(indices), lambda part: np.ascontiguousarray(images[indices[part]]), poll)
    team().from_first(lambda: _store(path, features))
    return features


def _load(path: Path, n: int) -> np.ndarray | None:
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
            features = np.asarray(file["features"], np.float32)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    return features if features.ndim == 2 and len(features) == n else None


def _store(path: Path, features: np.ndarray) -> None:
    content = io.BytesIO()
    np.savez(content, features=features)
    with contextlib.suppress(OSError, ResourceError):
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(path, content.getvalue())
