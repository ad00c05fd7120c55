"""The spaces in which rows are compared: features, and principal components of pooled real rows.

A `Space` turns rows into features (for counts, log1p after scaling every cell to one depth) and, for the controls,
features into rows. A `World` adds everything that must be the same for all sets that are compared: the principal
components, the width of the kernel, the directions of the sliced distance, and the columns for correlations and
classifiers. It is fitted to real rows only, training and held-out rows pooled, because a PCA of the training rows alone
would favour whatever is like them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np
from jaxtyping import Float, Float64, Int64, Num

from gendi.errors import DataError, UsageError
from gendi.evaluate.vectors.distances import median_distance
from gendi.evaluate.vectors.records import row_digests
from gendi.evaluate.vectors.transport import directions

Raw = Num[np.ndarray, "_ _"]
Indices = Int64[np.ndarray, " _"]
ROWS_PER_COMPONENT, FEWEST, MOST = 50, 2, 30
"""The number of principal components: one for so many rows, but at least and at most so many. More components than
the data have structure fit the noise of their rows, and other real rows then look too dense. For 458 rows of PBMC
cells, about 9 are enough; with 30, an unseen half has a density of 3."""
COLUMNS_MOST = 1000
"""Most columns (the most variable ones) whose correlations are compared."""
JUDGED_NUMBERS, JUDGED_ROWS = 300_000, 500
"""Most numbers of one set of rows that classifiers see. Where a set has more, they see `JUDGED_ROWS` of its rows, if
there are so many, and as many of its most variable columns as make that number."""


@runtime_checkable
class Space(Protocol):
    """A map from rows to features and back; `counts` says whether zeros and totals of rows have a meaning."""

    @property
    def counts(self) -> bool: ...
    @property
    def blocks(self) -> Sequence[slice] | None:
        """Columns that belong together (the codes of one category), for the control that shuffles columns."""

    def forward(self, rows: np.ndarray) -> np.ndarray:
        """Return features (n, d) of rows."""

    def backward(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return rows whose features are about x."""


@dataclass(frozen=True)
class LogCounts:
    """The space log1p(count * target / depth), as in single-cell tools; rows made from features have real depths."""

    target: float
    """The depth to which every cell is scaled; usually the median of the real cells' depths."""
    depths: Float64[np.ndarray, " _"]
    """Depths of real cells, from which `backward` draws."""
    counts: bool = True
    blocks: Sequence[slice] | None = None

    @classmethod
    def fit(cls, rows: Raw) -> Self:
        """Return the space with the depths of real counts and their median."""
        depths = rows.sum(axis=1, dtype=np.float64)
        return cls(float(max(np.median(depths), 1)), depths)

    def forward(self, rows: np.ndarray) -> np.ndarray:
        """Return log1p of scaled counts (n, d), float32; an empty cell is all zeros."""
        depth = rows.sum(axis=1, dtype=np.float64)[:, None]
        scaled = np.divide(rows, depth, out=np.zeros(rows.shape, np.float32), where=depth > 0, casting="unsafe")
        return np.asarray(np.log1p(scaled * np.float32(self.target)))

    def backward(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return expm1 of x at random depths (n, d), not yet rounded."""
        positive = np.expm1(np.maximum(x, 0))
        total = np.maximum(positive.sum(axis=1, keepdims=True), 1e-9)
        return np.asarray(positive / total * rng.choice(self.depths, (len(x), 1)))


@dataclass(frozen=True)
class Standardised:
    """The space in which every column has mean 0 and variance 1."""

    mean: Float64[np.ndarray, " d"]
    scale: Float64[np.ndarray, " d"]
    counts: bool = False
    blocks: Sequence[slice] | None = None

    @classmethod
    def fit(cls, rows: Raw, blocks: Sequence[slice] | None = None) -> Self:
        """Return the space with the means and standard deviations of real rows; constant columns have the scale 1."""
        x = rows.astype(np.float64)
        scale = x.std(axis=0)
        return cls(x.mean(axis=0), np.where(scale > 1e-9 * (1 + np.abs(x).max(axis=0)), scale, 1.0), blocks=blocks)

    def forward(self, rows: np.ndarray) -> np.ndarray:
        """Return standardised columns (n, d), float32."""
        return np.asarray((rows - self.mean) / self.scale, np.float32)

    def backward(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return the columns in their own units."""
        return np.asarray(x * self.scale + self.mean)


@dataclass(frozen=True, eq=False)
class RowSet:
    """Rows in the data's own units, and the class of each where there are classes."""

    rows: Raw
    """Counts, or numbers and one-hot codes of categories; finite."""
    labels: Indices | None = None
    groups: Indices | None = None
    """The group of each real row, if whole groups were held out of training."""

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, chosen: Indices) -> "RowSet":
        """Return the rows `chosen`, in that order."""
        labels, groups = (None if each is None else each[chosen] for each in (self.labels, self.groups))
        return RowSet(self.rows[chosen], labels, groups)


@dataclass(frozen=True, eq=False)
class Part:
    """A set of rows with everything that metrics use; an index array selects rows of all of it."""

    rows: Raw
    """(n, g), in the data's own units."""
    x: Float[np.ndarray, "n d"]
    """Features."""
    z: Float64[np.ndarray, "n k"]
    """Principal components, rounded to 1e-4, so that equal rows stay equal whichever rows share their product."""
    digests: np.ndarray
    labels: Indices | None

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, chosen: Indices) -> Self:
        labels = None if self.labels is None else self.labels[chosen]
        return replace(
            self,
            rows=self.rows[chosen],
            x=self.x[chosen],
            z=self.z[chosen],
            digests=self.digests[chosen],
            labels=labels,
        )


def judged_size(n: int, columns: int) -> tuple[int, int]:
    """Return how many of n rows, and of the columns, classifiers see; see `JUDGED_NUMBERS`."""
    columns = min(columns, COLUMNS_MOST)
    if n * columns <= JUDGED_NUMBERS:
        return n, columns
    rows = min(n, JUDGED_ROWS)
    return rows, min(columns, JUDGED_NUMBERS // rows)


@dataclass(frozen=True)
class World:
    """Everything that is fitted to pooled real rows, once for all sets."""

    space: Space
    pca: Any
    sigma: float
    """Width of the Gaussian kernel: the median distance between real rows' components."""
    columns: Indices
    """The most variable columns, ascending."""
    seed: int
    judged: Indices
    """Those columns that classifiers see, ascending."""
    judged_rows: int
    """Most rows of each set that classifiers see."""

    @classmethod
    def fit(cls, space: Space, real: Raw, seed: int, n: int | None = None) -> Self:
        """Return the world fitted to pooled real rows (N, g), to compare sets of n rows (by default half of them).

        Raises `DataError` if all rows are the same.
        """
        from sklearn.decomposition import PCA

        x = space.forward(real)
        variance = x.var(axis=0, dtype=np.float64)
        if not variance.max(initial=0) > 0:
            raise DataError(f"All {len(real)} real rows are the same: there is nothing to compare samples with.")
        k = min(max(len(x) // ROWS_PER_COMPONENT, FEWEST), MOST, len(x) - 1, x.shape[1])
        solver = "full" if min(x.shape) <= 1000 else "randomized"
        pca = PCA(k, svd_solver=solver, random_state=seed).fit(x)
        ranked = np.argsort(-variance, kind="stable")
        rows, judged = judged_size(len(x) // 2 if n is None else n, x.shape[1])
        sigma = median_distance(pca.transform(x).astype(np.float64)) or 1.0
        return cls(space, pca, sigma, np.sort(ranked[:COLUMNS_MOST]), seed, np.sort(ranked[:judged]), rows)

    @cached_property
    def along(self) -> np.ndarray:
        """Directions of the sliced distance (k, 128)."""
        return directions(int(self.pca.n_components_), self.seed)

    def part(self, rows: Raw, labels: Indices | None) -> Part:
        """Return rows with their features. Raises `UsageError` unless there is one label per row."""
        if labels is not None and len(labels) != len(rows):
            raise UsageError(f"{len(rows)} rows have {len(labels)} labels: give one label per row.")
        x = self.space.forward(rows)
        z = np.round(np.asarray(self.pca.transform(x), np.float64), 4)
        return Part(rows, x, z, row_digests(rows), labels)
