"""Fitting the codec that `cells.model` names to the training cells, chunk by chunk.

Highly variable genes (`cells.genes`) are those whose Pearson residuals vary most under one negative binomial of
dispersion 1/100 for all cells, r = (k - mu) / sqrt(mu + mu^2 / 100) with mu = p_g L, clipped at sqrt(N).
[Lause, Berens & Kobak 2021] They are a mask: every gene stays in the data and in the samples.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gendi.data.cells.autoencoder import LatentCodec, fit_latent
from gendi.data.cells.codec import CellsCodec, DepthLaw, Header, chunks
from gendi.data.cells.config import CellsConfig
from gendi.data.cells.copula import CopulaCodec, bounds
from gendi.data.cells.factors import fit_factors
from gendi.data.cells.log_space import LogCodec, fit_log
from gendi.data.cells.marginals import fit_marginals
from gendi.data.cells.normalise import depths
from gendi.data.dataset import Data
from gendi.data.split import Split
from gendi.data.vectors import training_conditions
from gendi.diffusion.config import ConditionConfig
from gendi.diffusion.randomness import stream
from gendi.errors import DataError

FIT_CHUNK = 1024
FIT_ENTRIES = 6_000_000
"""Most scores (cells times genes) to which loadings are fitted."""
MOST_GENES = 4000
"""Most genes that share factors or a log space."""
RESIDUAL_DISPERSION = 0.01
"""Dispersion for the residuals by which highly variable genes are chosen."""
CODECS: dict[str, type[CellsCodec]] = {codec.kind: codec for codec in (CopulaCodec, LogCodec, LatentCodec)}
"""The codecs of cells by their kind."""


def fit(data: Data, conditions: Sequence[ConditionConfig], seed: int, options: CellsConfig) -> CellsCodec:
    """Fit the codec of `options.model` to the training cells of raw data, deterministic by the seed.

    Classes are those of the first condition of the kind `class`.

    Raises:
        DataError: there are no cells, no genes, or no counts at all.
    """
    train = data.train
    if not len(train) or not train.rows.shape[1]:
        raise DataError(f"{data.name} has no cells to train on: {len(train)} cells, {train.rows.shape[1]} genes.")
    label = next((spec for spec in conditions if spec.kind == "class"), None)
    header = Header(int(train.rows.shape[1]), None if label is None else label.name, dict(data.schema or {}))
    depth = np.concatenate([depths(counts) for _, counts in counts_of(train)])
    if not depth.any():
        raise DataError(f"Every cell of {data.name} is empty: there is no count but 0.")
    cond = training_conditions(conditions, train.conditions)
    modelled = variable_genes(train, options.genes or header.genes)
    law = DepthLaw.fit(depth[depth > 0])
    match options.model:
        case "copula":
            return fit_copula(options.factors, seed, train, header, cond, law, modelled, label)
        case "log":
            return fit_log(header, cond, law, modelled, (counts for _, counts in counts_of(train)))
        case "latent":
            return fit_latent(header, cond, law, modelled, train, options.factors, seed)


def fit_copula(
    factors: int,
    seed: int,
    train: Split,
    header: Header,
    cond: Any,
    law: DepthLaw,
    modelled: NDArray[np.int64],
    label: ConditionConfig | None,
) -> CopulaCodec:
    """Return the copula of training cells; classes are those of the condition `label`, if there is one.

    `modelled` are the columns of the genes that share `factors` factors; `cond` are the conditions that the codec
    remembers; `law` is that of depths.
    """
    labels = None if label is None else np.asarray(train.conditions[label.name], np.int64)
    parts = ((counts, None if labels is None else labels[rows]) for rows, counts in counts_of(train))
    marginals = fit_marginals(parts, 0 if label is None else label.size, header.genes)
    rng = stream(seed, "cell factors")
    most = max(1, FIT_ENTRIES // len(modelled))
    some = np.sort(rng.permutation(len(train))[:most])
    counts = train.batch(some)
    lower, upper = bounds(marginals, counts, None if labels is None else labels[some], depths(counts), modelled)
    k = min(factors, len(modelled))
    return CopulaCodec(header, cond, law, marginals, fit_factors(lower, upper, k, rng), modelled)


def counts_of(split: Split) -> Iterator[tuple[slice, NDArray[Any]]]:
    """Yield the rows of a split chunk by chunk, as (slice, counts)."""
    for rows in chunks(len(split), FIT_CHUNK):
        yield rows, split.batch(range(rows.start, rows.stop))


def variable_genes(split: Split, most: int) -> NDArray[np.int64]:
    """Return the columns of the most variable genes, in their order: `most` of them, but at most `MOST_GENES`."""
    genes = int(split.rows.shape[1])
    most = min(most, MOST_GENES)
    if genes <= most:
        return np.arange(genes, dtype=np.int64)
    total = sum((counts.sum(0, dtype=np.float64) for _, counts in counts_of(split)), np.zeros(genes))
    rates = total / max(1.0, total.sum())
    sums, squares = np.zeros(genes), np.zeros(genes)
    for _, counts in counts_of(split):
        mu = rates * depths(counts)[:, None]
        r = (counts - mu) / np.sqrt(np.maximum(mu + mu**2 * RESIDUAL_DISPERSION, 1e-12))
        r = r.clip(-np.sqrt(len(split)), np.sqrt(len(split)))
        sums += r.sum(0)
        squares += np.square(r).sum(0)
    excess = squares / len(split) - np.square(sums / len(split))
    return np.sort(np.argsort(-excess, kind="stable")[:most]).astype(np.int64)
