"""Where rows are compared: from the data's own units to features, and to principal components of pooled real rows.

A `Space` maps rows to features (of counts: log1p after scaling every cell to one depth) and, for the controls, back.
`World` adds what must be the same for all that is compared, and is fitted to real rows only, training and held-out ones
pooled (a PCA of the training rows alone flatters whatever is like them): the components, the width of the kernel, the
directions of the sliced distance, the columns whose correlations and classes are looked at.
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
"""Components beyond the data's structure fit the noise of the rows they were fitted to, and other real rows look too
dense in them: of PBMC cells, 458 rows bear about 9 of them, and under 30 an unseen half has a density of 3."""
COLUMNS_MOST = 1000
"""Most variable columns, which classifiers see and whose correlations are compared."""


@runtime_checkable
class Space(Protocol):
    """How rows become features; `counts` says whether zeros and totals of rows mean something."""

    @property
    def counts(self) -> bool: ...
    @property
    def blocks(self) -> Sequence[slice] | None:
        """Columns that belong together (the codes of one category), for the control that shuffles columns."""

    def forward(self, rows: np.ndarray) -> np.ndarray:
        """Return features (n, d) of rows."""

    def backward(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return rows with about the features x."""


@dataclass(frozen=True)
class LogCounts:
    """Counts to log1p(count * target / depth), as single-cell tools have them, and back at depths that were seen."""

    target: float
    """Depth that every cell is scaled to; the median of the real cells' is usual."""
    depths: Float64[np.ndarray, " _"]
    """Depths of real cells, drawn from on the way back."""
    counts: bool = True
    blocks: Sequence[slice] | None = None

    @classmethod
    def fit(cls, rows: Raw) -> Self:
        """Take depths and their median from real counts."""
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
    """Numbers to zero mean and unit variance, by column."""

    mean: Float64[np.ndarray, " d"]
    scale: Float64[np.ndarray, " d"]
    counts: bool = False
    blocks: Sequence[slice] | None = None

    @classmethod
    def fit(cls, rows: Raw, blocks: Sequence[slice] | None = None) -> Self:
        """Take means and standard deviations from real rows; a constant column keeps its scale."""
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
    """Counts, or numbers with the codes of categories beside them; finite."""
    labels: Indices | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, chosen: Indices) -> "RowSet":
        """Return the rows `chosen`, in that order."""
        return RowSet(self.rows[chosen], None if self.labels is None else self.labels[chosen])


@dataclass(frozen=True, eq=False)
class Part:
    """A set of rows and all that metrics see of them; index it to get fewer."""

    rows: Raw
    """(n, g), the data's own units."""
    x: Float[np.ndarray, "n d"]
    """Features."""
    z: Float64[np.ndarray, "n k"]
    """Principal components, rounded to 1e-4, so that equal rows stay equal whatever they were multiplied beside."""
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


@dataclass(frozen=True)
class World:
    """What is fitted once, to pooled real rows, for all sets alike."""

    space: Space
    pca: Any
    sigma: float
    """Width of the Gaussian kernel: the median distance between real rows' components."""
    columns: Indices
    """The most variable columns, ascending."""
    seed: int

    @classmethod
    def fit(cls, space: Space, real: Raw, seed: int) -> Self:
        """Fit to pooled real rows (n, g). Raises `DataError` where all rows are the same."""
        from sklearn.decomposition import PCA

        x = space.forward(real)
        variance = x.var(axis=0, dtype=np.float64)
        if not variance.max(initial=0) > 0:
            raise DataError(f"All {len(real)} real rows are the same: there is nothing to compare samples with.")
        k = min(max(len(x) // ROWS_PER_COMPONENT, FEWEST), MOST, len(x) - 1, x.shape[1])
        solver = "full" if min(x.shape) <= 1000 else "randomized"
        pca = PCA(k, svd_solver=solver, random_state=seed).fit(x)
        columns = np.sort(np.argsort(-variance, kind="stable")[:COLUMNS_MOST])
        return cls(space, pca, median_distance(pca.transform(x).astype(np.float64)) or 1.0, columns, seed)

    @cached_property
    def along(self) -> np.ndarray:
        """Directions of the sliced distance (k, 128)."""
        return directions(int(self.pca.n_components_), self.seed)

    def part(self, rows: Raw, labels: Indices | None) -> Part:
        """Return rows with their features. Raises `UsageError` where labels are not one per row."""
        if labels is not None and len(labels) != len(rows):
            raise UsageError(f"{len(rows)} rows have {len(labels)} labels: one each is wanted.")
        x = self.space.forward(rows)
        z = np.round(np.asarray(self.pca.transform(x), np.float64), 4)
        return Part(rows, x, z, row_digests(rows), labels)
