"""The parts of a data set: its rows, their conditions, and the rows that are held out of training.

A row is one example of the data: a picture (H, W, C) of bytes, the counts (G,) of a cell, or a line (D,) of a table.
Which rows are held out is deterministic.
"""

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from gendi.diffusion.config import ConditionConfig

if TYPE_CHECKING:
    from gendi.data.codec import Codec

LARGEST_SIDE = 65_536
"""The most pixels that a side of an image can have."""
HELDOUT_ROWS_SHARE = 0.2
HELDOUT_ROWS_MOST = 5000
FINGERPRINT_BYTES = 2**30
FINGERPRINT_ROWS = 4096


@dataclass(frozen=True)
class Skipped:
    """A file that was passed over, and why."""

    path: Path
    reason: str


@runtime_checkable
class Rows(Protocol):
    """N rows in memory or on a disk: an array, or an object that returns some of its rows as an array."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> np.dtype[Any]: ...
    @property
    def nbytes(self) -> int: ...
    def __len__(self) -> int: ...
    def __getitem__(self, index: Any, /) -> NDArray[Any]: ...


@dataclass(frozen=True, eq=False)
class Split:
    """Rows, for instance pictures (N, H, W, C) of bytes, and their conditions by name.

    Each condition has N rows, in the form of its kind (see `gendi.diffusion.conditions`). Class labels are the
    condition `class`.
    """

    rows: Rows
    """For pictures, an array of bytes in memory or memory-mapped."""
    conditions: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    blocks: NDArray[np.int64] | None = None
    """The boundaries (K + 1,) of blocks of rows in shards: block k has the rows from blocks[k] to blocks[k + 1], which
    training takes close together (`gendi.data.order.batch_indices`). None if any order of the rows is as good."""
    groups: NDArray[np.int64] | None = None
    """The group (N,) of each row, if whole groups are held out (`gendi.data.groups`)."""

    @property
    def labels(self) -> NDArray[np.int64] | None:
        """The class labels (N,), or None."""
        return self.conditions.get("class")

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        known = f", conditions: {', '.join(self.conditions)}" if self.conditions else ""
        return f"Split({len(self):,} rows of shape {tuple(self.rows.shape[1:])}{known})"

    def batch(self, indices: Sequence[int] | NDArray[np.integer[Any]] | range) -> NDArray[Any]:
        """Return a fresh contiguous copy (B, ...) of the rows at `indices`."""
        return np.ascontiguousarray(self.rows[np.asarray(indices, np.int64)])


@dataclass(frozen=True, eq=False)
class Loaded:
    """What a reader of data returns.

    `specs` describes each of `conditions`. `test` is the data's own test set, if they have one. `left_out` names what
    cannot be a condition, with the reasons; `skipped` are files that were passed over, and `notes` are remarks for the
    user. `schema` is what a codec must know to return rows in the user's own form. Data may also have a codec from the
    start, a name, blocks of rows (see `Split`) and a fingerprint of their own.
    """

    rows: Rows
    conditions: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    test: Split | None = None
    specs: tuple[ConditionConfig, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)
    skipped: tuple[Skipped, ...] = ()
    notes: tuple[str, ...] = field(default=())
    schema: Any = None
    codec: "Codec | None" = None
    name: str = ""
    blocks: NDArray[np.int64] | None = None
    fingerprint: str = ""
    column: Callable[[str], Sequence[Any]] | None = None
    """Returns the cells of a column by its name, one for each row; raises `UsageError` for an unknown name. None for
    data without columns."""

    @property
    def labels(self) -> NDArray[np.int64] | None:
        """The class labels (N,), or None."""
        return self.conditions.get("class")

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the classes; empty without labels."""
        return class_names(self.specs)


def class_spec(names: Sequence[str]) -> ConditionConfig:
    """Return the condition `class` for classes with these names."""
    return ConditionConfig("class", "class", len(names), names=tuple(names))


def class_names(specs: Sequence[ConditionConfig]) -> tuple[str, ...]:
    """Return the names of the condition `class`; empty if there is none."""
    return next((spec.names for spec in specs if spec.name == "class"), ())


@dataclass(frozen=True, eq=False)
class RowView:
    """Some of the rows of `rows`, without a copy of them."""

    rows: Rows
    index: NDArray[np.int64]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape (N, ...)."""
        return (len(self.index), *self.rows.shape[1:])

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the rows."""
        return self.rows.dtype

    @property
    def nbytes(self) -> int:
        """The bytes that all rows would take as one array."""
        return math.prod(self.shape) * self.dtype.itemsize

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, index: Any, /) -> NDArray[Any]:
        return self.rows[self.index[index]]


def hold_out_rows(
    whole: Split, specs: Sequence[ConditionConfig], rng: np.random.Generator
) -> tuple[Split, Split, tuple[str, ...]]:
    """Split rows into (training, held-out, notes): 20% of each class of the first condition with classes are held out.

    At most 5000 rows in all are held out, and a class of one row stays in training. Nothing is copied. If there is only
    one row, it is in both parts.
    """
    n = len(whole)
    if n == 1:
        return whole, whole, ("there is only one row: it is the held-out set too",)
    by = next((spec.name for spec in specs if spec.kind == "class"), None)
    labels = np.zeros(n, np.int64) if by is None else whole.conditions[by]
    share = min(HELDOUT_ROWS_SHARE, HELDOUT_ROWS_MOST / n)
    chosen: list[NDArray[np.int64]] = []
    for label in np.unique(labels):
        mine = rng.permutation(np.flatnonzero(labels == label))
        chosen.append(mine[: round(share * len(mine))])
    found = np.concatenate(chosen)
    if not len(found):  # a fifth of each class rounds to no row
        found = rng.permutation(n)[:1]
    rest = np.setdiff1d(np.arange(n), found)
    return part_of(whole, rest), part_of(whole, np.sort(found)), ()


def part_of(split: Split, index: NDArray[np.int64]) -> Split:
    """Return the rows at `index` as a view, with their conditions."""
    conditions = {name: rows[index] for name, rows in split.conditions.items()}
    return Split(RowView(split.rows, index), conditions, groups=None if split.groups is None else split.groups[index])


def fingerprint(*splits: Split) -> str:
    """Return the SHA-256 (hex) over shapes, dtypes and bytes of images and conditions.

    If the images take more than 1 GiB, only 4096 evenly spaced ones are hashed, the first and the last among them.
    Conditions are always hashed whole.
    """
    digest = hashlib.sha256()
    for split in splits:
        others = [split.conditions[name] for name in sorted(split.conditions) if name != "class"]
        for array in (split.rows, split.labels, *others):
            if array is None:
                digest.update(b"none;")
                continue
            digest.update(f"{array.dtype.str}{array.shape};".encode())
            if array is split.rows and array.nbytes > FINGERPRINT_BYTES:
                rows = np.linspace(0, len(array) - 1, FINGERPRINT_ROWS).round().astype(np.int64)
                for row in rows:
                    digest.update(np.ascontiguousarray(array[row]).data)
                continue
            for start in range(0, len(array), 4096):
                digest.update(np.ascontiguousarray(array[start : start + 4096]).data)
    return digest.hexdigest()
