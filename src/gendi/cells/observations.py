"""Conditions from the columns of `obs`: categories are classes, in their own order; numbers are values.

`depth`, the sum of a cell's counts, is a condition too, unless `obs` has a column of that name.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gendi.cells.setup import Setup
from gendi.config import ConditionConfig
from gendi.data.columns import CLASSES_MOST, FEW, LeftOut, NoConditionError, condition_name, known_rows, left_out_note

DEPTH = "depth"
Column = tuple[ConditionConfig, NDArray[Any], str]
"""What a condition is, its rows, and the column of obs."""


def conditions_of(
    adata: Any, settings: Setup, depth: NDArray[np.float64]
) -> tuple[list[Column], LeftOut, tuple[str, ...]]:
    """Return the conditions of cells, those that `settings` name first, and what is none and why."""
    found: list[Column] = []
    left_out: LeftOut = {}
    keys = [*settings.keys, *(key for key in adata.obs.columns if key not in settings.keys)]
    for key in keys:
        try:
            name = condition_name(str(key))
            if any(spec.name == name for spec, _, _ in found):
                raise NoConditionError(f"another column is called {name} too")
            found.append((*_column(name, adata.obs[key]), str(key)))
        except NoConditionError as error:
            left_out[str(key)] = str(error)
    if all(spec.name != DEPTH for spec, _, _ in found):
        found.append((ConditionConfig(DEPTH, "value", 1), depth.astype(np.float32), DEPTH))
    return found, left_out, left_out_note("obs", left_out)


def _column(name: str, column: Any) -> tuple[ConditionConfig, NDArray[Any]]:
    kind = column.dtype.kind
    if kind == "b":
        return _classes(name, np.asarray(column, np.int64), ("False", "True"))
    if kind in "iu" and column.nunique() <= FEW:
        numbers = np.unique(np.asarray(column))
        return _classes(name, np.searchsorted(numbers, np.asarray(column)), [str(number) for number in numbers])
    if kind in "iuf":
        return ConditionConfig(name, "value", 1), known_rows(np.asarray(column, np.float64))
    if str(column.dtype) != "category":
        kinds = {type(value).__name__ for value in column.dropna()}
        if kinds - {"str", "bool", "str_"}:
            raise NoConditionError(f"it mixes {' and '.join(sorted(kinds))}")
        column = column.astype("category")
    column = column.cat.remove_unused_categories()
    names = [str(category) for category in column.cat.categories]
    if not names:
        raise NoConditionError("it is empty in every row")
    if len(set(names)) < len(names):
        raise NoConditionError("two of its categories are written alike")
    filled = int((column.cat.codes >= 0).sum())
    if len(names) > FEW and 2 * len(names) > filled:
        raise NoConditionError(f"it has {len(names)} different texts in {filled} rows, too many for classes")
    return _classes(name, np.asarray(column.cat.codes, np.int64), names)


def _classes(name: str, rows: NDArray[np.int64], names: Sequence[str]) -> tuple[ConditionConfig, NDArray[Any]]:
    if len(names) > CLASSES_MOST:
        raise NoConditionError(f"it has {len(names)} classes")
    return ConditionConfig(name, "class", len(names), names=tuple(names)), rows.astype(np.int64)
