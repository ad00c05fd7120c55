"""Decoded counts as an AnnData that has the same genes, categories and colours as the real data.

layers["counts"]     integer counts, sparse
X                    ln(1 + 1e4 k / L), L the cell's depth: scanpy's normalize_total(target_sum=1e4) and log1p
obs                  the conditions of each cell, under the names of the training data, and source = "gendi"
                     (gendi_source where the data have a column called source)
obsm["X_gendi"]      the cell in model space
uns["gendi"]         how the cells were drawn, and how many training cells each class has, as JSON
"""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from gendi.data.cells.codec import CellsCodec
from gendi.data.cells.extra import require
from gendi.data.cells.normalise import SCALE
from gendi.data.cells.observations import column_of
from gendi.data.codec import Codec
from gendi.data.standing import rows_by_class
from gendi.diffusion.config import ConditionConfig
from gendi.storage.disk import disk_error, require_space
from gendi.storage.files import sync_folder, temporary_name

SOURCE, KEY, LATENT = "gendi", "gendi", "X_gendi"


def present(
    codec: Codec,
    rows: NDArray[Any],
    cond: Mapping[str, NDArray[Any]],
    specs: Sequence[ConditionConfig],
    latent: NDArray[Any],
    provenance: Mapping[str, Any],
) -> Any:
    """Return counts (n, G) as an AnnData; `latent` (n, D) are the cells in model space, `cond` their conditions."""
    anndata, pandas = require("anndata"), require("pandas")
    assert isinstance(codec, CellsCodec)
    schema = codec.header.schema
    first = int(provenance.get("first", 0))
    names = [f"gendi-{provenance.get('seed', 0)}-{first + i}" for i in range(len(rows))]
    obs = pandas.DataFrame(index=pandas.Index(names))
    colors = {}
    for spec in specs:
        key = schema["obs"].get(spec.name, spec.name)
        if spec.name in cond:
            obs[key] = column_of(spec, cond[spec.name], schema.get("forms", {}).get(key), pandas)
            if key in schema["colors"] and spec.kind == "class":
                colors[f"{key}_colors"] = list(schema["colors"][key])
    obs["gendi_source" if "source" in obs else "source"] = pandas.Categorical([SOURCE] * len(rows))
    var = pandas.DataFrame(schema["var"], index=pandas.Index(schema["genes"]))
    counts = sp.csr_matrix(rows.astype(np.int32))
    behind = rows_by_class(specs, codec.training_conditions)
    uns = {KEY: json.dumps({**provenance, "training_cells": behind}, default=str), **colors}
    return anndata.AnnData(
        _log_normalised(counts), obs=obs, var=var, layers={"counts": counts}, obsm={LATENT: latent}, uns=uns
    )


def with_counts(counts: NDArray[Any], obs: Any, var: Any, uns: Mapping[str, Any]) -> Any:
    """Return cells as an AnnData in the form of samples: counts (n, G) as a layer, and their logarithms in X."""
    sparse = sp.csr_matrix(counts.astype(np.int32))
    return require("anndata").AnnData(
        _log_normalised(sparse), obs=obs, var=var, layers={"counts": sparse}, uns=dict(uns)
    )


def _log_normalised(counts: Any) -> Any:
    depth = np.asarray(counts.sum(1), np.float64).reshape(-1)
    scaled = sp.diags(SCALE / np.maximum(depth, 1.0)) @ counts.astype(np.float64)
    return sp.csr_matrix(scaled).log1p().astype(np.float32)


def write(path: Path, adata: Any) -> None:
    """Write an AnnData as an .h5ad, whole or not at all. Raises `ResourceError` if the disk is full or fails."""
    needed = adata.layers["counts"].nnz * 16 if "counts" in adata.layers else 0
    temporary = temporary_name(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        require_space(path.parent, needed)
        try:
            adata.write_h5ad(temporary, compression="gzip")
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
            sync_folder(path.parent)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise disk_error(error, path, needed) from error
