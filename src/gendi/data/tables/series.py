"""Reading a column of a DataFrame: its type decides its kind, and its cells become numbers.

    bool, boolean                                   boolean
    integers, also nullable ones                    integer, unless they count the rows or are beyond 2^53
    floats                                          number
    datetimes, with or without a zone; dates, times date
    categorical                                     category, with its words, their order and their type
    text                                            as in a CSV, but always category (`gendi.data.tables.texts`)

Columns of objects of several types are refused; durations, intervals, bytes, lists and complex numbers are left out.
"""

import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gendi.data.tables.schema import Column
from gendi.data.tables.texts import (
    Found,
    NamesError,
    NotModelledError,
    Place,
    categories,
    coarsest,
    dated,
    decimals_of,
    finite,
    whole,
    with_units,
)

if TYPE_CHECKING:
    import pandas as pd

WORDS = ("string", "empty")
DAY = datetime.date(1900, 1, 1)
"""The day of times of day."""
LABELS = (str, int, float, bool, np.integer, np.floating, np.bool_)


def from_series(place: Place, series: "pd.Series[Any]", requested: str = "") -> Found:
    """Return the description of a DataFrame's column, and its cells as numbers, NaN where missing.

    Args:
        place: the place of the column, for messages.
        series: the column.
        requested: the requested kind, or "". `category` makes words of the cells; `number` prevents integers from
            becoming classes.

    Raises:
        DataError: objects of several types, or infinite numbers.
        NotModelledError: a column that cannot be modelled.
    """
    import pandas as pd

    missing = series.isna().to_numpy(bool)
    dtype, api = str(series.dtype), pd.api.types
    if isinstance(series.dtype, pd.CategoricalDtype):
        return _categorical(place.name, series)
    if requested == "category":
        return _as_categories(place.name, series)
    if api.is_bool_dtype(series.dtype):
        return Column(place.name, "boolean", dtype), _floats(series, missing)
    if api.is_integer_dtype(series.dtype):
        return whole(place.name, _whole_floats(series, missing), dtype, bool(requested))
    if api.is_float_dtype(series.dtype):
        values = finite(place, _floats(series, missing))
        return Column(place.name, "number", dtype, decimals=decimals_of(values)), values
    if api.is_datetime64_any_dtype(series.dtype):
        return _times(place.name, series, dtype)
    if missing.all():
        return Column(place.name, "category", dtype), np.full(len(series), np.nan)
    return _objects(place, series, missing, dtype)


def _objects(place: Place, series: "pd.Series[Any]", missing: NDArray[np.bool_], dtype: str) -> Found:
    import pandas as pd

    kind = pd.api.types.infer_dtype(series, skipna=True)
    if kind in WORDS:
        texts = series.where(~missing, "").to_numpy(object)
        if found := with_units(place.name, texts, missing, dtype):
            return found
        column, values = categories(place.name, texts, missing)
        return _typed(column, dtype), values
    if kind == "boolean":
        return Column(place.name, "boolean", "object"), _floats(series, missing)
    if kind == "date":
        column, values = _times(place.name, pd.to_datetime(series), "date")
        return column, values
    if kind == "time":
        days = series.map(lambda time: pd.Timestamp.combine(DAY, time), na_action="ignore")
        return _times(place.name, pd.to_datetime(days), "time")
    if kind in ("mixed", "mixed-integer", "mixed-integer-float"):
        types = [type(cell).__name__ for cell in series]
        known = [name for name, gone in zip(types, missing, strict=True) if not gone]
        usual = max(set(known), key=known.count)
        odd = next(i for i, name in enumerate(types) if not missing[i] and name != usual)
        if usual not in ("list", "dict", "ndarray", "bytes", "tuple", "set"):
            raise place.refuse(
                f"mixes types: {series.iloc[odd]!r} in {place.row(odd)} is {types[odd]}, most cells are {usual}. Give "
                "the cells one type, None for those that are missing."
            )
    raise NotModelledError(f"it holds {kind}, which is no number, word, boolean or date")


def _times(name: str, series: "pd.Series[Any]", dtype: str) -> Found:
    import pandas as pd

    plain = series.dt.tz_convert("UTC").dt.tz_localize(None) if series.dt.tz is not None else series
    times = pd.Series(plain).to_numpy("datetime64[ns]")
    unit = coarsest(times)
    return Column(name, "date", dtype, unit=unit), dated(times, unit)


def _categorical(name: str, series: "pd.Series[Any]") -> Found:
    words = series.cat.categories
    if not all(isinstance(word, LABELS) for word in words):
        raise NotModelledError(f"its categories are {type(words[0]).__name__}, which are no words and no numbers")
    labels = tuple(word.item() if isinstance(word, np.generic) else word for word in words)
    codes = series.cat.codes.to_numpy(np.float64)
    return Column(name, "category", "category", labels, str(words.dtype), ordered=bool(series.cat.ordered)), np.where(
        codes < 0, np.nan, codes
    )


def _as_categories(name: str, series: "pd.Series[Any]") -> Found:
    column, values = _categorical(name, series.astype("category"))
    return _typed(column, str(series.dtype)), values


def _typed(column: Column, dtype: str) -> Column:
    return Column(column.name, column.kind, dtype, column.labels, column.labels_dtype, column.ordered)


def _floats(series: "pd.Series[Any]", missing: NDArray[np.bool_]) -> NDArray[np.float64]:
    out = np.full(len(series), np.nan)
    out[~missing] = series[~missing].to_numpy(np.float64)
    return out


def _whole_floats(series: "pd.Series[Any]", missing: NDArray[np.bool_]) -> NDArray[np.float64]:
    known = series[~missing]
    if len(known) and max(abs(int(known.min())), abs(int(known.max()))) > 2**53:
        raise NamesError("it has whole numbers beyond 2^53, which are taken for names of rows")
    return _floats(series, missing)
