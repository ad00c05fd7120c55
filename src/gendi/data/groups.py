"""Groups of rows that are held out whole, such as donors, batches or drugs: no group is on both sides of the split.

A random split of cells puts cells of every donor on both sides. A model that only repeats the donors it saw then passes
every comparison with held-out cells, and says nothing about the next donor. `people.h5ad?split-by=donor`, or
`--split-by donor`, holds out whole donors.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gendi.data.split import HELDOUT_ROWS_MOST, HELDOUT_ROWS_SHARE, Loaded, Split, part_of
from gendi.errors import DataError, UsageError

FEWEST_FOR_FLOORS = 3
NAMED = 8


@dataclass(frozen=True, eq=False)
class Groups:
    """The group (N,) of each row, numbers that index the names."""

    column: str
    of: NDArray[np.int64]
    names: tuple[str, ...]


def groups_of(loaded: Loaded, column: str, title: str) -> Groups:
    """Return the groups that a column makes of loaded rows, which messages call `title`.

    Raises:
        UsageError: there is no such column, or the data have no columns.
        DataError: rows without a group, or fewer than two groups.
    """
    if loaded.column is None:
        raise UsageError(f"--split-by is for cells and tables, which have columns; these are {title}.")
    cells = loaded.column(column)
    missing = np.array([cell is None or cell != cell or str(cell).strip() == "" for cell in cells], bool)
    if missing.any():
        raise DataError(
            f"--split-by {column}: {int(missing.sum()):,} of the {len(missing):,} rows have no {column!r}, the first "
            f"is row {int(missing.argmax()) + 1}, so no side of the split is theirs. Fill it in, or leave them out."
        )
    names, of = np.unique([str(cell) for cell in cells], return_inverse=True)
    if len(names) < 2:
        raise DataError(
            f"--split-by {column}: all {len(of):,} rows are of one group, {str(names[0])!r}. Whole groups are held "
            "out, so there must be at least two, and five or more to learn much from the comparison."
        )
    return Groups(column, of.astype(np.int64), tuple(map(str, names)))


def hold_out_groups(whole: Split, groups: Groups, rng: np.random.Generator) -> tuple[Split, Split, tuple[str, ...]]:
    """Split rows into (training, held-out, notes): whole groups are held out, in all about 20% of the rows.

    Groups are taken in random order as long as they fit into 20% of the rows, and 5000; if none fits, the smallest one
    is held out. Nothing is copied.
    """
    sizes = np.bincount(groups.of, minlength=len(groups.names))
    room = min(HELDOUT_ROWS_SHARE * len(whole), HELDOUT_ROWS_MOST)
    taken: list[int] = []
    for group in rng.permutation(len(sizes)).tolist():
        if sizes[taken].sum() + sizes[group] <= room:
            taken.append(group)
    taken = sorted(taken or [int(sizes.argmin())])
    whole = replace(whole, groups=groups.of)
    held = np.isin(groups.of, taken)
    train, heldout = (part_of(whole, np.flatnonzero(rows)) for rows in (~held, held))
    return train, heldout, _notes(groups, taken, len(heldout), len(whole))


def _notes(groups: Groups, taken: Sequence[int], held: int, n: int) -> tuple[str, ...]:
    few = len(groups.names)
    shown = ", ".join(groups.names[group] for group in taken[:NAMED])
    more = f" and {len(taken) - NAMED} more" if len(taken) > NAMED else ""
    notes = [
        f"split by {groups.column}: {len(taken):,} of its {few:,} groups are held out whole, {held:,} of {n:,} rows: "
        f"{shown}{more}"
    ]
    if few < FEWEST_FOR_FLOORS:
        notes.append(
            f"with {few} groups of {groups.column}, gendi evaluate has no floors and no gates: they need "
            f"{FEWEST_FOR_FLOORS} groups, and five or more to say much"
        )
    return tuple(notes)
