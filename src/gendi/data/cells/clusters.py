"""Clusters of cells without known classes: computed from the counts, and given to the network as a condition.

One negative binomial per gene describes all types of cells together badly, and linear factors do not repair this. So
cells without classes are divided into clusters: k-means in the factors of a copula of all cells
(`gendi.data.cells.factors`).

    number     K = sqrt(N) / 3, rounded, from 2 to 30, for N training cells; none for fewer than 100
    smallest   a cluster of fewer than 20 cells joins the one whose centre is nearest

The clusters take part as any other class: each has distributions of its own, which borrow from all cells, and samples
have them in the proportions of training. Cells beyond those that are clustered, and held-out cells, belong to the
cluster under whose distributions their counts, as independent negative binomials, are most likely.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline
from scipy.special import gammaln

from gendi.data.cells.codec import CellsCodec, DepthLaw, Header
from gendi.data.cells.config import CellsConfig
from gendi.data.cells.copula import CopulaCodec
from gendi.data.cells.fit import FIT_ENTRIES, counts_of, fit_copula, sparse_counts_of, variable_genes
from gendi.data.cells.marginals import Marginals, fit_marginals
from gendi.data.cells.normalise import depths
from gendi.data.codec import Codec
from gendi.data.dataset import Data
from gendi.data.split import Split, part_of
from gendi.data.standing import FEW, in_words, rare_of, rows_by_class
from gendi.diffusion.config import ConditionConfig
from gendi.diffusion.randomness import stream

NAME, OTHER_NAME = "cluster", "found-cluster"
FIELD = "found_clusters"
"""The field of a schema that names the condition with clusters."""
FEWEST_CELLS, SMALLEST = 100, 20
FEWEST, MOST = 2, 30
MOST_GENES = 2000
"""Most genes by which cells are clustered, the most variable ones."""
STARTS = 10
"""Starts of k-means, of which the best one counts."""
NODES = 100
"""Depths at which the probability of a cell without counts is computed."""
Labels = NDArray[np.int64]
Floats = NDArray[np.float64]


def number_of_clusters(cells: int, asked: int = -1) -> int:
    """Return how many clusters so many training cells are divided into, 0 for none; `asked` -1 is the rule above."""
    if asked >= 0:
        return asked if asked > 1 else 0
    return 0 if cells < FEWEST_CELLS else int(np.clip(round(np.sqrt(cells) / 3), FEWEST, MOST))


def grouped(
    data: Data, conditions: Sequence[ConditionConfig], options: CellsConfig, seed: int, before: Codec | None, own: bool
) -> Data:
    """Return data with clusters as a further condition, and a note on them; or the data as they are, if the conditions
    that the network is given have classes.

    Args:
        data: raw data.
        conditions: the conditions that the network is given.
        options: how many clusters; see `CellsConfig.clusters`.
        seed: the seed of the fit.
        before: the codec of a run that goes on, or that of the source of its weights; None for a new run.
        own: whether `before` is the codec of this run, so that it holds the clusters of the training cells.
    """
    kinds = {spec.name: spec.kind for spec in data.conditions}
    if any(kinds.get(spec.name) == "class" for spec in conditions):
        return data
    name = NAME if NAME not in kinds.keys() | data.left_out.keys() else OTHER_NAME
    if before is not None:
        if not isinstance(before, CellsCodec) or (known := before.header.schema.get(FIELD)) is None:
            return data
        return _as_before(data, str(known), before, own)
    clusters = number_of_clusters(len(data.train), options.clusters)
    if not clusters or len(data.train) < 2 * clusters:
        return data
    labels = cluster(data.train, clusters, options.factors, seed)
    names = tuple(str(k + 1) for k in range(int(labels.max()) + 1))
    marginals = marginals_of(data.train, labels, len(names))
    note = (
        f"no classes are given to the network, so the cells were divided into {len(names)} clusters, which it is given "
        f"as the condition {name}; --cells.clusters 0 turns this off, and --condition NAME gives classes of your own"
    )
    return _with_labels(data, name, names, labels, marginals, (note,))


def with_note_on_rare(data: Data, conditions: Sequence[ConditionConfig]) -> Data:
    """Return data with a note on the classes of few training cells among those that the network is given."""
    given = {spec.name for spec in conditions if spec.kind == "class"}
    known = rows_by_class([spec for spec in data.conditions if spec.name in given], data.train.conditions)
    notes = tuple(
        f"fewer than {FEW} training cells stand behind these classes of {name}: {in_words(few)}; where their cells do "
        "not say otherwise, their profiles are those of the classes that they are most like"
        for name, counts in known.items()
        if (few := rare_of(counts))
    )
    return replace(data, notes=(*data.notes, *notes)) if notes else data


def cluster(train: Split, clusters: int, factors: int, seed: int) -> Labels:
    """Return the clusters (N,) of training cells, numbered from the largest one; each has at least `SMALLEST` cells."""
    from sklearn.cluster import KMeans

    genes = variable_genes(train, MOST_GENES)
    rng = stream(seed, "clusters")
    chosen = np.sort(rng.permutation(len(train))[: max(1, FIT_ENTRIES // len(genes))])
    some = part_of(Split(train.rows), chosen)
    law = DepthLaw.fit(np.concatenate([depths(counts) for _, counts in sparse_counts_of(some)]))
    codec = fit_copula(factors, seed, some, Header(int(train.rows.shape[1]), None, {}), {}, law, genes, None)
    x = np.concatenate([_factors(codec, counts, rows) for rows, counts in counts_of(some)])
    found = KMeans(clusters, n_init=STARTS, random_state=int(rng.integers(2**31))).fit(x)
    mine = _joined(x, np.asarray(found.labels_, np.int64))
    if len(chosen) == len(train):
        return mine
    labels = most_likely(train, marginals_of(some, mine, int(mine.max()) + 1))
    labels[chosen] = mine
    return labels


def marginals_of(split: Split, labels: Labels, clusters: int) -> Marginals:
    """Return the distributions of the genes in each cluster of some cells with these labels (N,)."""
    parts = ((counts, labels[rows]) for rows, counts in sparse_counts_of(split))
    return fit_marginals(parts, clusters, int(split.rows.shape[1]))


def most_likely(split: Split, marginals: Marginals) -> Labels:
    """Return the cluster (N,) under whose distributions each cell's counts are most likely."""
    labels = np.empty(len(split), np.int64)
    depth = np.concatenate([depths(counts) for _, counts in sparse_counts_of(split)] or [np.zeros(0)])
    if not len(depth):
        return labels
    clusters = range(len(marginals.rates) - 1)
    of_zeros = [_all_zero(marginals.rates[k], marginals.dispersions[k], depth) for k in clusters]
    for rows, counts in sparse_counts_of(split):
        cells, genes = np.repeat(np.arange(counts.shape[0]), np.diff(counts.indptr)), counts.indices
        mine = depth[rows]
        likelihoods = []
        for k in clusters:
            ratios = _against_zero(
                counts.data, marginals.rates[k, genes] * mine[cells], marginals.dispersions[k, genes]
            )
            likelihoods.append(of_zeros[k][rows] + np.bincount(cells, ratios, counts.shape[0]))
        labels[rows] = np.argmax(likelihoods, axis=0)
    return labels


def _against_zero(counts: NDArray[Any], mu: Floats, dispersion: Floats) -> Floats:
    """Return ln P(k) / P(0) + ln k! of counts k > 0 (m,), by their negative binomials.

    That is k ln(mu / (1 + a mu)) + ln((1 + a) (1 + 2 a) ... (1 + (k - 1) a)).
    """
    out = counts * (np.log(mu) - np.log1p(dispersion * mu))
    several = np.flatnonzero(counts > 1)
    k, a = counts[several], dispersion[several]
    out[several] += gammaln(k + 1 / a) - gammaln(1 / a) + k * np.log(a)
    return np.asarray(out)


def _all_zero(rates: Floats, dispersions: Floats, depth: Floats) -> Floats:
    """Return the ln of the probability (n,) that every gene has the count 0, at depths (n,).

    It is a smooth function of ln L, and so computed at `NODES` depths, with a cubic spline between them.
    """
    logs = np.log(np.maximum(depth, 1.0))
    at = np.linspace(logs.min(), logs.max() + 1e-9, NODES)
    found = -(np.log1p(np.exp(at)[:, None] * (rates * dispersions)) / dispersions).sum(1)
    return np.asarray(CubicSpline(at, found)(logs))


def _factors(codec: CopulaCodec, counts: NDArray[Any], rows: slice) -> NDArray[np.float32]:
    index = torch.arange(rows.start, rows.stop)
    return np.asarray(codec.encode(torch.from_numpy(np.asarray(counts)), {}, index)[:, 1:].numpy())


def _joined(x: NDArray[Any], labels: Labels) -> Labels:
    """Return labels whose small clusters have joined the nearest ones, numbered from the largest one."""
    while True:
        sizes = np.bincount(labels)
        there = np.flatnonzero(sizes)
        small = there[np.argmin(sizes[there])]
        if sizes[small] >= SMALLEST or len(there) == 1:
            break
        others = there[there != small]
        centres = np.stack([x[labels == k].mean(0) for k in others])
        nearest = np.square(centres - x[labels == small].mean(0)).sum(1).argmin()
        labels = np.where(labels == small, others[nearest], labels)
    rank = np.empty(len(sizes), np.int64)
    rank[np.argsort(-sizes, kind="stable")] = np.arange(len(sizes))
    return np.asarray(rank[labels])


def _as_before(data: Data, name: str, before: CellsCodec, own: bool) -> Data:
    """Return data with the clusters of a run that goes on, or with those of the source of its weights."""
    told = before.training_conditions[name].numpy().astype(np.int64)
    clusters = int(told.max()) + 1
    names = tuple(str(k + 1) for k in range(clusters))
    if own and len(told) == len(data.train):
        return _with_labels(data, name, names, told, marginals_of(data.train, told, clusters), ())
    parts = (data.train, data.heldout)
    if isinstance(before, CopulaCodec):
        return _told(data, name, names, *(most_likely(part, before.marginals) for part in parts), notes=())
    return _told(data, name, names, *(np.full(len(part), -1, np.int64) for part in parts), notes=())


def _with_labels(
    data: Data, name: str, names: tuple[str, ...], labels: Labels, marginals: Marginals, notes: tuple[str, ...]
) -> Data:
    return _told(data, name, names, labels, most_likely(data.heldout, marginals), notes=notes)


def _told(
    data: Data, name: str, names: tuple[str, ...], train: Labels, heldout: Labels, *, notes: tuple[str, ...]
) -> Data:
    """Return data with a condition `name` whose rows are `train` and `heldout`."""
    return replace(
        data,
        train=replace(data.train, conditions={**data.train.conditions, name: train}),
        heldout=replace(data.heldout, conditions={**data.heldout.conditions, name: heldout}),
        conditions=(*data.conditions, ConditionConfig(name, "class", len(names), names=names)),
        schema={**(data.schema or {}), FIELD: name},
        notes=(*data.notes, *notes),
    )
