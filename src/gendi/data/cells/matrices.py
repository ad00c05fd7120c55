"""The matrices of an AnnData, and which of them holds the counts."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy.sparse as sp

from gendi.data.cells.looks import look_at
from gendi.data.cells.rows import SomeColumns
from gendi.errors import DataError, unknown_name


def find_counts(adata: Any, requested: str | None) -> tuple[str, Any]:
    """Return the name and the matrix of the counts. Raises `UsageError` and `DataError` as `load_anndata` does."""
    there = matrices(adata)
    if requested is not None:
        if requested not in there:
            raise unknown_name("layer", requested, list(there))
        look = look_at(there[requested])
        if look.kind != "counts":
            raise DataError(f"{requested} does not hold counts: it looks {look}. {_where(there)}")
        return requested, there[requested]
    for name in ("counts", "X", "raw"):
        if name in there and look_at(there[name]).kind == "counts":
            return name, there[name]
    raise DataError(f"These cells have no integer counts in layers['counts'], X or raw. {_where(there)}")


def matrices(adata: Any) -> dict[str, Any]:
    """Return the matrices of an AnnData with its genes as columns, by name: layers, X and raw.

    `raw` often holds more genes, since genes were selected after `adata.raw = adata`; then it is those of its columns
    that belong to the selected genes.
    """
    found = dict(adata.layers.items())
    if adata.X is not None:
        found["X"] = adata.X
    raw = adata.raw
    if raw is None or raw.shape[0] != len(adata):
        return found
    genes, place = list(adata.var_names), {gene: i for i, gene in enumerate(raw.var_names)}
    if list(raw.var_names) == genes:
        found["raw"] = raw.X
    elif len(place) == raw.shape[1] and all(gene in place for gene in genes):
        columns = np.array([place[gene] for gene in genes], np.int64)
        matrix = raw.X
        in_memory = isinstance(matrix, np.ndarray) or sp.issparse(matrix)
        found["raw"] = matrix[:, columns] if in_memory else SomeColumns(matrix, columns)
    return found


def _where(there: Mapping[str, Any]) -> str:
    looking = {name: look_at(matrix) for name, matrix in there.items()}
    counts = [name for name, look in looking.items() if look.kind == "counts"]
    said = "; ".join(f"{name} looks {look}" for name, look in looking.items())
    mend = (
        f"The counts are in {counts[0]}: name them with --layer {counts[0]}, or in Python with "
        f"setup_anndata(adata, layer={counts[0]!r})."
        if counts
        else 'Put the counts that the sequencer gave into adata.layers["counts"], before normalising.'
    )
    if not counts and any(look.kind in ("log1p", "normalised") for look in looking.values()):
        mend += " If the values were only normalised, --recover-counts computes the counts from them."
    if not counts and any(look.kind == "text" for look in looking.values()):
        mend += " Numbers that are stored as Python objects become counts by matrix.astype(numpy.int32)."
    return f"{f'There are: {said}' if said else 'There is no matrix at all'}. {mend}"
