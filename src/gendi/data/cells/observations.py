"""Conditions from the columns of `obs`, and columns from conditions.

Categories are classes, in their own order, and so are booleans and integers of at most ten values. Other numbers are
values. Samples get columns of the same form, so that real and drawn cells can be joined and written.

`depth`, the sum of a cell's counts, is a condition too. If `obs` has a column of that name that holds other numbers or
classes, this column stays the condition `depth`, and the sum of the counts is the condition `counts-depth`.
"""

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gendi.data.cells.settings import Setup
from gendi.data.columns import CLASSES_MOST, FEW, LeftOut, NoConditionError, condition_name, known_rows, left_out_note
from gendi.diffusion.config import ConditionConfig
from gendi.errors import DataError

DEPTH = "depth"
OTHER_NAME = "counts-depth"
SUM = "sum_of_counts"
"""The field of a schema that names the condition that is the sum of a cell's counts."""
OTHER_DEPTH = "depth_is_no_sum"
"""The field by which schemas of earlier versions say that no condition is the sum of a cell's counts."""
DEPTH_ERROR = 1e-4
"""A column `depth` is the sum of a cell's counts if it agrees with it within this share."""
Column = tuple[ConditionConfig, NDArray[Any], str]
"""A condition, its rows, and the name of its column of obs."""


@dataclass(frozen=True)
class Form:
    """The form in which a column of obs writes its classes, so that samples write theirs in the same way."""

    values: str = "str"
    """The dtype of the classes: str, bool, or NumPy's name of a dtype of numbers."""
    category: bool = True
    """Whether the column is categorical."""
    ordered: bool = False

    @classmethod
    def of(cls, column: Any) -> "Form":
        """Return the form of a column; a column of texts becomes categorical, as in scanpy."""
        if str(column.dtype) == "category":
            values = column.cat.categories.dtype
            return cls(_plain(values), True, bool(column.cat.ordered))
        return cls() if column.dtype.kind not in "biu" else cls(_plain(column.dtype), False)

    def column(self, names: Sequence[str], rows: NDArray[np.int64], pandas: Any) -> Any:
        """Return classes (n,) as a column; class -1 becomes a missing value."""
        kind = np.dtype(self.values).kind
        readers: dict[str, Callable[[str], Any]] = {"b": "True".__eq__, "f": float, "i": int, "u": int}
        read = readers.get(kind, str)
        categories = pandas.Index([read(name) for name in names], dtype=object if kind == "U" else self.values)
        found = pandas.Categorical.from_codes(rows, categories=categories, ordered=self.ordered)
        if self.category:
            return found
        if (rows < 0).any():
            return pandas.Series(found).astype(object).convert_dtypes().array
        return np.asarray(found)


def _plain(dtype: Any) -> str:
    """Return the NumPy name of a dtype of numbers or booleans, and `str` for any other."""
    name = str(dtype).lower().replace("boolean", "bool")
    return name if dtype.kind in "biuf" else "str"


def conditions_of(
    adata: Any, settings: Setup, depth: NDArray[np.float64]
) -> tuple[list[Column], LeftOut, tuple[str, ...]]:
    """Return the conditions of cells, the columns that are left out with reasons, and notes on these.

    The conditions that `settings` name come first.

    Raises:
        DataError: a column that `settings` name cannot be a condition.
    """
    found: list[Column] = []
    left_out: LeftOut = {}
    keys = [*settings.keys, *(key for key in adata.obs.columns if key not in settings.keys)]
    for key in keys:
        try:
            if key not in adata.obs:
                raise NoConditionError("there is no such column any more")
            name = condition_name(str(key))
            if any(spec.name == name for spec, _, _ in found):
                raise NoConditionError(f"another column is called {name} too")
            found.append((*_column(name, adata.obs[key]), str(key)))
        except NoConditionError as error:
            if key in settings.keys:
                raise DataError(
                    f"obs[{key!r}] was named in setup_anndata, but it cannot be a condition: {error}. Correct the "
                    f"column, for instance by adata.obs[{key!r}] = adata.obs[{key!r}].astype(str), or name another."
                ) from error
            left_out[str(key)] = str(error)
    own = next((column for column in found if column[0].name == DEPTH), None)
    if own is None:
        found.append((ConditionConfig(DEPTH, "value", 1), depth.astype(np.float32), DEPTH))
    elif not _is_sum(own, depth):
        name = OTHER_NAME
        while any(spec.name == name for spec, _, _ in found):
            name += "-too"
        found.append((ConditionConfig(name, "value", 1), depth.astype(np.float32), name))
    return found, left_out, left_out_note("obs", left_out)


def sum_of_counts(columns: Sequence[Column], depth: NDArray[np.float64]) -> tuple[str, tuple[str, ...]]:
    """Return the name of the condition that is the sum of a cell's counts, and a note if that name is not `depth`."""
    own = next(column for column in columns if column[0].name == DEPTH)
    if _is_sum(own, depth):
        return DEPTH, ()
    name = columns[-1][0].name
    return name, (
        f"obs[{own[2]!r}] is not the sum of a cell's counts ({_first(own)} for the first cell, whose counts sum to "
        f"{depth[0]:,.0f}): it is the condition {DEPTH}, and the sum is the condition {name}",
    )


def depth_condition(schema: Mapping[str, Any]) -> str | None:
    """Return the name of the condition by which a depth is requested; None for data of which none is the sum."""
    return None if schema.get(OTHER_DEPTH) else str(schema.get(SUM, DEPTH))


def _is_sum(column: Column, depth: NDArray[np.float64]) -> bool:
    spec, values, _ = column
    if spec.kind != "value":
        return False
    known = ~np.isnan(values)
    return bool((np.abs(values[known] - depth[known]) <= DEPTH_ERROR * depth[known]).all())


def _first(column: Column) -> str:
    spec, values, _ = column
    if spec.kind == "class":
        return repr(spec.names[int(values[0])]) if values[0] >= 0 else "a missing value"
    return "a missing value" if np.isnan(values[0]) else f"{float(values[0]):,.6g}"


def _column(name: str, column: Any) -> tuple[ConditionConfig, NDArray[Any]]:
    kind = column.dtype.kind
    if kind == "b":
        truths = column.to_numpy(np.float64, na_value=np.nan)
        return _classes(name, np.where(np.isnan(truths), -1, truths).astype(np.int64), ("False", "True"))
    if kind in "iuf" and (kind == "f" or column.nunique() > FEW):
        return ConditionConfig(name, "value", 1), known_rows(column.to_numpy(np.float64, na_value=np.nan))
    if kind not in "iu" and str(column.dtype) != "category":
        kinds = {type(value).__name__ for value in column.dropna()}
        if len(kinds) > 1:
            raise NoConditionError(f"it mixes {' and '.join(sorted(kinds))}")
        if kinds - {"str", "bool", "str_"}:
            raise NoConditionError(f"its values are of type {kinds.pop()}")
    if str(column.dtype) != "category":
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


def forms(adata: Any, columns: Sequence[Column]) -> dict[str, dict[str, Any]]:
    """Return the forms of the columns of classes, by name, as JSON values."""
    classes = [key for spec, _, key in columns if spec.kind == "class"]
    return {key: dataclasses.asdict(Form.of(adata.obs[key])) for key in classes}


def colors(adata: Any, columns: Sequence[Column]) -> dict[str, list[str]]:
    """Return scanpy's colours of classes, by column, for the categories that cells have."""
    found = {}
    for spec, _, key in columns:
        given = adata.uns.get(f"{key}_colors")
        if given is None or spec.kind != "class":
            continue
        column = adata.obs[key].astype("category")
        if len(given) == len(column.cat.categories):
            used = {str(category) for category in column.cat.remove_unused_categories().cat.categories}
            pairs = zip(column.cat.categories, given, strict=True)
            found[key] = [str(color) for category, color in pairs if str(category) in used]
    return found


def column_of(spec: ConditionConfig, rows: NDArray[Any], form: Mapping[str, Any] | None, pandas: Any) -> Any:
    """Return a condition of samples, (n,) or (n, K), as a column of obs, in the form of the training data."""
    if spec.kind == "class":
        return Form(**(form or {})).column(spec.names, rows.astype(np.int64), pandas)
    return rows.astype(np.float64) if rows.ndim == 1 else [json.dumps(row.tolist()) for row in rows]


def _classes(name: str, rows: NDArray[np.int64], names: Sequence[str]) -> tuple[ConditionConfig, NDArray[Any]]:
    if len(names) > CLASSES_MOST:
        raise NoConditionError(f"it has {len(names)} classes")
    return ConditionConfig(name, "class", len(names), names=tuple(names)), rows.astype(np.int64)
