"""The numbers behind pictures of samples and real rows: a few hundred rows, columns and pairs of columns of each."""

import numpy as np

from gendi.diffusion.randomness import stream
from gendi.evaluate.result import PortraitRecord
from gendi.evaluate.vectors import marginals as m
from gendi.evaluate.vectors.space import Part, World

ROWS, COLUMNS, PAIRS, DIGITS = 400, 400, 800, 4


def portrait(x: Part, real: Part, world: World) -> PortraitRecord:
    """Return the record of samples `x` and `real` rows.

    Its columns are evenly spaced, and its pairs of columns are random ones among the most variable columns.
    """
    columns = np.unique(np.linspace(0, x.x.shape[1] - 1, COLUMNS).round().astype(np.int64))
    a, b = real.x[:, columns], x.x[:, columns]
    zeros = [m.zeros(part.rows[:, columns]) if world.space.counts else np.zeros(0) for part in (real, x)]
    upper = np.triu_indices(len(world.columns), 1)
    pairs = stream(world.seed, "portrait pairs").permutation(len(upper[0]))[:PAIRS]
    correlation = [m.correlations(part.x[:, world.columns])[upper][pairs] for part in (real, x)]
    return PortraitRecord(
        int(real.z.shape[1]),
        _numbers(real.z[:ROWS]),
        _numbers(x.z[:ROWS]),
        *(_numbers(statistic(part)) for statistic in (m.means, m.variances) for part in (a, b)),
        *(_numbers(part) for part in (*zeros, *correlation)),
    )


def _numbers(values: np.ndarray) -> tuple[float, ...]:
    return tuple(float(f"{value:.{DIGITS}g}") for value in values.reshape(-1))
