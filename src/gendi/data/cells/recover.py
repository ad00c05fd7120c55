"""Counts from normalised or log-normalised expression, where they can be computed.

Normalising multiplies all counts of a cell by one factor, y = u k or y = ln(1 + u k). The factor u is unknown, but the
counts k are whole. So u is the smallest expression of the cell that is not 0, divided by the count 1, 2, 3, ... that
makes all counts of the cell whole. A cell whose counts have a common divisor is taken for the cell without it.
"""

from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from gendi.data.cells.looks import blocks, look_at
from gendi.data.cells.matrices import matrices
from gendi.data.cells.rows import CountRows
from gendi.errors import DataError, unknown_name

LEAST_COUNTS = 20
"""The largest count that the smallest expression of a cell may stand for."""
FEWEST = 5
"""For a cell with fewer expressed genes this is the count 1, because several counts could fit."""
WHOLE, FLOAT32 = 0.01, 1e-5
"""A count may differ from a whole number by this much, plus the round-off as a share of itself."""
UNCLEAR = 0.4
"""With a larger round-off, a count cannot be told from its neighbours."""
DECIMALS = (2, 3, 4)
"""Numbers of decimals to which logarithms are sometimes rounded."""


def recovered(matrix: Any, name: str) -> tuple[Any, str]:
    """Return the counts (N, G) behind a matrix of expression, as sparse int32, and in a few words what it held.

    Raises:
        DataError: some cell has no factor that makes its counts whole, as after scaling, regression, imputation or
            integration.
    """
    furthest = -1
    for logarithm in (True, False):
        parts, cell = list[Any](), -1
        for start, block in blocks(CountRows(matrix)):
            counts, bad = _counts(block.astype(np.float64), logarithm)
            if bad is not None:
                cell = start + bad
                break
            parts.append(sp.csr_matrix(counts))
        if cell < 0:
            return sp.vstack(parts, format="csr"), "logarithms of normalised counts" if logarithm else "scaled counts"
        furthest = max(furthest, cell)
    raise DataError(
        f"The counts behind {name} cannot be recovered: no factor makes the expression of cell {furthest} a multiple "
        "of whole counts, with or without a logarithm. That is so after scaling, regression, imputation or "
        'integration. Put the counts that the sequencer gave into adata.layers["counts"].'
    )


def recover_counts(adata: Any, layer: str | None = None) -> str:
    """Put the counts behind normalised expression into `adata.layers["counts"]`, and return a note on where from.

    Args:
        adata: the AnnData.
        layer: the matrix of expression: a layer's name, "X" or "raw"; None takes the first of X and raw that counts
            can be recovered from.

    Raises:
        UsageError: a missing layer.
        DataError: counts that cannot be recovered (`recovered`).
    """
    there = matrices(adata)
    if layer is not None and layer not in there:
        raise unknown_name("layer", layer, list(there))
    errors = list[DataError]()
    for name in ("X", "raw") if layer is None else (layer,):
        if name not in there:
            continue
        if (look := look_at(there[name])).kind == "counts":
            adata.layers["counts"] = there[name]
            return f"{name} holds counts, so there was nothing to recover"
        if look.kind not in ("log1p", "normalised"):
            errors.append(DataError(f"The counts behind {name} cannot be recovered: it looks {look}."))
            continue
        try:
            adata.layers["counts"], what = recovered(there[name], name)
            return f"the counts were recovered from {name}, which holds {what}"
        except DataError as error:
            errors.append(error)
    raise errors[-1] if errors else DataError("There is neither X nor raw to recover counts from.")


def _counts(y: NDArray[np.float64], logarithm: bool) -> tuple[NDArray[np.int32], int | None]:
    """Return the counts (n, G) behind expression with one factor per row, and the first row that has none."""
    if not (np.isfinite(y).all() and (y >= 0).all() and y.max(initial=0) < (700 if logarithm else np.inf)):
        return np.zeros(y.shape, np.int32), 0
    x = np.expm1(y) if logarithm else y
    expressed, least = (x > 0).sum(1), np.where(x > 0, x, np.inf).min(1)
    share = _round_off(y) if logarithm else FLOAT32
    counts, left = np.zeros(y.shape), expressed > 0
    for first in range(1, LEAST_COUNTS + 1):
        rows = np.flatnonzero(left & ((first == 1) | (expressed >= FEWEST)))
        if not len(rows):
            break
        ratio = x[rows] * (first / least[rows, None])
        whole = np.rint(ratio)
        ratio *= (np.square(whole).sum(1) / (whole * ratio).sum(1))[:, None]  # the least expression has an error, too
        # of k = x / u = expm1(y) / u, an error e of y makes the error e (k + 1 / u)
        error = share * (whole + first / least[rows, None]) if logarithm else share * whole
        fits = (np.abs(ratio - whole) <= WHOLE + error).all(1) & (error <= UNCLEAR).all(1) & (whole.max(1) < 2**31)
        counts[rows[fits]] = whole[fits]
        left[rows[fits]] = False
    return counts.astype(np.int32), int(np.flatnonzero(left)[0]) if left.any() else None


def _round_off(y: NDArray[np.float64]) -> float:
    """Return the largest round-off of logarithms: that of float32, or of the decimals to which all are rounded."""
    some = y[y > 0][:100_000]
    for decimals in DECIMALS:
        if (np.abs(some * 10**decimals - np.rint(some * 10**decimals)) < 1e-2).all():
            return float(10.0**-decimals)
    return FLOAT32
