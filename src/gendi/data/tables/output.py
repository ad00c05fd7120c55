"""Rows of numbers turned back into a table: a DataFrame, a CSV or a Parquet file like the training table."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gendi.data.tables.schema import Column, Schema
from gendi.data.tables.units import with_affixes
from gendi.errors import UsageError
from gendi.storage.files import atomic_write

if TYPE_CHECKING:
    import pandas as pd

ATTRIBUTE = "gendi"
"""The key of a DataFrame's `attrs` with its provenance and schema, which say how it was made and how to write a CSV."""


def to_frame(schema: Schema, rows: NDArray[np.float64], provenance: Mapping[str, Any]) -> "pd.DataFrame":
    """Return rows (n, G) as a DataFrame with the columns, order and types of the training table.

    `provenance` says the seed and the first number of samples, which have names of their own (`gendi.data.tables.ids`);
    other rows have no columns of names.
    """
    import pandas as pd

    columns = [(column.name, _series(column, rows[:, j])) for j, column in enumerate(schema.columns)]
    if "seed" in provenance:
        for ids in sorted(schema.ids, key=lambda each: each.place):
            made = ids.made(int(provenance["seed"]), int(provenance.get("first", 0)), len(rows))
            columns.insert(ids.place, (ids.name, pd.Series(made, dtype=object).astype(ids.dtype)))
    frame = pd.DataFrame(dict(columns))
    frame.attrs[ATTRIBUTE] = {**provenance, "schema": schema.to_dict()}
    return frame


def write_table(path: Path, frame: "pd.DataFrame") -> None:
    """Write a DataFrame to a `.csv` or a `.parquet` file, whole or not at all.

    A CSV is written as the training table was: separator, encoding, decimals, dates, spelling of true and false.

    Raises:
        UsageError: the file has another ending.
        ResourceError: the disk is full, or the file cannot be written.
    """
    if path.suffix == ".parquet":
        buffer = io.BytesIO()
        frame.to_parquet(buffer, index=False)
        atomic_write(path, buffer.getvalue())
        return
    if path.suffix != ".csv":
        raise UsageError(f"{path}: a table is written as NAME.csv or NAME.parquet.")
    known = frame.attrs.get(ATTRIBUTE, {}).get("schema")
    schema = Schema.from_dict(known) if known else Schema(())
    atomic_write(path, as_csv(frame, schema).encode(schema.encoding, errors="xmlcharrefreplace"))


def as_csv(frame: "pd.DataFrame", schema: Schema) -> str:
    """Return the text of a CSV that is written as the training table was."""
    cells = frame.copy()
    for column in schema.columns:
        if column.name in cells:
            cells[column.name] = _written(column, frame[column.name], schema.decimal)
    return str(cells.to_csv(index=False, sep=schema.separator, decimal=schema.decimal, lineterminator="\n"))


def _series(column: Column, values: NDArray[np.float64]) -> "pd.Series[Any]":
    """Return a column in its own type; NaN becomes a missing cell."""
    import pandas as pd

    missing = np.isnan(values)
    filled = np.where(missing, 0, values)
    match column.kind:
        case "category":
            return _words(column, filled.astype(np.int64), missing)
        case "boolean":
            cells: Any = pd.Series(filled > 0.5)
            if missing.any() or column.dtype == "object":
                cells = cells.astype("boolean" if column.dtype == "bool" else column.dtype)
        case "integer":
            cells = pd.Series(filled.astype(np.int64))
            if missing.any() and not _nullable(column.dtype):
                cells = cells.astype("Int64")
        case "number" if column.affixes and not column.dtype.startswith("float"):
            texts = [None if gone else with_affixes(column, x) for x, gone in zip(values, missing, strict=True)]
            return pd.Series(texts, dtype=object).astype(column.dtype)
        case "number":
            return pd.Series(values).astype(column.dtype)
        case "date":
            return _dates(column, filled, missing)
    if not missing.any():
        return pd.Series(cells.astype(column.dtype))
    if _nullable(column.dtype) or column.dtype == "object":
        cells = cells.astype(column.dtype)
    return pd.Series(cells.mask(missing, None if column.dtype == "object" else pd.NA))


def _nullable(dtype: str) -> bool:
    return dtype[:1].isupper() or dtype == "boolean" or "[pyarrow]" in dtype


def _words(column: Column, codes: NDArray[np.int64], missing: NDArray[np.bool_]) -> "pd.Series[Any]":
    import pandas as pd

    words = pd.Index(list(column.labels), dtype=column.labels_dtype)
    if column.dtype == "category":
        kind = pd.CategoricalDtype(words, ordered=column.ordered)
        return pd.Series(pd.Categorical.from_codes(np.where(missing, -1, codes), dtype=kind))
    if not len(words):
        return pd.Series([None] * len(codes), dtype=column.dtype)
    cells = pd.Series(words.to_numpy()[codes], dtype=object).mask(missing, None)
    return cells.astype(column.dtype)


def _dates(column: Column, values: NDArray[np.float64], missing: NDArray[np.bool_]) -> "pd.Series[Any]":
    import pandas as pd

    times = values.astype(np.int64).astype(f"datetime64[{column.unit}]").astype("datetime64[us]")
    times[missing] = np.datetime64("NaT")
    cells = pd.Series(times)
    if column.dtype in ("date", "time"):
        parts = [None if gone else getattr(t, column.dtype)() for t, gone in zip(cells, missing, strict=True)]
        return pd.Series(parts, dtype=object)
    if "," in column.dtype or "tz=" in column.dtype:
        cells = cells.dt.tz_localize("UTC")
    return cells.astype(column.dtype)


def _written(column: Column, series: "pd.Series[Any]", decimal: str) -> "pd.Series[Any]":
    """Return the cells of a CSV, written as in the training table."""
    if column.dtype == "time":
        texts = series.map(lambda time: time.strftime(column.format or "%H:%M:%S"), na_action="ignore")
    elif column.affixes and column.dtype.startswith("float"):
        texts = series.map(lambda x: with_affixes(column, x), na_action="ignore")
    elif column.kind == "date" and column.format:
        texts = series.dt.strftime(column.format)
    elif column.kind == "boolean" and column.labels:
        texts = series.map({False: column.labels[0], True: column.labels[1]})
    elif column.kind == "number" and column.digits is not None:
        texts = series.map(lambda x: f"{x:.{column.digits}f}".replace(".", decimal), na_action="ignore")
    else:
        return series
    return texts.where(series.notna(), None)
