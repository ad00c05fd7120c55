"""Evaluation of sampled cells, an AnnData or its file, against the cells that were held out of training.

Cells are compared by log1p of their counts, scaled to the median depth of the real cells; zeros and depths are compared
as they are. `gendi.evaluate.vectors` describes the metrics and how far to trust them.
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
from gendi.evaluate.vectors import LogCounts, Privacy, RowSet, all_digests, evaluate_rows, loaded, privacy_of_rows
from gendi.evaluate.vectors.progress import Tell
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
    tell: Tell | None = None,
) -> Evaluation:
    """Evaluate up to n cells against as many held-out ones.

    Args:
        samples: an AnnData or the path of an .h5ad, with counts in `layers["counts"]` or in X. Genes are matched by
            name. Classes come from the column of `obs` behind the first class condition of the data.
        data: the real cells, as `gendi.data.open_data` returns them.
        n, seed, ema, source, poll, tell: see `gendi.evaluate.vectors.evaluate_rows`.

    Raises:
        UsageError: anndata is not installed, or `evaluate_rows` raises it.
        DataError: the samples have no counts, lack genes of the data, or hold numbers that are not counts.
    """
    spec = next((spec for spec in data.conditions if spec.kind == "class"), None)
    return evaluate_rows(
        *_sets(samples, data, spec, seed),
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
        tell=tell,
    )


def privacy(samples: Any, data: Data, *, seed: int = 0, poll: Poll | None = None) -> Privacy:
    """Attack sampled cells; see `gendi.evaluate.vectors.privacy`. Arguments and errors are those of `evaluate`."""
    return privacy_of_rows(
        *_sets(samples, data, None, seed),
        space=LogCounts.fit,
        known=all_digests(data.train, poll),
        training=len(data.train),
        seed=seed,
        name=data.name,
        poll=poll,
    )


def _sets(samples: Any, data: Data, spec: ConditionConfig | None, seed: int) -> list[RowSet]:
    """Return the counts of samples and of some thousands of training and held-out cells, with classes by `spec`."""
    adata = read_h5ad(str(samples), "no") if isinstance(samples, str | Path) else samples
    fake = RowSet(_counts(adata, _genes(data), data.train.rows.shape[1]), _labels(adata, spec, data))
    real = [
        loaded(part, None if spec is None else part.conditions[spec.name], seed, f"evaluated {name} rows")
        for name, part in (("training", data.train), ("heldout", data.heldout))
    ]
    return [fake, *real]


def _genes(data: Data) -> Sequence[str] | None:
    genes = data.schema.get("genes") if isinstance(data.schema, Mapping) else None
    return None if genes is None else [str(gene) for gene in genes]


def _counts(adata: Any, genes: Sequence[str] | None, number: int) -> NDArray[np.int64]:
    """Return the counts (n, G) of samples, with the genes in the order of the data; `number` is that of their genes."""
    place = f"layers[{COUNTS!r}]" if COUNTS in adata.layers else "X"
    matrix = adata.layers.get(COUNTS, adata.X)
    if matrix is None:
        raise DataError("The samples have neither a layer 'counts' nor an X: there is nothing to evaluate.")
    names = [str(gene) for gene in adata.var_names]
    if genes is None and len(names) != number:
        raise DataError(f"The samples have {len(names)} genes, the data {number}.")
    genes = names if genes is None else genes
    found = matched(dense(matrix), names, genes)
    bad = ~np.isfinite(found) | (found < 0) | (found != np.rint(np.nan_to_num(found)))
    if bad.any():
        i, j = np.argwhere(bad)[0]
        raise DataError(
            f"The samples' {place} holds {int(bad.sum()):,} numbers that are not counts, such as {found[i, j]:g} in "
            f"cell {i}, gene {genes[j]!r}. An evaluation needs whole numbers of 0 or more: put them into "
            f"layers[{COUNTS!r}]."
        )
    return found.astype(np.int64)


def _labels(adata: Any, spec: ConditionConfig | None, data: Data) -> NDArray[np.int64] | None:
    """Return the numbers of the samples' classes; None if the data have no classes or the samples no such column.

    Raises `DataError` for a class that the data do not have.
    """
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
            f"The samples' obs[{found!r}] has {strange[0]!r}, which is not a class of the data; the classes are "
            f"{', '.join(spec.names[:10])}."
        )
    return np.array([numbers[value] for value in values], np.int64)
