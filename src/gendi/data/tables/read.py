"""Opening a table, a CSV, a Parquet file or a DataFrame: rows of numbers, their schema and their conditions.

The kind of a column follows from its cells in a CSV (`gendi.data.tables.texts`), and from its type in a DataFrame
(`gendi.data.tables.series`). Options overrule this:

    people.csv?zip=category&note=drop&born=%d/%m/%Y      a kind, drop, or the format of dates, for a column
    people.csv?separator=;&decimal=,&encoding=cp1252     how a CSV is written

Every category, boolean and number is also a condition, under its name. It is a class if it has words, or integers of at
most `LEVELS_MOST` values; otherwise it is a value.
"""

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gendi.data.columns import NoConditionError, condition_name, known_rows
from gendi.data.columns import Rows as ConditionRows
from gendi.data.split import Loaded
from gendi.data.tables.csv_file import check_names, read_csv
from gendi.data.tables.ids import ids_of
from gendi.data.tables.schema import KINDS, Column, Schema
from gendi.data.tables.series import from_series
from gendi.data.tables.texts import Found, NamesError, NotModelledError, Place, from_texts
from gendi.diffusion.config import ConditionConfig
from gendi.errors import DataError, UsageError, unknown_name

if TYPE_CHECKING:
    import pandas as pd

WRITTEN = ("separator", "decimal", "encoding")
LEVELS_MOST = 20


def read_table(path: Path, options: Mapping[str, str]) -> Loaded:
    """Open a `.csv` or a `.parquet` file.

    Raises:
        DataError: the table is missing or wrong; the error names column and row, and says how to correct them.
        UsageError: an option that tables do not have.
    """
    need_pandas()
    if not path.is_file():
        raise DataError(f"There is no file {path} (looked in {Path.cwd()}). Check the path of the table.")
    written = {name: text for name, text in options.items() if name in WRITTEN and text not in KINDS}
    requested = {name: text for name, text in options.items() if name not in written}
    if path.suffix.lower() == ".parquet":
        if written:
            raise UsageError(f"{path}: {next(iter(written))} is for a CSV.")
        return _loaded_frame(str(path), read_parquet(path), requested)
    separator = {"tab": "\t", "\\t": "\t"}.get(written.get("separator", ""), written.get("separator", ""))
    decimal = written.get("decimal", ".")
    if len(separator) > 1 or decimal not in (".", ","):
        raise UsageError(f"{path}: separator is one character or tab, and decimal is . or ,.")
    texts = read_csv(path, separator, written.get("encoding", ""))
    _refuse_few(str(path), len(texts.lines))
    _check_requested(str(path), requested, texts.names)
    found = [
        _attempt(Place(str(path), name, texts.lines), requested, lambda p, a, c=cells: from_texts(p, c, a, decimal))
        for name, cells in zip(texts.names, texts.columns, strict=True)
    ]
    how = {"separator": texts.separator, "decimal": decimal, "encoding": texts.encoding}
    cells = dict(zip(texts.names, texts.columns, strict=True))
    return _loaded(str(path), texts.names, found, requested, len(texts.lines), how, lambda name: names_in(cells[name]))


def read_frame(frame: "pd.DataFrame") -> Loaded:
    """Open a DataFrame without its index. Raises `DataError`, which names column and row, for a wrong table."""
    need_pandas()
    return _loaded_frame("the DataFrame", frame, {})


def need_pandas() -> None:
    """Raise `UsageError` if the packages that read tables are not installed."""
    try:
        import pandas  # noqa: F401
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise UsageError(f'tables need {error.name}: pip install "gendi[tables]"') from None


def read_parquet(path: Path) -> "pd.DataFrame":
    """Return the DataFrame in a Parquet file. Raises `DataError` if it cannot be read."""
    import pandas as pd
    import pyarrow

    try:
        return pd.read_parquet(path)
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise DataError(f"{path} could not be read as Parquet: {str(error)[:200]}. Write it again.") from None


def _loaded_frame(where: str, frame: "pd.DataFrame", requested: Mapping[str, str]) -> Loaded:
    names = [str(name).strip() for name in frame.columns]
    if any(not isinstance(name, str) for name in frame.columns):
        raise DataError(
            f"{where}: its columns are called {list(frame.columns)[:5]}, and names of columns are texts: "
            "frame.columns = [...] gives them some."
        )
    check_names(where, names)
    if list(frame.columns) != names:
        raise DataError(f"{where}: the name of a column begins or ends with a space. Rename it.")
    _refuse_few(where, len(frame))
    _check_requested(where, requested, names)
    found = [_attempt(Place(where, name), requested, lambda p, a: from_series(p, frame[p.name], a)) for name in names]
    return _loaded(where, names, found, requested, len(frame), {}, lambda name: names_in(frame[name]))


def _refuse_few(where: str, n: int) -> None:
    if n < 2:
        rows = "has no rows, only the names of columns" if n == 0 else "has one row"
        raise DataError(f"{where} {rows}: training needs at least two rows. Check that it is whole.")


class Names(str):
    """The reason why a column is left out whose cells are names of rows."""


def _attempt(place: Place, requested: Mapping[str, str], read: Any) -> Found | str:
    """Return a column, or the reason why it is left out."""
    if requested.get(place.name) == "drop":
        return "it was dropped"
    try:
        found: Found = read(place, requested.get(place.name, ""))
    except NamesError as error:
        return Names(error)
    except NotModelledError as error:
        return str(error)
    return found


def names_in(cells: Any) -> tuple[list[str], str]:
    """Return the cells of a column of names as texts, and the name of the pandas type of such a column."""
    missing, dtype = np.array([cell is None or cell != cell for cell in cells], bool), str(getattr(cells, "dtype", ""))
    texts = ["" if gone else str(cell).strip() for cell, gone in zip(cells, missing, strict=True)]
    if not dtype:
        whole = all(re.fullmatch(r"0|[1-9][0-9]{0,17}", text) for text in texts)
        dtype = "int64" if whole else "object"
    return texts, dtype


def _check_requested(where: str, requested: Mapping[str, str], names: Sequence[str]) -> None:
    for name, text in requested.items():
        if name not in names:
            raise unknown_name(f"column of {where}, nor option,", name, [*names, *WRITTEN])
        if text not in (*KINDS, "drop") and "%" not in text:
            raise UsageError(
                f"{where}?{name}={text}: a column is {', '.join(KINDS)} or drop, or has dates written like %d/%m/%Y."
            )


def _loaded(
    where: str,
    names: Sequence[str],
    found: Sequence[Found | str],
    requested: Mapping[str, str],
    n: int,
    how: Mapping[str, str],
    cells: Callable[[str], tuple[list[str], str]],
) -> Loaded:
    kept = [each for each in found if not isinstance(each, str)]
    left_out = {name: each for name, each in zip(names, found, strict=True) if isinstance(each, str)}
    if not kept:
        alone = " If its texts are sequences of letters, open it as sequences:FILE.csv." if len(names) == 1 else ""
        raise DataError(f"{where} has no column that can be modelled: {_listed(left_out)}.{alone}")
    made = [ids_of(name, i, *cells(name)) for i, name in enumerate(names) if isinstance(left_out.get(name), Names)]
    ids = tuple(each for each in made if each is not None)
    left_out = {name: why for name, why in left_out.items() if name not in {each.name for each in ids}}
    rows = np.column_stack([values for _, values in kept])
    constant = [c.name for (c, values) in kept if len(np.unique(values[~np.isnan(values)])) == 1]
    empty = [column.name for column, values in kept if np.isnan(values).all()]
    varying = len(kept) - len(constant) - len(empty) + sum(np.isnan(v).any() for c, v in kept if c.name in constant)
    if not varying:
        name = (constant + empty)[0]
        what = "is empty in every row" if name in empty else "has the same value in every row"
        raise DataError(
            f"{where}: no column varies; {name!r}, for instance, {what} (rows 1 to {n}). Give a column that differs "
            "from row to row."
        )
    notes = []
    if left_out:
        notes.append(f"{where}: samples will not have {_listed(left_out)}")
    if ids:
        some = ", ".join(f"{each.name!r} (the first {each.example})" for each in ids)
        notes.append(f"{where}: samples get new names of rows in {some}")
    notes += [
        f"{where}: the column {column.name!r} is read as numbers in {column.affixes[0]}...{column.affixes[1]}"
        for column, _ in kept
        if column.affixes
    ]
    notes += [f"{where}: the column {name!r} has one value, which every sample gets" for name in constant]
    notes += [f"{where}: the column {name!r} is empty, and so it is in every sample" for name in empty]
    columns, conditions, specs = [], {}, []
    for column, values in kept:
        try:
            spec, condition, column = condition_of(column, values, requested.get(column.name, ""))
            if spec.name in conditions:
                raise NoConditionError(f"another column is the condition {spec.name}")
            conditions[spec.name] = condition
            specs.append(spec)
        except NoConditionError as error:
            left_out[column.name] = str(error)
            column = dataclasses.replace(column, condition="", levels=())
        columns.append(column)
    return Loaded(
        rows,
        conditions,
        None,
        tuple(specs),
        left_out,
        notes=tuple(notes),
        schema=Schema(tuple(columns), **how, ids=ids),
        column=lambda name: _texts(where, name, names, cells),
    )


def _texts(where: str, name: str, names: Sequence[str], cells: Callable[[str], tuple[list[str], str]]) -> list[str]:
    """Return the cells of a column as texts. Raises `UsageError`, with the nearest name, for an unknown name."""
    if name not in names:
        raise unknown_name(f"column of {where}", name, names)
    return cells(name)[0]


def condition_of(column: Column, values: np.ndarray, requested: str) -> tuple[ConditionConfig, ConditionRows, Column]:
    """Return the condition that a column is, its rows, and the column with the name of its condition.

    Raises `NoConditionError` for dates, empty columns, and names that no condition can have.
    """
    name = condition_name(column.name)
    known = np.unique(values[~np.isnan(values)])
    if column.kind == "date":
        raise NoConditionError("dates cannot be conditions; put the year, or another number, into a column of its own")
    if not len(known):
        raise NoConditionError("it is missing in every row")
    column = dataclasses.replace(column, condition=name)
    codes = np.where(np.isnan(values), -1, values)
    if column.kind in ("category", "boolean"):
        names = tuple(str(label) for label in column.labels or ("false", "true"))
        return ConditionConfig(name, "class", len(names), names=names), codes.astype(np.int64), column
    if column.kind == "integer" and len(known) <= LEVELS_MOST and requested != "number":
        names = tuple(str(int(level)) for level in known)
        places = np.searchsorted(known, values)
        classes = np.where(np.isnan(values), -1, places).astype(np.int64)
        levels = tuple(int(level) for level in known)
        return (
            ConditionConfig(name, "class", len(names), names=names),
            classes,
            dataclasses.replace(column, levels=levels),
        )
    return ConditionConfig(name, "value", 1), known_rows(values), column


def _listed(left_out: Mapping[str, str]) -> str:
    return "; ".join(f"{name!r}: {reason}" for name, reason in left_out.items())
