"""Conditions from arrays and from columns of words: the kind of a condition, and its rows as
`gendi.diffusion.conditions` expects them.

    (N,)    whole numbers             class; -1 is missing
    (N,)    text                      class, by the words in order; an empty text is missing
    (N,)    floats                    value; NaN is missing
    (N, K)  bytes or booleans, 0 / 1  tags
    (N, K)  other numbers             vector; a row with a NaN in it is missing

Rows are int64 for classes, bytes or float32 for tags, and float32 for numbers. An array that fits none of these cannot
be a condition, and `NoConditionError` says why. Data often hold arrays that cannot be conditions, so readers note the
reason and go on.
"""

import dataclasses
import re
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gendi.diffusion.config import ConditionConfig

CLASSES_MOST = 1_000_000
FEW = 10
"""Up to this many classes are accepted without a check of how many rows have each."""

Rows = NDArray[Any]
Column = tuple[ConditionConfig, Rows]
"""A condition and its N rows."""
LeftOut = dict[str, str]
"""By name, the reasons why columns or arrays are not conditions."""
Notes = tuple[str, ...]


class NoConditionError(Exception):
    """A column or an array that cannot be a condition; the text is the reason."""


def condition_name(text: str) -> str:
    """Return `text` as the name of a condition: words joined by hyphens. Raises `NoConditionError`."""
    name = re.sub(r"[^\w-]+", "-", text.strip()).strip("-")
    if not name.replace("-", "_").isidentifier():
        raise NoConditionError("its name cannot be made into a word")
    return name


def from_array(name: str, array: Rows, names: Sequence[str] = ()) -> Column:
    """Return an array of N rows as a condition; `names` are the names of its classes, tags or numbers.

    Raises `NoConditionError`.
    """
    kind, flat = array.dtype.kind, array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array
    if flat.ndim == 1 and kind == "U":
        return from_words(name, [str(word) for word in flat], "class")
    if flat.ndim == 1 and kind in "biu":
        return _numbered_classes(name, flat, names)
    if flat.ndim == 1 and kind == "f":
        return ConditionConfig(name, "value", 1), known_rows(flat)
    if flat.ndim != 2 or kind not in "biuf" or not flat.shape[1]:
        raise NoConditionError(f"it has dtype {array.dtype} and shape {array.shape}")
    size = flat.shape[1]
    if names and len(names) != size:
        raise NoConditionError(f"it has {size} columns and {len(names)} names")
    if flat.dtype in (np.bool_, np.uint8) and flat.max() <= 1:
        return ConditionConfig(name, "tags", size, names=tuple(names)), flat.astype(np.uint8)
    return ConditionConfig(name, "vector", size, names=tuple(names)), known_rows(flat)


def from_words(name: str, cells: Sequence[str], kind: Literal["class", "value", "tags", "vector"]) -> Column:
    """Return a column of N texts as a condition. An empty text is a missing value; tags are separated by `|`, and the
    numbers of a vector by spaces.

    Raises `NoConditionError`.
    """
    if not any(cells):
        raise NoConditionError("it is empty in every row")
    match kind:
        case "class":
            return _named_classes(name, cells)
        case "tags":
            return _tags(name, cells)
    rows = [_numbers(cell) for cell in cells]
    width = max(len(row) for row in rows)
    for cell, row in zip(cells, rows, strict=True):
        if cell and len(row) != (1 if kind == "value" else width):
            of = f" of {width} numbers" if kind == "vector" else ""
            raise NoConditionError(f"it has {cell!r}, which is no {kind}{of}")
    numbers = np.array([row if row else [np.nan] * width for row in rows], np.float64)
    known = known_rows(numbers[:, 0] if kind == "value" else numbers)
    return ConditionConfig(name, kind, width), known


def null_rows(spec: ConditionConfig, n: int) -> Rows:
    """Return n null rows. Raises `NoConditionError` for pictures, whose bytes cannot be null."""
    if spec.kind == "class":
        return np.full(n, -1, np.int64)
    if spec.kind == "image":
        raise NoConditionError("its pictures are missing in the test set")
    return np.full((n,) if spec.kind == "value" else (n, spec.size), np.nan, np.float32)


def with_statistics(spec: ConditionConfig, rows: Rows) -> ConditionConfig:
    """Return a value or a vector with the mean and the standard deviation of its training rows added.

    Conditions of other kinds are returned as they are.
    """
    if spec.kind not in ("value", "vector"):
        return spec
    known = rows[np.isfinite(rows)].astype(np.float64)
    if not len(known):
        return spec
    std = max(float(known.std()), 1e-30) if np.ptp(known) else 1.0
    return dataclasses.replace(spec, mean=float(known.mean()), std=std)


def known_rows(numbers: Rows) -> Rows:
    """Return numbers (N,) or (N, K) as float32; in a row with a NaN, all become NaN. Raises `NoConditionError`."""
    with np.errstate(over="ignore"):
        rows = numbers.astype(np.float32)
    if np.isinf(rows).any():
        row = int(np.isinf(rows).reshape(len(rows), -1).any(axis=1).argmax())
        raise NoConditionError(f"it has a number that is infinite or beyond float32, the first in row {row}")
    missing = np.isnan(rows).reshape(len(rows), -1).any(axis=1)
    if missing.all():
        raise NoConditionError("it is missing (NaN) in every row")
    rows[missing] = np.nan
    return rows


def by_number(names: Sequence[str]) -> list[str]:
    """Return names in order: by value if all of them are whole numbers, else as text."""
    numbers = all(name.isascii() and name.isdigit() for name in names)
    return sorted(names, key=lambda name: (int(name), name) if numbers else (0, name))


def left_out_note(where: str, left_out: LeftOut) -> Notes:
    """Return a note with the reasons in `left_out`; no note if there are none."""
    reasons = "; ".join(f"{name}: {reason}" for name, reason in left_out.items())
    return (f"{where}: no condition is made of {reasons}",) if reasons else ()


def _numbered_classes(name: str, array: Rows, names: Sequence[str]) -> Column:
    low, high = int(array.min()), int(array.max())
    if low < -1 or high >= CLASSES_MOST or high < 0:
        raise NoConditionError(
            f"it has whole numbers from {low} to {high}; classes are 0, 1, 2, ... below a million, and -1 is missing. "
            "Save quantities as floats"
        )
    if names and len(names) <= high:
        raise NoConditionError(f"it has the class {high} and {len(names)} names")
    known = tuple(names) or tuple(str(number) for number in range(high + 1))
    return ConditionConfig(name, "class", len(known), names=known), array.astype(np.int64)


def _named_classes(name: str, cells: Sequence[str]) -> Column:
    names = by_number(sorted({cell for cell in cells if cell}))
    filled = sum(map(bool, cells))
    if len(names) > FEW and 2 * len(names) > filled:
        raise NoConditionError(f"it has {len(names)} different texts in {filled} rows, too many for classes")
    number = {word: i for i, word in enumerate(names)} | {"": -1}
    rows = np.array([number[cell] for cell in cells], np.int64)
    return ConditionConfig(name, "class", len(names), names=tuple(names)), rows


def _tags(name: str, cells: Sequence[str]) -> Column:
    words = [[word for part in cell.split("|") if (word := part.strip())] for cell in cells]
    names = by_number(sorted({word for row in words for word in row}))
    if not names:
        raise NoConditionError("it names no tag")
    number = {word: i for i, word in enumerate(names)}
    rows = np.zeros((len(cells), len(names)), np.float32)
    for row, cell, found in zip(rows, cells, words, strict=True):
        row[[number[word] for word in found]] = 1
        row[:] = row if cell else np.nan
    return ConditionConfig(name, "tags", len(names), names=tuple(names)), rows


def _numbers(cell: str) -> list[float]:
    try:
        return [float(word) for word in cell.split()]
    except ValueError:
        raise NoConditionError(f"it has {cell!r}, which is no number") from None
