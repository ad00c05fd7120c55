"""Did the model learn or remember? Distances to the nearest training image, against the same for unseen images.

Distances are Euclidean over pixels in [0, 1]. A sampler of memories lies nearer to the training set than unseen
images of the same kind do. A sample counts as a near-copy when it is nearer than 1% of the held-out images are, so
held-out images themselves have 1% of near-copies by construction: that is the floor.
"""

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float64, Int64, UInt8

from gendi.errors import UsageError
from gendi.evaluate.stopping import Stop, poll

NEAR_COPY_QUANTILE = 0.01
_BLOCK_BYTES = 1 << 26


@runtime_checkable
class Rows(Protocol):
    """N images (N, H, W, C) of bytes, an array or what gives some of its rows as one."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    def __len__(self) -> int: ...
    def __getitem__(self, index: Any, /) -> np.ndarray: ...


@dataclass(frozen=True)
class Memorisation:
    """Nearest training images of samples and of held-out images."""

    distance: Float64[np.ndarray, " n"]
    """Distance of each sample to its nearest training image."""
    neighbour: Int64[np.ndarray, " n"]
    """Index of that training image."""
    heldout_distance: Float64[np.ndarray, " m"]
    """Distance of each held-out image to its nearest training image."""

    @property
    def ratio(self) -> float:
        """Median distance of samples over that of held-out images; well below 1 smells of memory. NaN if undefined."""
        median = float(np.median(self.heldout_distance))
        return float(np.median(self.distance)) / median if median > 0 else float("nan")

    @property
    def threshold(self) -> float:
        """Distance below which an image counts as a near-copy: the held-out images' 1% quantile."""
        return float(np.quantile(self.heldout_distance, NEAR_COPY_QUANTILE))

    @property
    def near_copies(self) -> float:
        """Share of samples nearer than `threshold`, or identical to a training image."""
        return _share(self.distance, self.threshold)

    @property
    def heldout_near_copies(self) -> float:
        """The same share among the held-out images: 1%, up to rounding and ties."""
        return _share(self.heldout_distance, self.threshold)


def memorisation(
    samples: UInt8[np.ndarray, "n height width channels"],
    train: Rows,
    heldout: UInt8[np.ndarray, "m height width channels"],
    *,
    mirrored: bool = False,
    stop: Stop | None = None,
) -> Memorisation:
    """Compare samples and held-out images with *all* training images; `stop` is polled between blocks of these.

    `mirrored`: with their mirror images too, of which a model that was trained with flips has learned as much.
    """
    distance, neighbour = _nearest_of(samples, train, mirrored, stop)
    heldout_distance, _ = _nearest_of(heldout, train, mirrored, stop)
    return Memorisation(distance, neighbour, heldout_distance)


def _nearest_of(
    queries: UInt8[np.ndarray, "n height width channels"],
    train: Rows,
    mirrored: bool,
    stop: Stop | None,
) -> tuple[Float64[np.ndarray, " n"], Int64[np.ndarray, " n"]]:
    """Return what `nearest` does; a query's mirror image is as far from an image as the query from its mirror image."""
    distance, index = nearest(queries, train, stop=stop)
    if not mirrored:
        return distance, index
    other, place = nearest(np.ascontiguousarray(queries[:, :, ::-1]), train, stop=stop)
    return np.minimum(distance, other), np.where(other < distance, place, index)


def nearest(
    queries: UInt8[np.ndarray, "n height width channels"],
    train: Rows,
    *,
    stop: Stop | None = None,
) -> tuple[Float64[np.ndarray, " n"], Int64[np.ndarray, " n"]]:
    """Return for each query the distance to its nearest training image (pixels in [0, 1]) and that image's index.

    The search runs over products in float32, a block of training images at a time (they may be memory-mapped); the
    distance to the winner is then computed from the bytes, so a copy has distance 0 exactly. Between two training
    images whose squared distances agree to about 1e-5 the search may return either.
    """
    if not len(queries) or not len(train):
        raise UsageError(f"No nearest image: {len(queries)} queries against {len(train)} training images.")
    shape = (-1, int(np.prod(train.shape[1:])))
    centre = train[:: max(1, len(train) // 1000)].reshape(shape).mean(axis=0, dtype=np.float32) / 255
    flat = queries.reshape(shape).astype(np.float32) / 255 - centre
    best = np.full(len(queries), np.inf, np.float32)
    index = np.zeros(len(queries), np.int64)
    rows = max(1, _BLOCK_BYTES // 4 // max(shape[1], len(queries)))
    for start in range(0, len(train), rows):
        poll(stop)
        block = train[start : start + rows].reshape(shape).astype(np.float32) / 255 - centre
        # |q - b|^2 without |q|^2, which does not change which b is nearest.
        score = np.einsum("ij,ij->i", block, block) - 2 * (flat @ block.T)
        winner = score.argmin(axis=1)
        value = score[np.arange(len(flat)), winner]
        better = value < best
        best[better], index[better] = value[better], winner[better] + start
    squared = np.empty(len(queries))
    for i, j in enumerate(index):
        difference = queries[i].astype(np.int64) - train[j]
        squared[i] = np.sum(difference * difference)
    return np.sqrt(squared) / 255, index


def _share(distance: np.ndarray, threshold: float) -> float:
    return float(((distance < threshold) | (distance == 0)).mean())
