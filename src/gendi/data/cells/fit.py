"""Fitting the codec that `cells.model` names to the training cells, chunk by chunk.

Highly variable genes (`cells.genes`) are those whose Pearson residuals vary most under one negative binomial of
dispersion 1/100 for all cells, r = (k - mu) / sqrt(mu + mu^2 / 100) with mu = p_g L, clipped at sqrt(N).
[Lause, Berens & Kobak 2021] They are a mask: every gene stays in the data and in the samples.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gendi.data.cells.autoencoder import LatentCodec, fit_latent
from gendi.data.cells.codec import CHUNK, CellsCodec, DepthLaw, Header, chunks
from gendi.data.cells.config import CellsConfig
from gendi.data.cells.copula import CopulaCodec, bounds, most_draws, programmes_of
from gendi.data.cells.factors import Factors, fit_factors
from gendi.data.cells.levels import Levels, fit_levels, named
from gendi.data.cells.log_space import LogCodec, fit_log
from gendi.data.cells.main_class import main_condition
from gendi.data.cells.marginals import Marginals, sums_of
from gendi.data.cells.normalise import depths
from gendi.data.cells.rows import sparse_rows
from gendi.data.cells.shrinkage import borrow
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
SHIFT_CELLS = 200
"""Most cells of a class whose factors are shifted."""
RESIDUAL_DISPERSION = 0.01
"""Dispersion for the residuals by which highly variable genes are chosen."""
CODECS: dict[str, type[CellsCodec]] = {codec.kind: codec for codec in (CopulaCodec, LogCodec, LatentCodec)}
"""The codecs of cells by their kind."""


def fit(data: Data, conditions: Sequence[ConditionConfig], seed: int, options: CellsConfig) -> CellsCodec:
    """Fit the codec of `options.model` to the training cells of raw data, deterministic by the seed.

    Of the `copula`, classes are those of the condition that tells most about the counts
    (`gendi.data.cells.main_class`), otherwise those of the first condition of the kind `class`.

    Raises:
        DataError: there are no cells, no genes, or no counts at all.
    """
    train = data.train
    if not len(train) or not train.rows.shape[1]:
        raise DataError(f"{data.name} has no cells to train on: {len(train)} cells, {train.rows.shape[1]} genes.")
    if options.model == "copula":
        label = main_condition(train, conditions, stream(seed, "main condition"))
    else:
        label = next((spec for spec in conditions if spec.kind == "class"), None)
    others = named(conditions, label.name) if options.model == "copula" and label is not None else {}
    header = Header(int(train.rows.shape[1]), None if label is None else label.name, dict(data.schema or {}), others)
    depth = np.concatenate([depths(counts) for _, counts in sparse_counts_of(train)])
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
    parts = ((counts, None if labels is None else labels[rows]) for rows, counts in sparse_counts_of(train))
    sums, levels = sums_of(parts, 0 if label is None else label.size, header.genes), Levels()
    others = {name: np.asarray(train.conditions[name], np.int64) for name in header.others}
    if others:
        levels, sums = fit_levels(lambda: sparse_counts_of(train), labels, others, header.others, sums)
    borrowed = borrow(sums)
    rng = stream(seed, "cell factors")
    most = max(1, FIT_ENTRIES // len(modelled))
    some = np.sort(rng.permutation(len(train))[:most])
    counts = train.batch(some)
    factor = levels.of({name: of[some] for name, of in others.items()}, len(some), modelled)
    own = None if labels is None else labels[some]
    lower, upper = bounds(borrowed.marginals, counts, own, depths(counts), modelled, factor)
    fitted = fit_factors(lower, upper, min(factors, len(modelled)), rng)
    if label is not None:
        borrowed = borrow(sums, programmes(fitted, borrowed.marginals, modelled, float(np.exp(law.mean))))
    codec = CopulaCodec(header, cond, law, borrowed.marginals, fitted, modelled, borrowed.posterior, levels=levels)
    codec.draws = most_draws(len(train))
    if label is not None and labels is not None:
        codec.shift = class_shifts(codec, train, labels, label, borrowed.relatives)
    return codec


def programmes(
    factors: Factors, marginals: Marginals, modelled: NDArray[np.int64], depth: float
) -> NDArray[np.float64]:
    """Return `programmes_of` all genes (G, k), 0 for those without factors, under the distribution of all cells
    together."""
    out = np.zeros((marginals.rates.shape[1], factors.loadings.shape[1]))
    out[modelled] = programmes_of(factors, marginals.rates[-1, modelled], marginals.dispersions[-1, modelled], depth)
    return out


def class_shifts(
    codec: CopulaCodec,
    train: Split,
    labels: NDArray[np.int64],
    label: ConditionConfig,
    relatives: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Return what the factors of each class lose (K + 1, k), so that their mean is shrunk; see `copula`.

    Classes without a relative lose nothing, and neither do those of more than `SHIFT_CELLS` cells: the means of the
    former are 0 by their distributions, and the means of the latter are well known.
    """
    out = np.zeros_like(codec.shift)
    k = out.shape[1]
    for c in np.flatnonzero(relatives >= 0):
        members = np.flatnonzero(labels == c)
        if not 0 < len(members) <= SHIFT_CELLS:
            continue
        given = {label.name: torch.from_numpy(labels[members])}
        given |= {name: torch.from_numpy(train.conditions[name][members]) for name in codec.header.others}
        counts = torch.from_numpy(np.asarray(train.batch(members)))
        f = codec.encode(counts, given, torch.from_numpy(members))[:, 1:]
        mean = f.double().numpy().mean(0)
        kept = max(0.0, 1 - max(k - 2, 0) / (len(members) * max(float(mean @ mean), 1e-12)))
        out[c] = (1 - kept) * mean
    return out


def counts_of(split: Split) -> Iterator[tuple[slice, NDArray[Any]]]:
    """Yield the rows of a split chunk by chunk, as (slice, counts)."""
    for rows in chunks(len(split), FIT_CHUNK):
        yield rows, split.batch(range(rows.start, rows.stop))


def sparse_counts_of(split: Split) -> Iterator[tuple[slice, Any]]:
    """Yield the rows of a split chunk by chunk, as (slice, sparse counts)."""
    for rows in chunks(len(split), FIT_CHUNK):
        yield rows, sparse_rows(split.rows, rows)


def sum_of_rows(split: Split) -> NDArray[np.float64]:
    """Return the sum (G,) of all rows."""
    parts = (np.asarray(counts.sum(0, dtype=np.float64)).reshape(-1) for _, counts in sparse_counts_of(split))
    return sum(parts, np.zeros(int(split.rows.shape[1])))


def variable_genes(split: Split, most: int) -> NDArray[np.int64]:
    """Return the columns of the most variable genes, in their order: `most` of them, but at most `MOST_GENES`."""
    genes = int(split.rows.shape[1])
    most = min(most, MOST_GENES)
    if genes <= most:
        return np.arange(genes, dtype=np.int64)
    total = sum_of_rows(split)
    rates = total / max(1.0, total.sum())
    sums, squares = np.zeros(genes), np.zeros(genes)
    for rows in chunks(len(split), CHUNK):
        counts = sparse_rows(split.rows, rows)
        mu = rates * depths(counts)[:, None]
        squared = np.minimum(mu / (1 + mu * RESIDUAL_DISPERSION), len(split))  # r^2 of a count of 0
        sums -= np.sqrt(squared).sum(0)
        squares += squared.sum(0)
        cells, columns = np.repeat(np.arange(len(mu)), np.diff(counts.indptr)), counts.indices
        own, zero = mu[cells, columns], squared[cells, columns]
        r = (counts.data - own) / np.sqrt(np.maximum(own + own**2 * RESIDUAL_DISPERSION, 1e-12))
        r = r.clip(-np.sqrt(len(split)), np.sqrt(len(split)))
        sums += np.bincount(columns, r + np.sqrt(zero), genes)
        squares += np.bincount(columns, np.square(r) - zero, genes)
    excess = squares / len(split) - np.square(sums / len(split))
    return np.sort(np.argsort(-excess, kind="stable")[:most]).astype(np.int64)
