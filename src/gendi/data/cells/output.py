"""Decoded counts as an AnnData that has the same genes, categories and colours as the real data.

layers["counts"]     integer counts, sparse
X                    ln(1 + 1e4 k / L), L the cell's depth: scanpy's normalize_total(target_sum=1e4) and log1p
obs                  the conditions of each cell, under the names of the training data, and source = "gendi"
                     (gendi_source where the data have a column called source)
obsm["X_gendi"]      the cell in model space
uns["gendi"]         how the cells were drawn, and how many training cells each class has, as JSON

A cell is called gendi-SOURCE-SEED-NUMBER. SOURCE are eight hex digits for the model, the settings and the requested
conditions, so cells of different runs, seeds or requests can be joined, and the same cell always has the same name.
"""

import hashlib
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
    obs = pandas.DataFrame(index=pandas.Index(names_of(len(rows), cond, provenance)))
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


def names_of(n: int, cond: Mapping[str, NDArray[Any]], provenance: Mapping[str, Any]) -> list[str]:
    """Return the names of n drawn cells with these conditions; see the module's docstring.

    `provenance` has the seed, the number of the first cell, the source and the names of the requested conditions.
    """
    seed, first = provenance.get("seed", 0), int(provenance.get("first", 0))
    requested = {name: cond[name].tolist() for name in provenance.get("requested", ()) if name in cond}
    sources, names = dict[str, str](), list[str]()
    for i in range(n):
        told = json.dumps([provenance.get("source", ""), {name: rows[i] for name, rows in requested.items()}])
        if told not in sources:
            sources[told] = hashlib.sha256(told.encode()).hexdigest()[:8]
        names.append(f"gendi-{sources[told]}-{seed}-{first + i}")
    return names


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
