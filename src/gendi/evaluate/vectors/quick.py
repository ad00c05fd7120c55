"""The quick metrics of rows: the energy distance and the train-likeness in the principal components of real rows."""

from collections.abc import Callable

import numpy as np

from gendi.diffusion.randomness import stream
from gendi.errors import DataError
from gendi.evaluate.gauge import (
    FEWEST_HELD_OUT,
    REFERENCE_MOST,
    Distance,
    FeatureGauge,
    TrainLikeness,
    energy_of_pairs,
    nearest_rows,
)
from gendi.evaluate.vectors.rows import TRAIN_MOST, RowSource
from gendi.evaluate.vectors.space import LogCounts, Raw, Space, Standardised, World

RECORDS_MOST, ELEMENTS_MOST = 50_000, 1 << 26
"""Most training rows, and most numbers in them, among which the nearest is searched."""
BLOCK = 2048

ToNumbers = Callable[[np.ndarray], Raw]
"""A function from rows as a split holds them to finite numbers (n, g)."""


def row_gauge(
    train: RowSource,
    heldout: RowSource,
    seed: int,
    *,
    space: Callable[[Raw], Space] | None = None,
    numbers: ToNumbers | None = None,
) -> FeatureGauge:
    """Return the quick metrics of rows like those of two splits.

    Args:
        train: the training rows.
        heldout: rows of the same kind that are not trained on.
        seed: the seed of the subsets of both.
        space: fits a map to features to pooled real rows; see `gendi.evaluate.vectors.rows.evaluate_rows`.
        numbers: turns rows into finite numbers; by default rows are flattened, and what is not finite becomes 0.

    Raises:
        DataError: fewer than 3 rows, or rows that are all the same.
    """
    numbers = numbers or flat
    real = numbers(train.batch(_some(train, min(TRAIN_MOST, RECORDS_MOST), seed)))
    others = numbers(heldout.batch(_some(heldout, REFERENCE_MOST, seed)))
    if len(real) < 3:
        raise DataError(f"{len(real)} training rows are too few to measure samples with: at least 3 are needed.")
    pooled = np.concatenate([real, others])
    world = World.fit((space or _space)(pooled), pooled, seed)

    def features(rows: np.ndarray) -> np.ndarray:
        starts = range(0, len(rows), BLOCK)
        return np.concatenate([_components(world, numbers(rows[i : i + BLOCK])) for i in starts])

    held = _components(world, others)
    distance = Distance("energy", energy_of_pairs, _components(world, real[:REFERENCE_MOST]), held)
    if len(held) < FEWEST_HELD_OUT:
        return FeatureGauge(distance, features, None)
    most = min(RECORDS_MOST, max(TRAIN_MOST, ELEMENTS_MOST // real.shape[1]))
    chosen = _some(train, most, seed)
    blocks = [features(train.batch(chosen[i : i + BLOCK])) for i in range(0, len(chosen), BLOCK)]
    records = np.concatenate(blocks)
    each = 2.0 * records.size + 10 * len(records)
    likeness = TrainLikeness(nearest_rows(records), nearest_rows(held), held, each)
    return FeatureGauge(distance, features, likeness, work=2.0 * real.shape[1] * held.shape[1])


def flat(rows: np.ndarray) -> Raw:
    """Return rows (n, ...) as (n, g), with 0 in the place of numbers that are not finite."""
    out = rows.reshape(len(rows), -1)
    return np.nan_to_num(out, nan=0.0, posinf=0.0, neginf=0.0) if np.issubdtype(out.dtype, np.floating) else out


def _space(real: Raw) -> Space:
    whole = np.issubdtype(real.dtype, np.integer) and real.min(initial=0) >= 0
    return LogCounts.fit(real) if whole else Standardised.fit(real)


def _components(world: World, rows: Raw) -> np.ndarray:
    if not len(rows):
        return np.zeros((0, int(world.pca.n_components_)))
    return np.round(np.asarray(world.pca.transform(world.space.forward(rows)), np.float64), 4)


def _some(split: RowSource, most: int, seed: int) -> np.ndarray:
    """Return the indices of up to `most` random rows; the first of them are random too."""
    return stream(seed, "quick metrics").permutation(len(split))[:most].astype(np.int64)
