"""Standard errors of the metrics on features, by paired halves (see `gendi.evaluate.intervals`).

The Fréchet distance, the kernel distance, precision and density are taken against a reference that stays as it is, as
it does for all evaluations of one seed: their errors say how far other samples would move them. Recall and coverage are
shares of the *reference*. In half a set of samples the neighbours are farther away, so for these two the reference is
halved along with the samples, and the error includes the chance in the reference, which widens it by a fifth or so.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64

from gendi.evaluate.intervals import SPLITS, halves, halves_error
from gendi.evaluate.metrics import Features, open_balls, squared_distances
from gendi.machine.stopping import Poll, may_stop

WIDE, SPLITS_WIDE = 256, 20
"""Above so many dimensions the distances of halves cost more, and their average over dimensions scatters less: fewer
splits do."""
SPLITS_OF_NEIGHBOURS = 20
MOST = 5000
"""Most rows of which distances to neighbours are held in memory: 300 MB."""
ROUNDING = 1e-5
"""Relative difference below which two squared distances, held in float32, are equal: balls of coverage are open, balls
of recall closed."""
NEIGHBOURS = 64
"""Neighbours kept of each row. The chance that fewer than 6 of them lie in a half is 1e-12."""


def frechet_error(x: Features, reference: Features, seed: int = 0, poll: Poll | None = None) -> float | None:
    """Return the standard error of `frechet_from_features(x, reference)` over sets x; None for fewer than 4 rows of x
    or 2 of the reference."""
    n = len(x)
    if n < 4 or len(reference) < 2:
        return None
    count = SPLITS if min(n // 2, len(reference), x.shape[1]) <= WIDE else SPLITS_WIDE
    parts = [half for pair in halves(n, count, seed, "Fréchet halves") for half in pair]
    return halves_error(np.array(frechet_distances(x, reference, parts, poll)).reshape(-1, 2))


def frechet_distances(
    x: Features, reference: Features, parts: Sequence[Int64[np.ndarray, " _"]], poll: Poll | None = None
) -> list[float]:
    """Return the Fréchet distance between each of some sets of rows of x and the reference, as
    `frechet_from_features` has it.

    With a root S of the reference's covariance, S S' = C, the last term of the distance is the sum of the singular
    values of the centred rows times S. The product of all rows with S is computed once, and the singular values come
    from the smaller of its two Gram matrices, which costs them half of their digits and all parts a tenth of the time.
    """
    x, reference = x.astype(np.float64), reference.astype(np.float64)
    mean = reference.mean(axis=0)
    centred = (reference - mean) / np.sqrt(len(reference) - 1)
    if len(reference) < x.shape[1]:
        root = centred.T
    else:
        values, vectors = np.linalg.eigh(centred.T @ centred)
        root = vectors * np.sqrt(np.maximum(values, 0))
    x = x - mean
    product, squares, trace = x @ root, np.einsum("ij,ij->i", x, x), float(np.sum(centred**2))

    def distance(rows: np.ndarray) -> float:
        may_stop(poll)
        h, shift = len(rows), x[rows].mean(axis=0)
        p = product[rows] - product[rows].mean(axis=0)
        gram = p @ p.T if h < p.shape[1] else p.T @ p
        singular = np.sqrt(np.maximum(np.linalg.eigvalsh(gram), 0) / (h - 1)).sum()
        own = (squares[rows].sum() - h * float(shift @ shift)) / (h - 1)
        return float(shift @ shift + own + trace - 2 * singular)

    return [distance(rows) for rows in parts]


def kernel_error(x: Features, reference: Features, seed: int = 0, poll: Poll | None = None) -> float | None:
    """Return the standard error of `kernel_distance(x, reference).value` over sets x; None for fewer than 4 rows."""
    n = len(x)
    if n < 4 or len(reference) < 2:
        return None
    x, reference = x.astype(np.float64), reference.astype(np.float64)
    splits = list(halves(n, SPLITS, seed, "kernel halves"))
    chosen = np.zeros((2 * len(splits), n))
    for i, (a, b) in enumerate(splits):
        chosen[2 * i, a] = chosen[2 * i + 1, b] = 1
    h = n // 2
    within, across = np.zeros(len(chosen)), np.zeros(n)
    block = max(1, (1 << 22) // max(n, len(reference)))
    for start in range(0, n, block):
        may_stop(poll)
        rows = slice(start, start + block)
        kernel = (x[rows] @ x.T / x.shape[1] + 1) ** 3
        kernel[np.arange(len(kernel)), np.arange(start, start + len(kernel))] = 0
        within += np.einsum("bi,ib->b", chosen[:, rows], kernel @ chosen.T)
        across[rows] = ((x[rows] @ reference.T / x.shape[1] + 1) ** 3).mean(axis=1)
    found = within / (h * (h - 1)) - 2 * chosen @ across / h
    return halves_error(found.reshape(-1, 2), quadratic=False)  # its errors are skewed: see benchmarks/intervals.py


class NeighbourErrors(NamedTuple):
    """Standard errors of recall and coverage."""

    recall: float | None
    coverage: float | None


def neighbour_errors(
    real: Features, fake: Features, k: int, density_k: int, seed: int = 0, poll: Poll | None = None
) -> NeighbourErrors:
    """Return the standard errors of recall, for balls to the k-th neighbour, and coverage, to the `density_k`-th.

    Sets of more than 5000 rows are thinned, and the errors scaled to their size. None for too few rows.
    """
    used = min(len(real), len(fake), MOST)
    if used // 2 <= max(k, density_k):
        return NeighbourErrors(None, None)
    scale = float(np.sqrt(used / min(len(real), len(fake))))
    real, fake = real[:used], fake[:used]
    own, others = _nearest(real), _nearest(fake)
    distance = np.concatenate([part.astype(np.float32) for _, part in squared_distances(real, fake)])
    recalls, coverages = [], []
    firsts, seconds = (
        halves(used, SPLITS_OF_NEIGHBOURS, seed, f"neighbour halves {which}") for which in ("real", "fake")
    )
    for reals, fakes in zip(firsts, seconds, strict=True):
        may_stop(poll)
        for r, f in zip(reals, fakes, strict=True):
            between = distance[np.ix_(r, f)]
            coverages.append((between.min(axis=1) < (1 - ROUNDING) * _radius(own, r, density_k)).mean())
            recalls.append((between <= (1 + ROUNDING) * _radius(others, f, k)[None, :]).any(axis=1).mean())
    errors = [halves_error(np.array(v, np.float64).reshape(-1, 2), quadratic=False) for v in (recalls, coverages)]
    return NeighbourErrors(*(None if error is None else scale * error for error in errors))


class _Nearest(NamedTuple):
    """The nearest other rows of each row of a set, in order, and their squared distances."""

    place: Int64[np.ndarray, "n k"]
    squared: Float64[np.ndarray, "n k"]


def _nearest(x: Features) -> _Nearest:
    many = min(NEIGHBOURS, len(x) - 1)
    index, squared = [], []
    for rows, distance in squared_distances(x, x):
        distance[np.arange(len(distance)), np.arange(rows.start, rows.stop)] = np.inf
        near = np.argpartition(distance, many - 1, axis=1)[:, :many]
        found = np.take_along_axis(distance, near, 1)
        order = np.argsort(found, axis=1)
        index.append(np.take_along_axis(near, order, 1))
        squared.append(np.take_along_axis(found, order, 1))
    return _Nearest(np.concatenate(index).astype(np.int64), np.concatenate(squared))


def _radius(nearest: _Nearest, rows: np.ndarray, k: int) -> np.ndarray:
    """Return the squared distance of each of `rows` to its k-th nearest row among them."""
    member = np.zeros(len(nearest.place), bool)
    member[rows] = True
    among = member[nearest.place[rows]]
    place = (among.cumsum(axis=1) >= k).argmax(axis=1)
    return np.asarray(nearest.squared[rows, place])


def crowding(real: Features, fake: Features, k: int) -> Float64[np.ndarray, " _"]:
    """Return for each fake row the number of real balls that hold it, divided by k: density is the mean of these."""
    crowd = np.zeros(len(fake))
    for _, inside in open_balls(real, fake, k):
        crowd += inside.sum(axis=0)
    return np.asarray(crowd / k)
