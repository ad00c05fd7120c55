"""Reading a column of texts, as a CSV has it: its cells decide its kind, and become numbers.

The kind is the first of these that all cells fit, except the missing ones:

    boolean     true and false, in one spelling of each
    integer     digits, perhaps with a sign, and without a leading zero
    number      anything that can be read as a number
    date        one of `FORMATS`, unless day and month could be confused; also a time of day, `08:22`
    number      anything that can be read as a number between the same texts, `80,9 kg` (`gendi.data.tables.units`), if
                there are more than ten different ones, or decimals
    category    at most ten different texts, or at most 1000 that occur twice on average

Among booleans, numbers and dates, the texts of `MISSING` are missing cells; among categories, only empty cells are. If
half of the cells or more are numbers or dates, but some are not, the column is refused. Free text and names of rows
cannot be modelled; such a column is left out, with the reason.
"""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gendi.data.tables.schema import UNITS, Column, Unit
from gendi.data.tables.units import affixes_of, bare
from gendi.errors import DataError

Values = NDArray[np.float64]
Found = tuple[Column, Values]
MISSING = frozenset({"", "NA", "N/A", "n/a", "NaN", "nan", "NAN", "null", "NULL", "None", "<NA>", "#N/A"})
TIMES = ("%H:%M", "%H:%M:%S")
FORMATS = (
    *("%Y-%m-%d", "%Y-%m-%d %H:%M", "%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M:%S.%f"),
    *("%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%M:%S.%f", "%Y/%m/%d"),
    *TIMES,
    *("%d.%m.%Y", "%d.%m.%Y %H:%M", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y"),
)
FEW, CATEGORIES_MOST, DECIMALS_MOST, EXACT = 10, 1000, 12, 2.0**53
NEARLY_ALL = 0.95
_INTEGER = re.compile(r"[+-]?(0|[1-9][0-9]*)")
_PADDED = re.compile(r"[+-]?0[0-9]")
_DATE = re.compile(r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}|\d{2}:\d{2}(:\d{2})?$")


class NotModelledError(Exception):
    """A column is left out of the model; the text is the reason."""


class NamesError(NotModelledError):
    """A column is left out because its cells are names of rows, or free text."""


class Place:
    """The place of a column, for messages about it."""

    def __init__(self, where: str, name: str, lines: Sequence[int] | None = None) -> None:
        self.where, self.name, self.lines = where, name, lines

    def row(self, i: int) -> str:
        """Return the name of row i: its number, counted from 1, and the line of the file."""
        return f"row {i + 1}" + (f" (line {self.lines[i]})" if self.lines is not None else "")

    def refuse(self, text: str) -> DataError:
        """Return the error whose message is the column followed by `text`."""
        return DataError(f"{self.where}: the column {self.name!r} {text}")


def from_texts(place: Place, cells: Sequence[str], requested: str = "", decimal: str = ".") -> Found:
    """Return the description of a CSV's column, and its cells as numbers, NaN where missing.

    Args:
        place: the place of the column, for messages.
        cells: the texts of the column.
        requested: the requested kind, or the format of dates; "" lets the cells decide.
        decimal: the character before the decimals of numbers.

    Raises:
        DataError: cells of differing kinds, infinite numbers, or cells that do not fit the requested kind.
        NotModelledError: free text, names of rows, numbers beyond 2^53.
    """
    texts = np.array([cell.strip() for cell in cells], object)
    missing = np.array([text in MISSING for text in texts], bool)
    if requested == "category":
        return categories(place.name, texts, texts == "", requested=True)
    if requested in ("", "boolean") and (found := _booleans(place.name, texts, missing)):
        return found
    numbers = _numbers(texts, missing, decimal)
    fit = ~np.isnan(numbers)
    if requested in ("integer", "number") and not (fit | missing).all():
        raise _odd_one(place, texts, ~(fit | missing), "a number")
    if "%" in requested or requested == "date":
        return _dates(place, texts, missing, (requested,) if "%" in requested else FORMATS, True)
    if requested == "boolean":
        raise place.refuse(f"was said to be boolean, but has {texts[~missing][0]!r} in it: it needs true and false.")
    if missing.all():
        return Column(place.name, "number", "float64"), np.full(len(texts), np.nan)
    if (fit | missing).all():
        if not requested and any(_PADDED.match(text) and text.strip("+-0123456789") == "" for text in texts[~missing]):
            return categories(place.name, texts, texts == "")
        return _written_numbers(place, texts, missing, numbers, requested)
    if 2 * fit.sum() >= (~missing).sum():
        raise _odd_one(place, texts, ~(fit | missing), "a number")
    if decimal == "." and all(re.fullmatch(r"[+-]?\d+(,\d+)?", text) for text in texts[~missing]):
        raise place.refuse(
            f"has numbers with a comma, such as {texts[~missing][0]!r}: say {place.where}?decimal=, if commas stand "
            f"before decimals, or {place.where}?{place.name}=category."
        )
    if sum(bool(_DATE.match(text)) for text in texts[~missing][:100]) * 2 >= min(100, (~missing).sum()):
        return _dates(place, texts, missing, FORMATS, False)
    if not requested and (found := with_units(place.name, texts, missing)):
        return found
    return categories(place.name, texts, texts == "")


def with_units(name: str, texts: NDArray[Any], missing: NDArray[np.bool_], dtype: str = "float64") -> Found | None:
    """Return a column of numbers that are written with the same texts around them, or None if it is none."""
    known = texts[~missing].tolist()
    affixes = affixes_of(known)
    if affixes is None:
        return None
    numbers = [bare(text, affixes) for text in known]
    if len(set(numbers)) <= FEW and not any("." in number for number in numbers):
        return None
    values = np.full(len(texts), np.nan)
    values[~missing] = [float(number) for number in numbers]
    digits = {len(number.partition(".")[2]) for number in numbers}
    known_digits = digits.pop() if len(digits) == 1 else None
    return Column(name, "number", dtype, decimals=decimals_of(values), digits=known_digits, affixes=affixes), values


def categories(name: str, texts: NDArray[Any], missing: NDArray[np.bool_], requested: bool = False) -> Found:
    """Return a column of words. Raises `NotModelledError` if nearly all differ, unless a category was `requested`."""
    words = sorted(set(texts[~missing].tolist()))
    filled = int((~missing).sum())
    if not requested and len(words) > FEW and (2 * len(words) > filled or len(words) > CATEGORIES_MOST):
        raise NamesError(
            f"it has {len(words)} different texts in {filled} rows, so it is free text or names of rows; "
            f"?{name}=category keeps it anyway"
        )
    code = {word: float(i) for i, word in enumerate(words)}
    values = np.array([np.nan if gone else code[text] for text, gone in zip(texts, missing, strict=True)], np.float64)
    return Column(name, "category", "object", labels=tuple(words)), values


def whole(name: str, values: Values, dtype: str, requested: bool = False) -> Found:
    """Return a column of integers. Raises `NotModelledError` for numbers of rows, and for numbers beyond 2^53."""
    known = values[~np.isnan(values)]
    if len(known) and abs(known).max() > EXACT:
        raise NamesError("it has whole numbers beyond 2^53, which are taken for names of rows")
    steps = np.diff(values)
    if not requested and len(values) > FEW and (steps == steps[0]).all() and abs(steps[0]) == 1:
        raise NamesError(f"it only counts the rows; ?{name}=integer keeps it anyway")
    if (
        not requested
        and len(known) > FEW
        and re.search(r"(^|[^a-z])id$", name.lower())
        and len(set(known)) == len(known)
    ):
        raise NamesError(f"it is called an id and is different in every row; ?{name}=integer keeps it anyway")
    return Column(name, "integer", dtype), values


def decimals_of(values: Values) -> int | None:
    """Return the most decimals that a share `NEARLY_ALL` of the numbers has; None if they are more than twelve."""
    known = values[~np.isnan(values)]
    shares = ((np.round(known, digits) == known).mean() for digits in range(DECIMALS_MOST + 1) if len(known))
    return next((digits for digits, share in enumerate(shares) if share >= NEARLY_ALL), None)


def coarsest(times: NDArray[Any]) -> Unit:
    """Return the coarsest unit in which all times are whole; microseconds if there is none."""
    known = times[~np.isnat(times)]
    return next((unit for unit in UNITS if (known == known.astype(f"datetime64[{unit}]")).all()), "us")


def dated(times: NDArray[Any], unit: Unit) -> Values:
    """Return times in whole units since 1970; a missing time becomes NaN."""
    out = times.astype(f"datetime64[{unit}]").astype(np.int64).astype(np.float64)
    out[np.isnat(times)] = np.nan
    return out


def finite(place: Place, values: Values) -> Values:
    """Return the values. Raises `DataError`, which names the first infinite one, unless they are finite or missing."""
    if (bad := np.isinf(values)).any():
        raise place.refuse(
            f"has an infinite number in {place.row(int(bad.argmax()))}, {int(bad.sum())} in all: leave such cells "
            "empty if they are not known, or give a number."
        )
    return values


def _booleans(name: str, texts: NDArray[Any], missing: NDArray[np.bool_]) -> Found | None:
    spellings = sorted(set(texts[~missing].tolist()), key=str.lower)
    if [word.lower() for word in spellings] != ["false", "true"]:
        return None
    values = np.where(missing, np.nan, texts == spellings[1])
    dtype = "boolean" if missing.any() else "bool"
    return Column(name, "boolean", dtype, labels=tuple(spellings)), values.astype(np.float64)


def _numbers(texts: NDArray[Any], missing: NDArray[np.bool_], decimal: str) -> Values:
    import pandas as pd

    pointed = texts if decimal == "." else np.array([text.replace(decimal, ".") for text in texts], object)
    return np.asarray(pd.to_numeric(np.where(missing, "nan", pointed), errors="coerce"), np.float64)


def _written_numbers(
    place: Place, texts: NDArray[Any], missing: NDArray[np.bool_], numbers: Values, requested: str
) -> Found:
    finite(place, numbers)
    integers = all(_INTEGER.fullmatch(text) for text in texts[~missing])
    if requested == "integer" and not integers:
        raise place.refuse("was said to hold whole numbers, and holds others.")
    if integers:
        return whole(place.name, numbers, "Int64" if missing.any() else "int64", requested != "")
    written = {_digits_behind(text) for text in texts[~missing]}
    digits = next(iter(written)) if len(written) == 1 and -1 not in written else None
    return Column(place.name, "number", "float64", decimals=decimals_of(numbers), digits=digits), numbers


def _digits_behind(text: str) -> int:
    """Return the number of decimals of a number; -1 if it has an exponent."""
    found = re.fullmatch(r"[+-]?[0-9]*[.,]?([0-9]*)", text)
    return -1 if found is None else len(found[1]) * ("." in text or "," in text)


def _dates(
    place: Place, texts: NDArray[Any], missing: NDArray[np.bool_], formats: Sequence[str], requested: bool
) -> Found:
    import pandas as pd

    best: tuple[int, NDArray[np.bool_]] = (0, missing)
    fitting = []
    for form in formats:
        series = pd.to_datetime(pd.Series(texts, dtype=object).mask(missing, None), format=form, errors="coerce")
        same = (series.dt.strftime(form) == texts).to_numpy(bool) & ~missing
        if requested or form.endswith("%f"):
            same = series.notna().to_numpy(bool)
        if (same | missing).all():
            fitting.append((form, series))
        if same.sum() > best[0]:
            best = int(same.sum()), ~(same | missing)
    if len(fitting) > 1:
        forms = " or ".join(f"?{place.name}={form}" for form, _ in fitting)
        raise NotModelledError(f"day and month of its dates could be taken for each other; say {forms}")
    if fitting:
        form, series = fitting[0]
        times = series.to_numpy("datetime64[ns]")
        unit = coarsest(times)
        dtype = "time" if form in TIMES else "datetime64[ns]"
        return Column(place.name, "date", dtype, unit=unit, format=form), dated(times, unit)
    if requested or 2 * best[0] >= (~missing).sum():
        bad = best[1] if best[0] else ~missing
        raise _odd_one(place, texts, bad, "a date" if not requested else f"a date written {' or '.join(formats)}")
    return categories(place.name, texts, texts == "")


def _odd_one(place: Place, texts: NDArray[Any], odd: NDArray[np.bool_], what: str) -> DataError:
    i = int(odd.argmax())
    return place.refuse(
        f"mixes kinds: {texts[i]!r} in {place.row(i)} is not {what} as other cells are ({int(odd.sum())} such cells in "
        f"all). Mend the cell, leave it empty if it is missing, or say {place.where}?{place.name}=category."
    )
