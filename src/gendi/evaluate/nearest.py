"""The search for nearest images; distances are Euclidean over pixels in [0, 1], and exactly 0 for copies."""

from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float64, Int64, UInt8

from gendi.errors import UsageError
from gendi.machine.stopping import Poll, may_stop

_BLOCK_BYTES = 1 << 26


@runtime_checkable
class Images(Protocol):
    """M images (M, H, W, C) of bytes: an array, or what gives some of its rows as one."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    def __len__(self) -> int: ...
    def __getitem__(self, index: Any, /) -> np.ndarray: ...


def nearest_images(
    queries: UInt8[np.ndarray, "n height width channels"],
    images: Images,
    k: int = 1,
    *,
    poll: Poll | None = None,
) -> tuple[Float64[np.ndarray, "n near"], Int64[np.ndarray, "n near"]]:
    """Return for each query the distances to its k nearest images (at most M), nearest first, and their indices.

    The search uses float32 products, one block of images at a time (the images may be memory-mapped). The distances are
    then computed from the bytes, so a copy has distance 0 exactly. Between two images whose squared distances agree to
    about 1e-5, the search may choose either. `poll` is called between blocks.

    Raises `UsageError` if there are no queries or no images.
    """
    if not len(queries) or not len(images):
        raise UsageError(f"There is no nearest image of {len(queries)} queries among {len(images)} training images.")
    k = min(k, len(images))
    shape = (-1, int(np.prod(images.shape[1:])))
    centre = images[:: max(1, len(images) // 1000)].reshape(shape).mean(axis=0, dtype=np.float32) / 255
    flat = queries.reshape(shape).astype(np.float32) / 255 - centre
    best = np.full((len(queries), k), np.inf, np.float32)
    index = np.zeros((len(queries), k), np.int64)
    rows = max(1, _BLOCK_BYTES // 4 // max(shape[1], len(queries)))
    for start in range(0, len(images), rows):
        may_stop(poll)
        block = images[start : start + rows].reshape(shape).astype(np.float32) / 255 - centre
        # |q - b|^2 without |q|^2, which does not change which b is nearest
        score = np.einsum("ij,ij->i", block, block) - 2 * (flat @ block.T)
        value, place = _least(score, min(k, len(block)))
        merged, where = np.concatenate([best, value], 1), np.concatenate([index, place + start], 1)
        order = np.argsort(merged, axis=1, kind="stable")[:, :k]
        best, index = np.take_along_axis(merged, order, 1), np.take_along_axis(where, order, 1)
    squared = np.empty(index.shape)
    for i, nearest in enumerate(index):
        difference = queries[i].astype(np.int64) - images[nearest]
        squared[i] = np.square(difference).reshape(k, -1).sum(axis=1)
    return np.sqrt(squared) / 255, index


def _least(score: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the k smallest values of each row of `score`, and their places; of equal values, the first come first.

    The function overwrites `score`.
    """
    rows = np.arange(len(score))
    values, places = [], []
    for _ in range(k):
        place = score.argmin(axis=1)
        values.append(score[rows, place])
        places.append(place)
        score[rows, place] = np.inf
    return np.stack(values, 1), np.stack(places, 1)
