"""The description of a table's columns, with which samples get the same columns, order, types and formats.

A row of a table is G numbers (float64), one for each column, NaN where the cell is missing:

    integer     the number itself, at most 2^53 in size
    number      the number itself
    boolean     0 or 1
    category    the index of its word among `labels`
    date        the number of whole `unit`s since 1970-01-01
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self, get_args

from gendi.data.tables.ids import Ids
from gendi.errors import BundleError

ColumnKind = Literal["integer", "number", "boolean", "category", "date"]
KINDS: tuple[ColumnKind, ...] = get_args(ColumnKind)
Unit = Literal["D", "h", "m", "s", "ms", "us"]
UNITS: tuple[Unit, ...] = get_args(Unit)
Label = str | int | float | bool


@dataclass(frozen=True)
class Column:
    """A column of a table."""

    name: str
    kind: ColumnKind
    dtype: str
    """The name of its pandas type; `date` stands for Python's own dates, which are objects for pandas."""
    labels: tuple[Label, ...] = ()
    """The words of a category in the order of their codes; the spellings of false and true of a boolean in a CSV."""
    labels_dtype: str = "object"
    """The name of the pandas type of a category's words."""
    ordered: bool = False
    """Whether the words of a category have an order."""
    decimals: int | None = None
    """The most decimals that nearly all numbers have; numbers between observed ones are rounded to as many. None if
    there are too many."""
    digits: int | None = None
    """The number of decimals of every number in the CSV; None if it differs."""
    unit: Unit = "us"
    """For dates, the coarsest unit in which all of them are whole."""
    format: str = ""
    """For dates in a CSV, their format."""
    condition: str = ""
    """The name of the condition that this column is; "" if it is none."""
    levels: tuple[int, ...] = ()
    """For an integer whose condition is a class, its values in the order of the classes."""
    affixes: tuple[str, ...] = ()
    """For numbers written as texts such as `80,9 kg`: what stands before and behind them, and the character before the
    decimals."""


@dataclass(frozen=True)
class Schema:
    """The columns of a table in order, and how its CSV was written."""

    columns: tuple[Column, ...]
    separator: str = ","
    decimal: str = "."
    encoding: str = "utf-8"
    ids: tuple[Ids, ...] = ()
    """The columns of names of rows, which are no part of the rows of numbers: samples get new ones."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values, which `from_dict` reads."""
        columns = [
            {k: list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(c).items()} for c in self.columns
        ]
        texts = {k: getattr(self, k) for k in ("separator", "decimal", "encoding")}
        return {**texts, "columns": columns, "ids": [each.to_dict() for each in self.ids]}

    @classmethod
    def from_dict(cls, data: object) -> Self:
        """Read what `to_dict` wrote. Raises `BundleError`, which names the field, for a wrong value."""
        if not isinstance(data, Mapping) or set(data) - {"ids"} != {"separator", "decimal", "encoding", "columns"}:
            raise BundleError("The schema of a table has the fields separator, decimal, encoding, columns and ids.")
        if not isinstance(ids := data.get("ids", []), list):
            raise BundleError("The ids of a table's schema are a list.")
        texts = {name: data[name] for name in ("separator", "decimal", "encoding")}
        if not all(isinstance(text, str) and text for text in texts.values()):
            raise BundleError("The separator, decimal and encoding of a table's schema are texts.")
        if not isinstance(data["columns"], list) or not data["columns"]:
            raise BundleError("The columns of a table's schema are a list of at least one.")
        columns = tuple(_column(entry) for entry in data["columns"])
        return cls(columns, **texts, ids=tuple(Ids.from_dict(entry) for entry in ids))


_TYPES: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("name", "dtype", "labels_dtype", "format", "condition", "kind", "unit"), (str,)),
    **dict.fromkeys(("labels", "levels", "affixes"), (list,)),
    **dict.fromkeys(("ordered",), (bool,)),
    **dict.fromkeys(("decimals", "digits"), (int, type(None))),
}


def _column(entry: object) -> Column:
    names = {each.name for each in dataclasses.fields(Column)}
    entry = {"affixes": [], **entry} if isinstance(entry, Mapping) else entry  # older schemas have none
    if not isinstance(entry, Mapping) or set(entry) != names:
        raise BundleError(f"A column of a table's schema has the fields {', '.join(sorted(names))}.")
    for name, kinds in _TYPES.items():
        if type(entry[name]) not in kinds:
            raise BundleError(f"The column {entry['name']!r} of a table's schema has {name} = {entry[name]!r}.")
    if entry["kind"] not in KINDS or entry["unit"] not in UNITS:
        raise BundleError(f"The column {entry['name']!r} is of kind {entry['kind']!r} in {entry['unit']!r}, unknown.")
    if not all(isinstance(x, str | int | float) for x in entry["labels"]) or not all(
        type(x) is int for x in entry["levels"]
    ):
        raise BundleError(f"The column {entry['name']!r} of a table's schema has labels or levels that are none.")
    if len(entry["affixes"]) not in (0, 3) or not all(isinstance(x, str) for x in entry["affixes"]):
        raise BundleError(f"The column {entry['name']!r} of a table's schema has affixes = {entry['affixes']!r}.")
    fields: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in entry.items()}
    return Column(**fields)
