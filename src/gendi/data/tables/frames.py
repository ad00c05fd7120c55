"""Filled cells put into a DataFrame, whose other cells, index and types stay as they are."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd


def put(frame: "pd.DataFrame", filled: "pd.DataFrame", missing: NDArray[np.bool_]) -> "pd.DataFrame":
    """Return a copy of a DataFrame of n rows, whose `missing` cells (n, G) are taken from the columns of `filled`.

    A column without a cell that is given gets the type of the training table, all others keep theirs.
    """
    out = frame.copy()
    for j, name in enumerate(filled.columns):
        gone = missing[:, j]
        if not gone.any():
            continue
        cells = filled[name].set_axis(out.index)
        if gone.all():
            out[name] = cells
            continue
        column = out[name].copy()
        known = cells[gone].astype(object) if column.dtype == object else cells[gone].astype(column.dtype)
        column[gone] = known
        out[name] = column
    return out
