"""Reading cells by the schema of a model: texts, and values of a DataFrame, become the numbers of `Schema`.

Unlike `gendi.data.tables.texts` and `series`, which decide what a column is, these functions are told. So a table of
one row can be read, and a column with gaps that it had not in training.
"""

import datetime
import difflib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gendi.data.tables.schema import Column, Schema
from gendi.data.tables.series import DAY
from gendi.data.tables.texts import EXACT, MISSING, dated
from gendi.data.tables.units import bare, with_affixes
from gendi.errors import DataError, UsageError, unknown_name

if TYPE_CHECKING:
    import pandas as pd

Grid = NDArray[np.float64]
WORDS_NAMED = 8


RANGE = ".."
"""What stands between both ends of a range: 30..40, 30.. and ..40."""


class CellError(ValueError):
    """A cell is no value of its column; the text says why, after the cell."""


def number_of(column: Column, cell: Any, decimal: str = ".") -> float:
    """Return the number of a cell, NaN if it is missing. Raises `CellError` if it is no value of the column.

    Args:
        column: what the column is.
        cell: a text as a CSV has it, or a value of a DataFrame.
        decimal: the character before the decimals of numbers in texts.
    """
    import pandas as pd

    if isinstance(cell, np.generic):
        cell = cell.item()
    if cell is None or cell is pd.NA or cell is pd.NaT or (isinstance(cell, float) and np.isnan(cell)):
        return float("nan")
    text = str(cell).strip()
    if column.kind == "category":
        return _code(column, cell, text)
    if isinstance(cell, str) and text in MISSING:
        return float("nan")
    match column.kind:
        case "boolean":
            return _truth(column, cell, text)
        case "date":
            return _date(column, cell, text)
    return _number(column, cell, text, decimal)


def _code(column: Column, cell: Any, text: str) -> float:
    for words in ({label: i for i, label in enumerate(column.labels)}, _texts(column)):
        for word in (cell, text):
            if word in words:
                return float(words[word])
    if text in MISSING:
        return float("nan")
    known = [str(label) for label in column.labels]
    near = difflib.get_close_matches(text, known, n=1)
    hint = f"perhaps {near[0]!r}; " if near else ""
    more = f" and {len(known) - WORDS_NAMED:,} more" if len(known) > WORDS_NAMED else ""
    raise CellError(f"is none of its words in training ({hint}they are {', '.join(known[:WORDS_NAMED])}{more})")


def _texts(column: Column) -> Mapping[Any, int]:
    return {str(label): i for i, label in enumerate(column.labels)}


def _truth(column: Column, cell: Any, text: str) -> float:
    words = {"false": 0.0, "true": 1.0, "0": 0.0, "1": 1.0, "0.0": 0.0, "1.0": 1.0}
    words |= {str(label).lower(): float(i) for i, label in enumerate(column.labels)}
    if text.lower() not in words:
        raise CellError(f"is neither {' nor '.join(str(label) for label in column.labels or ('false', 'true'))}")
    return words[text.lower()]


def _number(column: Column, cell: Any, text: str, decimal: str) -> float:
    if column.affixes and isinstance(cell, str):
        text, decimal = bare(text, column.affixes), "."
    try:
        value = float(text.replace(decimal, ".") if isinstance(cell, str) else cell)
    except (TypeError, ValueError):
        raise CellError("is no number") from None
    if not np.isfinite(value) or abs(value) > EXACT:
        raise CellError("is infinite or too large")
    if column.kind == "integer" and value != round(value):
        raise CellError("is no whole number, and all others are")
    return value


def _date(column: Column, cell: Any, text: str) -> float:
    import pandas as pd

    try:
        if isinstance(cell, datetime.time):
            time = pd.Timestamp.combine(DAY, cell)
        elif isinstance(cell, str) and column.dtype == "time":
            time = pd.Timestamp.combine(DAY, datetime.time.fromisoformat(text))
        elif isinstance(cell, str):
            time = pd.to_datetime(text, format=column.format or "ISO8601")
        else:
            time = pd.Timestamp(cell)
    except (TypeError, ValueError):
        raise CellError(f"is no date{f' written {column.format}' if column.format else ''}") from None
    plain = time.tz_convert("UTC").tz_localize(None) if time.tz is not None else time
    return float(dated(np.array([plain.to_datetime64()]), column.unit)[0])


def written(column: Column, value: float) -> str:
    """Return a value of a column as a person reads it."""
    match column.kind:
        case "category":
            return str(column.labels[int(value)])
        case "boolean":
            return str((column.labels or ("false", "true"))[int(value)])
        case "date":
            text = str(np.datetime64(int(value), column.unit)).replace("T", " ")
            return text.partition(" ")[2] if column.dtype == "time" else text
        case "integer":
            return str(int(value))
    if column.affixes:
        return with_affixes(column, value)
    return f"{value:.{column.digits}f}" if column.digits is not None else f"{value:.6g}"


def rows_of_frame(schema: Schema, frame: "pd.DataFrame", where: str, decimal: str = ".") -> Grid:
    """Return the rows (n, G) of a DataFrame that has the columns of a schema, and perhaps others; NaN where missing.

    Args:
        schema: what the columns are.
        frame: values, or the texts of a CSV.
        where: the name of the table, for messages.
        decimal: the character before the decimals of numbers in texts.

    Raises:
        DataError: a column is missing, or a cell is no value of its column; the message names row and column.
    """
    names = [str(name) for name in frame.columns]
    for column in schema.columns:
        if column.name not in names:
            near = [name for name in names if name.casefold() == column.name.casefold()]
            near = near or difflib.get_close_matches(column.name, names, n=1)
            hint = f" {near[0]!r} is nearest: rename it." if near else ""
            raise DataError(
                f"{where} has no column {column.name!r}, which the model's training table had.{hint} If nothing of it "
                "is known, add it with empty cells."
            )
    rows = np.empty((len(frame), len(schema.columns)))
    for j, column in enumerate(schema.columns):
        seen: dict[Any, float] = {}
        for i, cell in enumerate(frame[column.name].to_numpy(object)):
            key = (type(cell), cell)
            if key not in seen:
                try:
                    seen[key] = number_of(column, cell, decimal)
                except CellError as error:
                    raise DataError(
                        f"{where}: the column {column.name!r} has {cell!r} in row {i + 1}, which {error}. Mend the "
                        "cell, or leave it empty to have it filled."
                    ) from None
            rows[i, j] = seen[key]
    return rows


def read_where(schema: Schema, where: Mapping[str, Any]) -> dict[int, tuple[float, float]]:
    """Return the least and the greatest value of given cells of samples, by the number of the column.

    The two are equal unless a range is given: NaN for a cell that is given as missing, infinite for a range without an
    end. Raises `UsageError` for a column that the model does not have, and for what is no value and no range of it.
    """
    names = [column.name for column in schema.columns]
    found = {}
    for name, cell in where.items():
        if name not in names:
            raise unknown_name("column", name, names)
        column = schema.columns[names.index(name)]
        try:
            found[names.index(name)] = _least_and_greatest(column, cell, schema.decimal)
        except CellError as error:
            shown = as_word(cell) if _is_range(cell) else repr(cell)
            raise UsageError(f"{name} = {shown} {error}.") from None
    return found


def as_word(cell: Any) -> str:
    """Return a given cell or range as --where has it."""
    return RANGE.join("" if end is None else str(end) for end in cell) if _is_range(cell) else str(cell)


def _is_range(cell: Any) -> bool:
    return isinstance(cell, tuple | list) and len(cell) == 2


def _least_and_greatest(column: Column, cell: Any, decimal: str) -> tuple[float, float]:
    """Return both ends of what is given, which are the same for a value. Raises `CellError`."""
    numbers = column.kind not in ("category", "boolean")
    if isinstance(cell, str) and numbers and RANGE in cell:
        cell = tuple(cell.split(RANGE, 1))
    if not _is_range(cell):
        value = number_of(column, cell, decimal)
        return value, value
    if not numbers:
        raise CellError("is a range, and its column has words: give one of them")
    ends = [number_of(column, None if end == "" else end, decimal) for end in cell]
    if np.isnan(ends).all():
        raise CellError("is a range without ends")
    low, high = (inf if np.isnan(end) else end for end, inf in zip(ends, (-np.inf, np.inf), strict=True))
    if low > high:
        raise CellError("is a range whose first end lies behind its second")
    return low, high


def split_where(texts: tuple[str, ...], names: list[str]) -> dict[str, str]:
    """Return the cells that the words of --where give, as texts by the name of the column.

    Words are NAME=VALUE with commas between them. A part without the name of a column and "=" belongs to the value
    before it, so values may have commas in them. Raises `UsageError` for a column that there is not, or twice.
    """
    found: dict[str, str] = {}
    for text in texts:
        last = None
        for part in text.split(","):
            name = max((n for n in names if part.strip().startswith(f"{n}=")), key=len, default=None)
            if name is not None:
                if name in found:
                    raise UsageError(f"--where {text}: {name} was given twice.")
                found[name], last = part.strip()[len(name) + 1 :], name
            elif last is not None and "=" not in part:
                found[last] += f",{part}"
            elif "=" in part:
                raise unknown_name("column", part.partition("=")[0].strip(), names)
            else:
                raise UsageError(f'--where {text}: given cells are written NAME=VALUE, such as "age=40,sex=F".')
    return found
