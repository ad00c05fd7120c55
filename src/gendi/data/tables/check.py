"""`gendi data check` for tables: what each column was taken for, its gaps, and what could be mended before training."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gendi.data.split import Loaded
from gendi.data.tables.cells import written
from gendi.data.tables.found_rules import found_rules
from gendi.data.tables.rules import read_rules, violations
from gendi.data.tables.schema import Column, Schema

Rows = NDArray[np.float64]
WORDS_SHOWN = 5
MANY_GAPS = 0.5
"""The share of missing cells above which a column is questioned."""
RARE = 5
"""A word with fewer rows is too rare to be learned well."""
CODES = (-1.0, 99.0, 999.0, 9999.0, 99999.0, -9.0, -99.0, -999.0, -9999.0, -99999.0)
"""Numbers by which many programs write a missing cell."""


@dataclass(frozen=True)
class ColumnReport:
    """What a column of a table holds, over all of its rows."""

    name: str
    kind: str
    missing: int
    """Cells that are missing."""
    distinct: int
    """Different values among the others."""
    low: str
    """The least value, as the table writes it; empty for words."""
    high: str
    counts: dict[str, int]
    """The rows of each word, the commonest first; empty for numbers and dates."""
    condition: str
    """What a network can be told: class or value; empty if it can be told nothing."""

    @property
    def extent(self) -> str:
        """The range of numbers and dates, or the commonest words, in one line."""
        if not self.counts:
            return f"{self.low} to {self.high}" if self.low != self.high else self.low
        words = [f"{word} {count:,}" for word, count in list(self.counts.items())[:WORDS_SHOWN]]
        more = len(self.counts) - len(words)
        return ", ".join(words) + (f", and {more:,} more" if more > 0 else "")


@dataclass(frozen=True)
class TableReport:
    """What `gendi data check` reports about a table."""

    name: str
    spec: str
    rows: int
    columns: tuple[ColumnReport, ...]
    left_out: dict[str, str]
    """Columns that samples will not have, and why."""
    duplicates: int
    """Rows that equal an earlier one in every column."""
    gaps: int
    """Rows with a missing cell or more."""
    proposals: tuple[str, ...]
    """What could be mended or said, each a sentence."""
    notes: tuple[str, ...]
    rules: tuple[str, ...] = ()
    """Rules that all rows keep, and that chance would not, as --rule takes them."""
    broken: tuple[str, ...] = ()
    """Sentences on the rules that were asked about and that some rows break, with these rows."""

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain dicts, lists, numbers and strings."""
        return asdict(self)


def check_table(loaded: Loaded, spec: str, asked: Sequence[str] = ()) -> TableReport:
    """Return the report on a table that `gendi.data.tables.read` opened.

    Args:
        loaded: the table.
        spec: how the user named it.
        asked: rules to look at; in their place those that are found are proposed.

    Raises `UsageError` for a text that is no rule.
    """
    rows, schema = np.asarray(loaded.rows, np.float64), loaded.schema
    columns = column_reports(rows, schema)
    known = {column.name for column in schema.columns}
    missing = np.isnan(rows)
    return TableReport(
        name=loaded.name,
        spec=spec,
        rows=len(rows),
        columns=columns,
        left_out={name: why for name, why in loaded.left_out.items() if name not in known},
        duplicates=len(rows) - len({row.tobytes() for row in np.where(missing, np.inf, rows)}),
        gaps=int(missing.any(axis=1).sum()),
        proposals=(*_proposals(rows, columns, spec),),
        notes=tuple(loaded.notes),
        rules=() if asked else tuple(found_rules(rows, schema)),
        broken=tuple(
            said for rule in read_rules(asked, schema, rows) if (said := violations(rule, rows, range(len(rows))))
        ),
    )


def column_reports(rows: Rows, schema: Schema) -> tuple[ColumnReport, ...]:
    """Return the report on each column of rows (N, G)."""
    return tuple(_column(column, values) for column, values in zip(schema.columns, rows.T, strict=True))


def _column(column: Column, values: Rows) -> ColumnReport:
    missing = np.isnan(values)
    known, counts = np.unique(values[~missing], return_counts=True)
    low, high = (written(column, known[0]), written(column, known[-1])) if len(known) else ("", "")
    words: dict[str, int] = {}
    if column.kind in ("category", "boolean"):
        order = np.argsort(-counts, kind="stable")
        words, low, high = {written(column, known[i]): int(counts[i]) for i in order}, "", ""
    condition = ("class" if words or column.levels else "value") if column.condition else ""
    return ColumnReport(column.name, column.kind, int(missing.sum()), len(known), low, high, words, condition)


def _proposals(rows: Rows, columns: Sequence[ColumnReport], spec: str) -> list[str]:
    """Return sentences on columns that are mostly missing, codes for missing cells, rare words and equal columns."""
    found, n = [], len(rows)
    joined = "&" if "?" in spec else "?"
    for column, values in zip(columns, rows.T, strict=True):
        name = column.name
        if column.missing == n:
            found.append(f"{name!r} is missing in every row: {spec}{joined}{name}=drop leaves it out.")
        elif column.missing > MANY_GAPS * n:
            found.append(
                f"{name!r} is missing in {column.missing:,} of {n:,} rows: what is learned of it comes from the other "
                "rows."
            )
        if column.kind in ("integer", "number") and (code := missing_code(values)) is not None:
            many = int((values == code).sum())
            found.append(
                f"{name!r} is {code:g} in {many:,} rows, far from all its other values: if that means missing, leave "
                "these cells empty."
            )
        rare = [word for word, count in column.counts.items() if count < RARE]
        if column.kind == "category" and rare:
            some = ", ".join(map(repr, rare[:3])) + (f" and {len(rare) - 3:,} more" if len(rare) > 3 else "")
            found.append(f"{name!r} has words with fewer than {RARE} rows, which cannot be learned well: {some}.")
    return found + list(_twins(rows, columns))


def missing_code(values: Rows) -> float | None:
    """Return the number that looks like a code for missing cells; None if there is none.

    It is one of `CODES` that occurs in two rows or more, and that lies beyond all other numbers by more than they are
    apart.
    """
    known = values[~np.isnan(values)]
    for code in CODES:
        others = known[known != code]
        if len(known) - len(others) < 2 or len(np.unique(others)) < 2:
            continue
        spread = float(others.max() - others.min())
        if max(others.min() - code, code - others.max()) > spread:
            return code
    return None


def _twins(rows: Rows, columns: Sequence[ColumnReport]) -> Mapping[str, None]:
    """Return sentences, as the keys of a dict, on columns that are equal in every row."""
    first: dict[bytes, str] = {}
    found: dict[str, None] = {}
    for column, values in zip(columns, rows.T, strict=True):
        if column.distinct < 2:
            continue
        key = np.where(np.isnan(values), np.inf, values).tobytes()
        if key in first:
            found[f"{column.name!r} equals {first[key]!r} in every row, so one of the two is enough."] = None
        first.setdefault(key, column.name)
    return found
