"""The demo data that come with scanpy: 700 blood cells, 765 genes, 10 labels (`obs["bulk_labels"]`).

The packaged `pbmc68k_reduced` holds log-normalised expression in `raw`, and the depths in `obs["n_counts"]`. From these
the counts are computed exactly:

    k = rint(expm1(raw.X) n_counts / 1e4).

If a version of scanpy packages `layers["counts"]`, that layer is used.
"""

import hashlib
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from gendi.data.cells.extra import require
from gendi.data.cells.rows import dense
from gendi.errors import DataError

DEMO = "pbmc68k"
SHA256 = "3d4d4e447698e0ea34d60127e2c8c4893d4d0b4ab07868aad1a0b9145e4b0d0e"
"""The hash of the counts as little-endian int32, row by row."""


def demo_anndata() -> Any:
    """Return the demo data as an AnnData with counts in X, and with the obs and var of scanpy.

    Raises `UsageError` if scanpy is not installed, and `DataError` if its data are not the known ones.
    """
    packaged = require("scanpy").datasets.pbmc68k_reduced()
    counts = demo_counts(packaged)
    found = hashlib.sha256(counts.astype("<i4").tobytes()).hexdigest()
    if found != SHA256:
        raise DataError(
            f"The demo data of this scanpy are not the known ones: SHA-256 of counts {found[:12]}, not {SHA256[:12]}. "
            "Use scanpy 1.10 or 1.11, or data of your own."
        )
    anndata = require("anndata")
    uns = {key: value for key, value in packaged.uns.items() if key.endswith("_colors")}
    obs, var = packaged.obs.copy(), packaged.raw.var.copy()
    return anndata.AnnData(sp.csr_matrix(counts), obs=obs, var=var, uns=uns)


def demo_counts(packaged: Any) -> NDArray[np.int32]:
    """Return the counts (700, 765) of scanpy's packaged data."""
    if "counts" in packaged.layers:
        return np.ascontiguousarray(dense(packaged.layers["counts"]), np.int32)
    logs = dense(packaged.raw.X).astype(np.float64)
    depth = np.asarray(packaged.obs["n_counts"], np.float64)
    return np.ascontiguousarray(np.rint(np.expm1(logs) * depth[:, None] / 1e4), np.int32)
