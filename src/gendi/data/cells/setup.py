"""`setup_anndata`: said once which layer, labels and batches count; it stays with the AnnData, in `uns["gendi_setup"]`,
and so in the .h5ad.
"""

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from gendi.data.cells.observations import conditions_of
from gendi.data.cells.read import find_counts
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
    """Say which layer of an AnnData has the counts and which columns of `obs` matter.

    With it `gendi.fit(adata, ...)` is told labels, batches and conditions without naming them again.

    Args:
        layer: the matrix of integer counts: a layer's name, "X" or "raw"; found by itself if None.
        labels_key: the column with the cells' types; the first thing the model is told.
        batch_key: the column with batches, one condition more.
        condition_keys: further columns.

    Raises:
        UsageError: a layer or a column that is not there, with the nearest name.
        DataError: no counts in the layer, or a column that no condition can be made of.
    """
    found = Setup(layer, labels_key, batch_key, tuple(condition_keys))
    for key in found.keys:
        if key not in adata.obs:
            raise unknown_name("column of obs", key, [str(name) for name in adata.obs.columns])
    find_counts(adata, layer)
    conditions_of(adata, found, np.ones(len(adata)))
    adata.uns[KEY] = json.dumps(dataclasses.asdict(found))
