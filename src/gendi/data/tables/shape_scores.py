"""Two scores of tables as the package SDMetrics defines them, so that figures can be set beside those of others.

    column-shapes    mean over columns: numbers and dates 1 - D of Kolmogorov and Smirnov, words and truth values 1 -
                     the total variation of their shares; missing cells are left out
    pair-trends      mean over pairs: two numbers 1 - |r - r'| / 2 with Pearson's correlations of real rows and
                     samples, other pairs 1 - the total variation of their joint shares, missing cells being a word;
                     beside a word, a number is cut into ten bins between the ends of its own set

Both are 1 for equal tables. They see one column or two at a time, so tables that differ in three columns at once have 1
too: metrics with gates say more.  [SDMetrics, Quality Report: Column Shapes and Column Pair Trends]
"""

import itertools
from collections.abc import Callable

import numpy as np
from jaxtyping import Float64, Int64
from scipy.stats import ks_2samp

from gendi.data.tables.schema import Schema
from gendi.diffusion.randomness import stream
from gendi.evaluate.intervals import group_halves, halves, halves_error, measured, of_groups
from gendi.evaluate.result import Estimate, Metric

SPLITS, BINS = 10, 10
Rows = Float64[np.ndarray, "_ g"]
Groups = Int64[np.ndarray, " _"]
Column = Float64[np.ndarray, " _"]
Score = Callable[[Rows, Rows, Schema], float]


def column_shapes(real: Rows, fake: Rows, schema: Schema) -> float:
    """Return the mean score of columns; NaN without one that can be compared."""
    found = [_shape(a[~np.isnan(a)], b[~np.isnan(b)], _discrete(schema, j)) for j, a, b in _columns(real, fake)]
    return _mean(found)


def pair_trends(real: Rows, fake: Rows, schema: Schema) -> float:
    """Return the mean score of pairs of columns; NaN without one that can be compared."""
    words = [_discrete(schema, j) for j in range(real.shape[1])]
    binned = [[_codes(column, words[j]) for j, column in enumerate(rows.T)] for rows in (real, fake)]
    found = []
    for i, j in itertools.combinations(range(real.shape[1]), 2):
        if words[i] or words[j]:
            found.append(_agreement([(of[i], of[j]) for of in binned]))
        else:
            found.append(_correlations(real[:, [i, j]], fake[:, [i, j]]))
    return _mean(found)


SCORES: dict[str, Score] = {"column-shapes": column_shapes, "pair-trends": pair_trends}


def scored(
    samples: Rows, train: Rows, heldout: Rows, schema: Schema, n: int, seed: int, groups: Groups | None = None
) -> tuple[Metric, ...]:
    """Return both scores of n samples against n held-out rows, with n training rows in their place as the floor.

    With the `groups` of held-out rows, intervals draw whole groups anew; see `gendi.evaluate.vectors.errors`.
    """
    rng = stream(seed, "shape scores")
    some = [rng.permutation(len(z))[:n] for z in (samples, train, heldout)]
    rows, real, reference = (z[chosen] for z, chosen in zip((samples, train, heldout), some, strict=True))
    of = None if groups is None else groups[some[2]]
    of = None if of is None or len(np.unique(of)) < 2 else of
    found = []
    for name, score in SCORES.items():
        value, floor = (_estimate(score, z, reference, schema, seed, of) for z in (rows, real))
        if value is not None and floor is not None:
            found.append(Metric.of(name, value, floor, "higher"))
    return tuple(found)


def _estimate(
    score: Score, rows: Rows, reference: Rows, schema: Schema, seed: int, groups: Groups | None
) -> Estimate | None:
    value = score(reference, rows, schema)
    if np.isnan(value):
        return None
    own, purpose = halves(len(rows), SPLITS, seed, "halves of x"), "halves of y"
    others = (
        halves(len(reference), SPLITS, seed, purpose) if groups is None else group_halves(groups, SPLITS, seed, purpose)
    )
    pairs = [
        [score(reference[b], rows[a], schema) for a, b in zip(x, y, strict=True)]
        for x, y in zip(own, others, strict=True)
    ]
    quantile = of_groups(None if groups is None else len(np.unique(groups)))
    return measured(value, halves_error(np.array(pairs), quadratic=False), least=0, most=1, quantile=quantile)


def _columns(real: Rows, fake: Rows) -> list[tuple[int, Column, Column]]:
    return [(j, real[:, j], fake[:, j]) for j in range(real.shape[1])]


def _discrete(schema: Schema, j: int) -> bool:
    return schema.columns[j].kind in ("category", "boolean")


def _shape(a: Column, b: Column, discrete: bool) -> float:
    if not len(a) or not len(b):
        return np.nan
    if not discrete:
        return 1 - float(ks_2samp(a, b, method="asymp").statistic)
    words = np.union1d(a, b)
    shares = [np.bincount(np.searchsorted(words, x), minlength=len(words)) / len(x) for x in (a, b)]
    return 1 - float(np.abs(shares[0] - shares[1]).sum()) / 2


def _codes(column: Column, discrete: bool) -> Int64[np.ndarray, " _"]:
    """Return whole numbers for the cells of a column: those of words, -1 if missing, or those of bins."""
    if discrete:
        return np.where(np.isnan(column), -1, column).astype(np.int64)
    known = column[~np.isnan(column)]
    edges = np.histogram_bin_edges(known, BINS) if len(known) else np.zeros(1)
    return np.asarray(np.digitize(column, edges), np.int64)


def _agreement(tables: list[tuple[np.ndarray, np.ndarray]]) -> float:
    both = np.concatenate([np.stack(pair, 1) for pair in tables])
    _, code = np.unique(both, axis=0, return_inverse=True)
    parts = np.split(code.reshape(-1), [len(tables[0][0])])
    shares = [np.bincount(part, minlength=int(code.max()) + 1) / len(part) for part in parts]
    return 1 - float(np.abs(shares[0] - shares[1]).sum()) / 2


def _correlations(real: Rows, fake: Rows) -> float:
    r = []
    for rows in (real, fake):
        known = rows[~np.isnan(rows).any(axis=1)]
        if len(known) < 2 or (known == known[:1]).all(axis=0).any():
            return np.nan
        r.append(float(np.corrcoef(known.T)[0, 1]))
    return 1 - abs(r[0] - r[1]) / 2


def _mean(values: list[float]) -> float:
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")
