"""Rules that all rows of a table keep and that chance would not: what `gendi data check` proposes.

A rule is proposed where at least `ROWS` rows have all its cells and keep it, and where

    a computed column     takes `DIFFERENT` values or more, and so do the columns that it is computed from
    an order              rows whose second column is shuffled break it in a share of `CHANCE` or more
    combinations          independent columns would show those that do not occur in `EXPECTED` rows or more

What follows from another proposal is left out.
"""

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from gendi.data.tables.expressions import FUNCTIONS
from gendi.data.tables.rules import COMBINATIONS, read_rule
from gendi.data.tables.schema import Column, Schema
from gendi.diffusion.randomness import stream

Grid = NDArray[np.float64]
ROWS, DIFFERENT, CHANCE, EXPECTED = 20, 6, 0.05, 20.0
MOST = 40
"""Of a table with more columns of numbers, only so many are looked at."""
FIRST, SCREENED = 60, 2000
"""So many rows without a gap, of so many at the beginning, decide whether a rule is looked at in all."""


def found_rules(rows: Grid, schema: Schema) -> list[str]:
    """Return the rules that rows (N, G) keep, each as it is written."""
    if len(rows) < ROWS:
        return []
    numbers = [j for j, c in enumerate(schema.columns) if c.kind in ("integer", "number", "date")][:MOST]
    several = [j for j in numbers if len(np.unique(rows[~np.isnan(rows[:, j]), j])) >= DIFFERENT]
    computed: list[str] = []
    tied: set[frozenset[int]] = set()
    taken: set[int] = set()
    some = rows[:SCREENED]
    for c, others, text in (*_of_one(some, schema, several), *_of_two(some, schema, several)):
        if c in taken or any(frozenset((c, j)) in tied for j in others) or not _holds(text, rows, schema, (c, *others)):
            continue
        computed.append(text)
        taken.add(c)
        tied |= {frozenset(pair) for pair in itertools.combinations((c, *others), 2)}
    return [*computed, *_orders(rows, schema, numbers, tied), *_combinations(rows, schema)]


def spelt(name: str) -> str:
    """Return the name of a column as a rule has it."""
    plain = name.isidentifier() and name not in FUNCTIONS and name != COMBINATIONS
    return name if plain else f'"{name}"' if '"' not in name else f"`{name}`"


def _holds(text: str, rows: Grid, schema: Schema, columns: Sequence[int]) -> bool:
    there = rows[~np.isnan(rows[:, list(columns)]).any(axis=1)]
    return len(there) >= ROWS and bool(read_rule(text, schema).kept(there).all())


def _of_one(rows: Grid, schema: Schema, columns: Sequence[int]) -> Iterator[tuple[int, tuple[int, ...], str]]:
    """Yield a column, the one that it may be computed from, and the rule: first those that come later in the table."""
    for a, c in itertools.permutations(columns, 2):
        if a > c:
            continue
        yield from _pair(rows, schema, a, c)
    for a, c in itertools.permutations(columns, 2):
        if a > c:
            yield from _pair(rows, schema, a, c)


def _pair(rows: Grid, schema: Schema, a: int, c: int) -> Iterator[tuple[int, tuple[int, ...], str]]:
    first, second = schema.columns[a], schema.columns[c]
    there = rows[~np.isnan(rows[:, [a, c]]).any(axis=1)][:FIRST]
    if len(there) < 2 or (first.kind == "date") != (second.kind == "date"):
        return
    x, y = _plain(first, there[:, a]), _plain(second, there[:, c])
    names = spelt(second.name), spelt(first.name)
    if first.kind != "date":
        with np.errstate(all="ignore"):
            for function in ("exp", "log", "log10", "log2", "sqrt"):
                if np.allclose(FUNCTIONS[function](x), y, rtol=1e-3, atol=_unit(second)):
                    yield c, (a,), f"{names[0]} = {function}({names[1]})"
    low, high = int(x.argmin()), int(x.argmax())
    if x[high] == x[low]:
        return
    slope = float(f"{(y[high] - y[low]) / (x[high] - x[low]):.6g}")
    shift = float(f"{y[low] - slope * x[low]:.6g}")
    if first.kind == "date" and slope != 1:
        return
    if (
        slope == 0
        or not np.allclose(slope * x + shift, y, rtol=1e-6, atol=_unit(second))
        or (slope == 1 and shift == 0)
    ):
        return
    times = names[1] if slope == 1 else f"{slope:.6g} * {names[1]}"
    more = "" if shift == 0 else f" {'+' if shift > 0 else '-'} {abs(shift):.6g}"
    yield c, (a,), f"{names[0]} = {times}{more}"


def _of_two(rows: Grid, schema: Schema, columns: Sequence[int]) -> Iterator[tuple[int, tuple[int, ...], str]]:
    """Yield a column, the two that it may be the sum, the product or the ratio of, and the rule."""
    usable = [j for j in columns if schema.columns[j].kind != "date"]
    for a, b in itertools.combinations(usable, 2):
        there = rows[~np.isnan(rows[:, [a, b]]).any(axis=1)][:FIRST]
        if not len(there):
            continue
        x, y = there[:, a], there[:, b]
        with np.errstate(all="ignore"):
            made = {"+": x + y, "*": x * y, "/": x / y}
        for c in usable:
            if c in (a, b):
                continue
            for sign, z in made.items():
                known = ~np.isnan(there[:, c])
                if known.any() and np.allclose(z[known], there[known, c], rtol=1e-6, atol=_unit(schema.columns[c])):
                    names = (spelt(schema.columns[j].name) for j in (c, a, b))
                    yield c, (a, b), f"{next(names)} = {next(names)} {sign} {next(names)}"


def _plain(column: Column, values: Grid) -> Grid:
    units = {"D": 1.0, "h": 24.0, "m": 1440.0, "s": 86400.0, "ms": 8.64e7, "us": 8.64e10}
    return values / units[column.unit] if column.kind == "date" else values


def _unit(column: Column) -> float:
    """Return the distance of neighbouring numbers of a column; 0 if it has too many decimals."""
    if column.kind == "number":
        return 0.0 if column.decimals is None else 0.51 * 10.0**-column.decimals
    return 0.51 if column.kind == "integer" else 1e-6


def _orders(rows: Grid, schema: Schema, columns: Sequence[int], tied: set[frozenset[int]]) -> list[str]:
    """Return the orders of two columns that are not `tied` by a rule that computes one, without those that follow."""
    found: set[tuple[int, int]] = set()
    rng = stream(0, "rules of a table")
    for a, b in itertools.permutations(columns, 2):
        if frozenset((a, b)) in tied or (schema.columns[a].kind == "date") != (schema.columns[b].kind == "date"):
            continue
        x, y = _plain(schema.columns[a], rows[:, a]), _plain(schema.columns[b], rows[:, b])
        if (x[:SCREENED] > y[:SCREENED]).any():
            continue
        there = ~np.isnan(x) & ~np.isnan(y)
        x, y = x[there], y[there]
        if len(x) < ROWS or not (x <= y).all() or (x == y).all():
            continue
        if (x > rng.permutation(y)).mean() >= CHANCE:
            found.add((a, b))
    told = [(a, b) for a, b in found if not any((a, c) in found and (c, b) in found for c in columns)]
    return [f"{spelt(schema.columns[a].name)} <= {spelt(schema.columns[b].name)}" for a, b in sorted(told)]


def _combinations(rows: Grid, schema: Schema) -> list[str]:
    found = []
    words = [j for j, column in enumerate(schema.columns) if column.kind == "category"]
    for a, b in itertools.combinations(words, 2):
        cells = rows[:, [a, b]]
        there = cells[~np.isnan(cells).any(axis=1)].astype(np.int64)
        counts = np.zeros((len(schema.columns[a].labels), len(schema.columns[b].labels)))
        np.add.at(counts, (there[:, 0], there[:, 1]), 1)
        if not counts.sum():
            continue
        independent = np.outer(counts.sum(1), counts.sum(0)) / counts.sum()
        if independent[counts == 0].sum() >= max(EXPECTED, CHANCE * len(there)):
            found.append(f"{COMBINATIONS}({spelt(schema.columns[a].name)}, {spelt(schema.columns[b].name)})")
    return found
