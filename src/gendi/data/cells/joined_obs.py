"""The columns of `obs` of several AnnData as one table, in forms that conditions can be made of.

Categories of all files come in the order in which they appear, and colours of scanpy stay with their categories. A
column that some file lacks is empty there.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gendi.data.cells.extra import require


def joined_obs(parts: Sequence[tuple[Any, Mapping[str, Any]]]) -> tuple[Any, dict[str, list[str]]]:
    """Return the tables `obs` (n_i rows each) one below another, and the colours of `uns` by the names of scanpy.

    `parts` are the tables with the `uns` of their AnnData.
    """
    pandas = require("pandas")
    keys = list(dict.fromkeys(key for obs, _ in parts for key in obs.columns))
    columns = {key: _column([(obs.get(key), len(obs)) for obs, _ in parts], pandas) for key in keys}
    n = sum(len(obs) for obs, _ in parts)
    joined = pandas.DataFrame(columns, index=pandas.RangeIndex(n).astype(str))
    colors = {f"{key}_colors": found for key in keys if (found := _colors(key, joined[key], parts))}
    return joined, colors


def _column(parts: Sequence[tuple[Any, int]], pandas: Any) -> Any:
    """Return a column of all files as an array; each is the column of one, None where it is missing, and its length."""
    there = [column for column, _ in parts if column is not None]
    values = np.concatenate(
        [np.full(n, None, object) if column is None else column.astype(object).to_numpy() for column, n in parts]
    )
    if all(str(column.dtype) == "category" for column in there):
        every = [list(column.cat.categories) for column in there]
        ordered = all(column.cat.ordered for column in there) and all(each == every[0] for each in every)
        categories = list(dict.fromkeys(name for each in every for name in each))
        return pandas.Categorical(values, categories=categories, ordered=ordered)
    kinds = {column.dtype.kind for column in there}
    whole = len(there) == len(parts) and not any(column.isna().any() for column in there)
    if kinds == {"b"}:
        return pandas.array(values, dtype="bool" if whole else "boolean")
    if kinds <= set("iu"):
        return pandas.array(values, dtype="int64" if whole else "Int64")
    if kinds <= set("iuf"):
        return pandas.to_numeric(pandas.Series(values)).astype(np.float64).to_numpy()
    return values


def _colors(key: Any, column: Any, parts: Sequence[tuple[Any, Mapping[str, Any]]]) -> list[str]:
    """Return a colour for every category of a joined column; nothing if some category has none."""
    if str(column.dtype) != "category":
        return []
    known: dict[Any, str] = {}
    for obs, uns in parts:
        given = uns.get(f"{key}_colors")
        if given is None or key not in obs or str(obs[key].dtype) != "category":
            continue
        categories = list(obs[key].cat.categories)
        if len(given) == len(categories):
            known = {**dict(zip(categories, map(str, given), strict=True)), **known}
    every = list(column.cat.categories)
    return [known[name] for name in every] if all(name in known for name in every) else []
