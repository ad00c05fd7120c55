"""What is known of drugs or genes beside cells: a vector of numbers for each, by name.

It comes from a CSV, whose first column has the names, from a DataFrame with the names as its index, or from a dict of
vectors. Without any of these, `adata.uns["descriptors"]` is read where there is one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from gendi.data.cells.extra import require
from gendi.errors import DataError, UsageError

KEY = "descriptors"
"""The entry of `uns`."""


@dataclass(frozen=True, eq=False)
class Descriptors:
    """The names of drugs, and their vectors (n, p) with the names of the columns."""

    names: tuple[str, ...]
    columns: tuple[str, ...]
    values: Float64[np.ndarray, "n p"]

    def with_rows(self, more: "Descriptors") -> "Descriptors":
        """Return the table with the rows of drugs that it lacks. Raises `UsageError` for a table of other columns."""
        if set(more.columns) != set(self.columns):
            raise UsageError(
                f"These descriptors have the columns {', '.join(more.columns[:10])}; the model was fitted to "
                f"{len(self.columns)} columns: {', '.join(self.columns[:10])}."
            )
        new = [i for i, name in enumerate(more.names) if name not in self.names]
        order = [more.columns.index(column) for column in self.columns]
        values = np.concatenate([self.values, more.values[new][:, order]])
        return Descriptors((*self.names, *(more.names[i] for i in new)), self.columns, values)

    def row(self, name: str) -> int | None:
        """Return the row of a drug, or None if it has none."""
        return self.names.index(name) if name in self.names else None


def read_descriptors(source: Any, uns: Mapping[str, Any]) -> Descriptors | None:
    """Return the table of a CSV's path, a DataFrame or a dict; of `uns` for None, if it has one.

    Raises:
        UsageError: there is no such file, or the source is something else.
        DataError: a drug that is there twice, a value that is missing, infinite or no number, or no columns.
    """
    where = "the descriptors"
    if source is None:
        if KEY not in uns:
            return None
        source, where = uns[KEY], f'uns["{KEY}"]'
    pandas = require("pandas")
    if isinstance(source, str | Path):
        where = str(source)
        if not Path(source).is_file():
            raise UsageError(f"{source}: there is no such file of descriptors.")
        try:
            source = pandas.read_csv(source, index_col=0)
        except (ValueError, OSError) as error:
            raise DataError(f"{where} is no table of descriptors: {error}. {_form()}") from None
    elif isinstance(source, Mapping):
        lengths = {len(np.atleast_1d(vector)) for vector in source.values()}
        if len(lengths) > 1:
            raise DataError(
                f"{where} has vectors of {min(lengths)} to {max(lengths)} numbers: all need the same length."
            )
        source = pandas.DataFrame({name: np.atleast_1d(vector) for name, vector in source.items()}).T
    if not isinstance(source, pandas.DataFrame):
        raise UsageError(f"{where} must be a CSV, a DataFrame or a dict of vectors, and not a {type(source).__name__}.")
    return _checked(source, where)


def _checked(table: Any, where: str) -> Descriptors:
    names = [str(name) for name in table.index]
    if not len(names) or not len(table.columns):
        raise DataError(f"{where} has {len(names)} rows and {len(table.columns)} columns of numbers. {_form()}")
    if len(set(names)) < len(names):
        twice = next(name for i, name in enumerate(names) if name in names[:i])
        raise DataError(f"{where} has {twice!r} twice: each drug has one row of descriptors.")
    numbers = table.apply(require("pandas").to_numeric, errors="coerce").to_numpy(np.float64)
    bad = np.argwhere(~np.isfinite(numbers))
    if len(bad):
        row, column = bad[0]
        value = table.iloc[row, column]
        what = "is missing" if value is None or value != value else f"is {value}, which is no finite number"
        raise DataError(
            f"{where}: the value of {names[row]!r} in the column {str(table.columns[column])!r} {what}, and so are "
            f"{len(bad)} values in all. Fill them in, or leave these columns or rows out."
        )
    return Descriptors(tuple(names), tuple(map(str, table.columns)), numbers)


def _form() -> str:
    return "The first column has the names of drugs or genes, and all others have numbers; commas are between them."
