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
LARGEST = 30.0
"""Logarithms are cut off here before they are taken back, against overflow."""
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
    plain_means: Float64[np.ndarray, "b g"]
    """Means of expression that is no logarithm, e^y - 1: counts per 10,000, whose mean does not depend on depths."""
    plain_variances: Float64[np.ndarray, "b g"]

    def moved(self, shift: Floats, axes: Floats) -> "Group":
        """Return the group with all cells moved by a shift (G,); `axes` (G, d) are the principal axes.

        The shift is from the mean of this very sample, so the moved cells would have a mean without the chance that
        the mean of a fresh sample has, and distances, which allow for it, would come out below 0. Here they have it.
        """
        rng = stream(0, "chance in a mean")
        drawn = rng.multinomial(len(self.z), np.full(len(self.z), 1 / len(self.z))) / len(self.z)
        chance = (drawn - 1 / len(self.z)) @ self.z if shift.any() else 0.0
        fold = np.exp(shift)
        return Group(
            self.n,
            self.means + shift,
            self.variances,
            self.z + shift @ axes + chance,
            self.weights,
            fold * (self.plain_means + 1) - 1,
            fold**2 * self.plain_variances,
        )


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
    logs, plain, z = _Moments(weights), _Moments(weights), []
    for start in range(0, n, CHUNK):
        x = side.expression(rows[start : start + CHUNK])
        some = near[(near >= start) & (near < start + CHUNK)] - start
        z.append(x[some] @ axes)
        plain.add(np.expm1(np.minimum(x, LARGEST)), start)
        logs.add(x, start)
    return Group(n, *logs.solve(), np.concatenate(z), weights[:, near], *plain.solve())


class _Moments:
    """The sums of cells and of their squares, with weights (b, n)."""

    def __init__(self, weights: Floats) -> None:
        self.weights = weights
        self.centre, self.sums, self.squares = np.zeros((3, 1))

    def add(self, x: Floats, start: int) -> None:
        """Add the cells (m, G) from `start` on; they are centred in place."""
        if start == 0:
            self.centre = x.mean(0)  # against the round-off of a difference of squares
        x -= self.centre
        some = self.weights[:, start : start + len(x)]
        self.sums = self.sums + some @ x
        self.squares = self.squares + some @ np.square(x)

    def solve(self) -> tuple[Floats, Floats]:
        """Return means and variances (b, G)."""
        n = self.weights.shape[1]
        means = self.sums / n
        return means + self.centre, np.maximum(self.squares / n - np.square(means), 0.0) * (n / max(n - 1, 1))
