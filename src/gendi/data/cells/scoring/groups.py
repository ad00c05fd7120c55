"""Groups of cells as what scores need of them: their mean, variance and some principal components.

A group in which every cell is there k times is taken once: copies are no further cells. So a file in which all
predicted cells, or all controls, were doubled has the scores of the file before.
"""

from dataclasses import dataclass
from hashlib import blake2b
from math import gcd

import numpy as np
from jaxtyping import Float64
from numpy.typing import NDArray

from gendi.data.cells.scoring.inputs import Side
from gendi.diffusion.randomness import stream

CHUNK = 1000
MOST = 500
"""Cells of a group of which distances are computed."""
FITTED, COMPONENTS = 1000, 50
"""Cells that principal components are fitted to, and their number."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Group:
    """A group of n cells, and b versions of it: the group itself, and groups that were drawn from it anew.

    Fields that end in `s` have one row for each version.
    """

    n: int
    means: Float64[np.ndarray, "b g"]
    variances: Float64[np.ndarray, "b g"]
    """Variances of single cells, with n - 1 in the denominator; 0 for one cell."""
    z: Float64[np.ndarray, "k d"]
    """Principal components of up to `MOST` of the cells."""
    weights: Float64[np.ndarray, "b k"]
    """How often each of these cells is there."""

    def moved(self, shift: Floats, axes: Floats) -> "Group":
        """Return the group with all cells moved by a shift (G,); `axes` (G, d) are the principal axes.

        The shift is from the mean of this very sample, so the moved cells would have a mean without the chance that
        the mean of a fresh sample has, and distances, which allow for it, would come out below 0. Here they have it.
        """
        rng = stream(0, "chance in a mean")
        drawn = rng.multinomial(len(self.z), np.full(len(self.z), 1 / len(self.z))) / len(self.z)
        chance = (drawn - 1 / len(self.z)) @ self.z if shift.any() else 0.0
        return Group(self.n, self.means + shift, self.variances, self.z + shift @ axes + chance, self.weights)


def once(side: Side, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], int]:
    """Return rows without whole copies of the group, and how often every cell was there."""
    first: dict[bytes, int] = {}
    times: dict[bytes, int] = {}
    for start in range(0, len(rows), CHUNK):
        some = rows[start : start + CHUNK]
        for row, cell in zip(some, np.ascontiguousarray(side.expression(some)), strict=True):
            key = blake2b(cell.tobytes(), digest_size=16).digest()
            first.setdefault(key, int(row))
            times[key] = times.get(key, 0) + 1
    every = gcd(*times.values())
    if every == 1:
        return rows, 1
    kept = [[first[key]] * (times[key] // every) for key in first]
    return np.array([row for part in kept for row in part], np.int64), every


def axes_of(side: Side, groups: list[NDArray[np.int64]]) -> Floats:
    """Return principal axes (G, d) of groups of cells."""
    rows = np.concatenate(groups)
    x = side.expression(rows[np.linspace(0, len(rows) - 1, min(len(rows), FITTED)).round().astype(np.int64)])
    x -= x.mean(0)
    if x.shape[0] <= x.shape[1]:
        values, vectors = np.linalg.eigh(x @ x.T)
        kept = np.argsort(values)[::-1][:COMPONENTS]
        kept = kept[values[kept] > 1e-9 * max(values.max(), 1e-300)]
        return np.asarray(x.T @ (vectors[:, kept] / np.sqrt(values[kept])))
    _, vectors = np.linalg.eigh(x.T @ x)
    return np.asarray(vectors[:, ::-1][:, :COMPONENTS])


def group_of(
    side: Side, rows: NDArray[np.int64], axes: Floats, again: int = 0, rng: np.random.Generator | None = None
) -> Group:
    """Return the group of some cells, with `again` versions that are drawn from it with replacement by `rng`."""
    n = len(rows)
    weights = np.ones((1 + again, n))
    if again:
        assert rng is not None
        weights[1:] = rng.multinomial(n, np.full(n, 1 / n), size=again)
    near = np.unique(np.linspace(0, n - 1, min(n, MOST)).round().astype(np.int64))
    sums = np.zeros((1 + again, axes.shape[0]))
    squares, z, centre = np.zeros_like(sums), [], None
    for start in range(0, n, CHUNK):
        x = side.expression(rows[start : start + CHUNK])
        some = near[(near >= start) & (near < start + CHUNK)] - start
        z.append(x[some] @ axes)
        centre = x.mean(0) if centre is None else centre  # against the round-off of a difference of squares
        x -= centre
        sums += weights[:, start : start + CHUNK] @ x
        squares += weights[:, start : start + CHUNK] @ np.square(x)
    means = sums / n
    variances = np.maximum(squares / n - np.square(means), 0.0) * (n / max(n - 1, 1))
    assert centre is not None
    return Group(n, means + centre, variances, np.concatenate(z), weights[:, near])
