"""Each class by itself: a class of few rows can be wrong while all rows together look right.

The samples of a class are compared with all its real rows, training and held-out, by the energy distance in the
features of the most variable columns; at most `MOST` rows of either. Where both have one distribution, any division of
their union into two sets of these sizes is as likely as the one at hand, so the distances of random divisions say how
far chance alone moves the distance (a permutation test, exact for sets of any two sizes). Its **limit** is the
quantile 1 - alpha of a Pearson III distribution with the mean, variance and skewness of these distances [Mielke and
Berry 2007], for alpha = 1% over the number of gates and of classes. Classes with too few rows to ever be so unlikely
have no limit, as the number of divisions is below 1 / alpha.
"""

from collections.abc import Mapping, Sequence
from math import comb

import numpy as np
from jaxtyping import Float64

from gendi.diffusion.randomness import stream
from gendi.evaluate.class_records import ClassRecord
from gendi.evaluate.comparison import Z95
from gendi.evaluate.intervals import measured, of_share
from gendi.evaluate.metrics import Features, energy_kernel, squared_distances
from gendi.evaluate.prediction import ALPHA
from gendi.evaluate.result import Metric
from gendi.evaluate.vectors.classes import recognised
from gendi.evaluate.vectors.distances import discrepancy_error
from gendi.evaluate.vectors.space import RowSet, World
from gendi.machine.stopping import Poll, may_stop

MOST, DIVISIONS, SHOWN = 200, 1000, 1000
"""Most rows of a class on either side; random divisions of both; most samples that a classifier learns from."""
NAME = "class-energy"


def class_records(
    samples: RowSet,
    real: RowSet,
    heldout: RowSet,
    world: World,
    gates: int,
    names: Sequence[str] = (),
    *,
    poll: Poll | None = None,
) -> tuple[tuple[ClassRecord, ...], float | None]:
    """Return the records of all classes that have real rows, and the floor of `largest` over them.

    Args:
        samples, real: labelled rows; `real` are training and held-out rows together.
        heldout: those real rows in which classes are to be recognised.
        world: the features.
        gates: how many gates the evaluation has, this one included.
        names: names of the classes.
    """
    assert samples.labels is not None and real.labels is not None
    classes = np.unique(real.labels[real.labels >= 0]).tolist()
    alpha = ALPHA / (gates * max(1, len(classes)))
    found, chance = [], []
    known = _recognised(samples, heldout, world)
    for c in classes:
        may_stop(poll)
        rng = stream(world.seed, "evaluation classes", index=int(c))
        x, y = (_features(part, int(c), world, rng) for part in (samples, real))
        name = names[c] if c < len(names) else str(c)
        share = of_share(float(known[c].mean()), len(known[c])) if c in known else None
        energy, limit, error = None, None, None
        if min(len(x), len(y)) >= 2:
            energy, others = divided(x, y, rng)
            error = discrepancy_error(x, y, energy_kernel)
            if comb(len(x) + len(y), len(x)) * alpha >= 1:
                limit = upper_quantile(others, alpha)
                chance.append(others / limit)
        found.append(
            ClassRecord(
                name,
                len(x),
                len(y),
                energy,
                None if energy is None else measured(energy, error).interval,
                limit,
                share and share.value,
                share and share.interval,
            )
        )
    return tuple(found), float(np.max(chance, axis=0).mean()) if chance else None


def largest(records: Sequence[ClassRecord]) -> float | None:
    """Return the largest distance of a class over its limit, which passes up to 1; None if no class has a limit."""
    worst = worst_of(records)
    return None if worst is None else worst[1]


def worst_of(records: Sequence[ClassRecord]) -> tuple[ClassRecord, float] | None:
    """Return the class whose distance is largest, over its limit, and that share; None if no class has a limit."""
    shares = [(r, r.over_limit) for r in records if r.over_limit is not None]
    return max(shares, key=lambda pair: pair[1]) if shares else None


def class_metric(records: Sequence[ClassRecord], floor: float | None, controls: Mapping[str, float]) -> Metric | None:
    """Return the metric of all classes together, by the worst one; None if no class has a limit.

    Its interval is that of the worst class.
    """
    worst = worst_of(records)
    if worst is None:
        return None
    record, value = worst
    interval, error = None, None
    if record.interval is not None and record.limit is not None:
        interval = (record.interval[0] / record.limit, record.interval[1] / record.limit)
        error = (interval[1] - interval[0]) / (2 * Z95)
    return Metric(
        NAME,
        value,
        floor,
        "lower",
        standard_error=error,
        interval=interval,
        controls=dict(controls),
        gate=(None, 1.0),
    )


def divided(x: Features, y: Features, rng: np.random.Generator) -> tuple[float, Float64[np.ndarray, " b"]]:
    """Return the energy distance of x and y, and those of random divisions of their union into sets of these sizes."""
    both, n, m = np.concatenate([x, y]), len(x), len(y)
    distance = np.concatenate([np.sqrt(block) for _, block in squared_distances(both, both)])
    np.fill_diagonal(distance, 0.0)
    first = np.zeros((DIVISIONS + 1, n + m))
    first[0, :n] = 1
    for row in first[1:]:
        row[rng.permutation(n + m)[:n]] = 1
    of_first = first @ distance
    within = np.einsum("bi,bi->b", of_first, first)
    across = of_first.sum(1) - within
    rest = distance.sum() - within - 2 * across
    values = 2 * across / (n * m) - within / (n * (n - 1)) - rest / (m * (m - 1))
    return float(values[0]), np.asarray(values[1:])


def upper_quantile(values: Float64[np.ndarray, " b"], alpha: float) -> float:
    """Return the quantile 1 - alpha of the Pearson III distribution with the first three moments of values."""
    from scipy.stats import pearson3, skew

    at = float(pearson3.ppf(1 - alpha, max(float(skew(values)), 0.0)))
    return max(float(values.mean() + values.std(ddof=1) * at), float(values.max()))


def _features(part: RowSet, c: int, world: World, rng: np.random.Generator) -> Features:
    assert part.labels is not None
    rows = rng.permutation(np.flatnonzero(part.labels == c))[:MOST]
    x = world.space.forward(part.rows[rows])[:, world.columns]
    return np.asarray(x, np.float64)


def _recognised(samples: RowSet, heldout: RowSet, world: World) -> dict[int, np.ndarray]:
    """Return for each class which of its held-out rows a classifier trained on the samples recognises.

    It learns from `SHOWN` rows at most, at random.
    """
    samples = samples.take(stream(world.seed, "evaluation classifier").permutation(len(samples))[:SHOWN])
    if heldout.labels is None or samples.labels is None:
        return {}
    x, y = (world.space.forward(part.rows)[:, world.judged] for part in (samples, heldout))
    right = recognised(x, samples.labels, y, heldout.labels)
    if right is None:
        return {}
    return {int(c): right[heldout.labels == c] for c in np.unique(heldout.labels) if c >= 0}
