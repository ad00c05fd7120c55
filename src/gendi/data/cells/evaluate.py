"""Measure samples of cells, an AnnData or its file, against the cells that were held out of training.

Counts are compared as log1p of counts scaled to the real cells' median depth, their zeros and depths as they are; see
`gendi.evaluate.vectors` for what is measured and how far to trust it.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gendi.data.cells.read import matched, read_h5ad
from gendi.data.cells.rows import dense
from gendi.data.dataset import Data
from gendi.diffusion.config import ConditionConfig
from gendi.errors import DataError
from gendi.evaluate.result import Evaluation
from gendi.evaluate.vectors import LogCounts, RowSet, all_digests, evaluate_rows, loaded
from gendi.machine.stopping import Poll

COUNTS = "counts"


def evaluate(
    samples: Any,
    data: Data,
    *,
    n: int = 1000,
    seed: int = 0,
    ema: bool | None = None,
    source: Mapping[str, Any] | None = None,
    poll: Poll | None = None,
) -> Evaluation:
    """Measure up to n cells against as many held-out ones.

    Args:
        samples: an AnnData or the path of an .h5ad, with counts in `layers["counts"]` or in X; genes are matched by
            name, and the classes are those of the data's first class condition, by the same column of `obs`.
        data: the real cells, as `gendi.data.open_data` returns them.
        n, seed, ema, source, poll: see `gendi.evaluate.vectors.evaluate_rows`.

    Raises:
        UsageError: anndata is not installed, or what `evaluate_rows` raises.
        DataError: the samples have no counts, lack genes of the data, or hold negative, broken or not finite numbers.
    """
    adata = read_h5ad(str(samples), "no") if isinstance(samples, str | Path) else samples
    spec = next((spec for spec in data.conditions if spec.kind == "class"), None)
    fake = RowSet(_counts(adata, _genes(data), data.train.rows.shape[1]), _labels(adata, spec, data))
    real = [
        loaded(part, None if spec is None else part.conditions[spec.name], seed, f"evaluated {name} rows")
        for name, part in (("training", data.train), ("heldout", data.heldout))
    ]
    return evaluate_rows(
        fake,
        *real,
        space=LogCounts.fit,
        n=n,
        seed=seed,
        name=data.name,
        fingerprint=data.fingerprint,
        known=all_digests(data.train, poll),
        classes=() if spec is None else spec.names,
        ema=ema,
        source=source,
        poll=poll,
    )


def _genes(data: Data) -> Sequence[str] | None:
    genes = data.schema.get("genes") if isinstance(data.schema, Mapping) else None
    return None if genes is None else [str(gene) for gene in genes]


def _counts(adata: Any, genes: Sequence[str] | None, wanted: int) -> NDArray[np.int64]:
    """Return the samples' counts (n, G), genes in the data's order."""
    place = f"layers[{COUNTS!r}]" if COUNTS in adata.layers else "X"
    matrix = adata.layers.get(COUNTS, adata.X)
    if matrix is None:
        raise DataError("The samples have neither a layer 'counts' nor an X: there is nothing to measure.")
    names = [str(gene) for gene in adata.var_names]
    if genes is None and len(names) != wanted:
        raise DataError(f"The samples have {len(names)} genes, the data {wanted}.")
    genes = names if genes is None else genes
    found = matched(dense(matrix), names, genes)
    bad = ~np.isfinite(found) | (found < 0) | (found != np.rint(np.nan_to_num(found)))
    if bad.any():
        i, j = np.argwhere(bad)[0]
        raise DataError(
            f"The samples' {place} hold {int(bad.sum()):,} numbers that are no counts, such as {found[i, j]:g} in cell "
            f"{i}, gene {genes[j]!r}. Measuring needs whole numbers of 0 or more: put them into "
            f"layers[{COUNTS!r}]."
        )
    return found.astype(np.int64)


def _labels(adata: Any, spec: ConditionConfig | None, data: Data) -> NDArray[np.int64] | None:
    """Return the samples' classes by number; None where they have no such column or a cell without a known class."""
    if spec is None:
        return None
    schema = data.schema if isinstance(data.schema, Mapping) else {}
    found = schema.get("obs", {}).get(spec.name, spec.name)
    if found not in adata.obs:
        return None
    numbers = {name: i for i, name in enumerate(spec.names)}
    values = [str(value) for value in adata.obs[found]]
    if strange := sorted(set(values) - numbers.keys()):
        raise DataError(
            f"The samples' obs[{found!r}] has {strange[0]!r}, which is no class of the data; there are "
            f"{', '.join(spec.names[:10])}."
        )
    return np.array([numbers[value] for value in values], np.int64)
