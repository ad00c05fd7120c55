"""Small AnnData with known counts, for the tests of cells."""

from typing import Any

import anndata
import numpy as np
import pandas as pd
import scipy.sparse as sp


def cells(n: int = 60, genes: int = 12, seed: int = 0) -> Any:
    """Return n cells: counts in X, sparse; classes B, A (in that order), a dose, a batch of few whole numbers."""
    rng = np.random.default_rng(seed)
    counts = rng.negative_binomial(2, 0.4, (n, genes)).astype(np.float32)
    counts[:, 0] += 1  # no cell is empty
    obs = pd.DataFrame(
        {
            "cell type": pd.Categorical(np.where(np.arange(n) % 3 == 0, "A", "B"), categories=["B", "gone", "A"]),
            "dose": rng.random(n),
            "batch": np.arange(n) % 2,
        },
        index=[f"cell{i}" for i in range(n)],
    )
    var = pd.DataFrame({"chromosome": ["1"] * genes}, index=[f"gene{i}" for i in range(genes)])
    return anndata.AnnData(
        sp.csr_matrix(counts), obs=obs, var=var, uns={"cell type_colors": ["#ff0000", "#000000", "#00ff00"]}
    )
