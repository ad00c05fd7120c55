"""`setup_anndata` records once which layer, labels and batches to use. The record is in `uns["gendi_setup"]` of the
AnnData, so it stays with the .h5ad."""

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from gendi.data.cells.matrices import find_counts
from gendi.data.cells.observations import conditions_of
from gendi.data.cells.settings import KEY, Setup
from gendi.errors import unknown_name


def setup_anndata(
    adata: Any,
    *,
    layer: str | None = None,
    labels_key: str | None = None,
    batch_key: str | None = None,
    condition_keys: Sequence[str] = (),
) -> None:
    """Record which layer of an AnnData has the counts, and which columns of `obs` matter.

    Then `gendi.fit(adata, ...)` uses these labels, batches and conditions without naming them again.

    Args:
        adata: the AnnData.
        layer: the matrix of integer counts: a layer's name, "X" or "raw"; None finds it by itself.
        labels_key: the column with the types of cells, which becomes the first condition.
        batch_key: the column with batches, which becomes a condition too.
        condition_keys: further columns, which become conditions.

    Raises:
        UsageError: a missing layer or column; the error suggests the nearest name.
        DataError: no counts in the layer, or a column that cannot be a condition.
    """
    found = Setup(layer, labels_key, batch_key, tuple(condition_keys))
    for key in found.keys:
        if key not in adata.obs:
            raise unknown_name("column of obs", key, [str(name) for name in adata.obs.columns])
    find_counts(adata, layer)
    conditions_of(adata, found, np.ones(len(adata)))
    adata.uns[KEY] = json.dumps(dataclasses.asdict(found))
