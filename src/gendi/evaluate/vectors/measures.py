"""Every metric of a set of rows against a reference, by name; and how far chance moves each.

`measure` is used for the samples, for each control and for each real half alike, so that a value, its floor and its
controls differ in nothing but the rows.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from gendi.diffusion.randomness import stream
from gendi.errors import UsageError
from gendi.evaluate.metrics import density_coverage, kth_neighbour, squared_distances
from gendi.evaluate.result import Better
from gendi.evaluate.vectors import classes as c
from gendi.evaluate.vectors import marginals as m
from gendi.evaluate.vectors import records, transport
from gendi.evaluate.vectors.distances import discrepancy, energy_distance, energy_kernel, gaussian_kernel, squared_mmd
from gendi.evaluate.vectors.space import Part, World
from gendi.evaluate.vectors.two_sample import Judge, Verdict, two_sample
from gendi.machine.stopping import Poll, may_stop

EXACT_MOST = 500
"""Rows of each set for the exact Wasserstein distance, which is cubic in them."""
JUDGED_MOST = 1000
DENSITY_K = 5
JUDGES: tuple[tuple[str, Judge], ...] = (("auc-forest", "forest"), ("auc-logistic", "logistic"))


@dataclass(frozen=True)
class About:
    """Which way a metric is better, and the value it should come close to where that is neither way."""

    better: Better
    ideal: float | None = None
    least: float | None = None
    """The smallest value it can have, so that no interval says more."""
    most: float | None = None
    paired: bool = False
    """Whether a row moves the metric the same way on either side of the comparison, so that deals of one pool, which
    share its rows, vary less than fresh rows do (see `gendi.evaluate.vectors.floors`)."""


ABOUT: dict[str, About] = {
    "energy": About("lower"),
    "mmd2": About("lower"),
    "sliced-wasserstein": About("lower", least=0, paired=True),
    "wasserstein": About("lower", least=0, paired=True),
    "auc-forest": About("lower", least=0, most=1),
    "auc-logistic": About("lower", least=0, most=1),
    "mean-r": About("higher", least=-1, most=1, paired=True),
    "mean-error": About("lower", least=0, paired=True),
    "variance-r": About("higher", least=-1, most=1, paired=True),
    "variance-error": About("lower", least=0, paired=True),
    "zeros-r": About("higher", least=-1, most=1, paired=True),
    "zeros-error": About("lower", least=0, paired=True),
    "zero-fraction": About("closest", 0.0),
    "depth": About("lower", least=0, most=1, paired=True),
    "correlation-error": About("lower", least=0, paired=True),
    "tstr": About("higher", least=0, most=1, paired=True),
    "fold-change-slope": About("closest", 1.0),
    "fold-change-r": About("higher", least=-1, most=1, paired=True),
    "density": About("closest", 1.0, least=0, paired=True),
    "coverage": About("higher", least=0, most=1, paired=True),
    "closest-share": About("closest", 0.5, least=0, most=1),
    "copies": About("lower", least=0, most=1),
}
"""In the order of the table. `zero-fraction` is the samples' share of zeros minus the reference's."""

Values = dict[str, float | None]


@dataclass(frozen=True)
class Roles:
    """The rows a set is measured against."""

    reference: Part
    """Real rows that the set is compared with."""
    train: Part
    """Real rows it may have been copied from, as many as `heldout`."""
    heldout: Part
    known: np.ndarray
    """Digests of all rows that a copy could be of."""


def measure(x: Part, roles: Roles, world: World, *, poll: Poll | None = None) -> Values:
    """Return every metric of `x` by name; None for what cannot be computed of such rows."""
    y = roles.reference
    out: Values = {}
    out["energy"] = energy_distance(x.z, y.z)
    out["mmd2"] = squared_mmd(x.z, y.z, world.sigma)
    n = min(len(x), len(y))
    out["sliced-wasserstein"] = transport.sliced_wasserstein(x.z[:n], y.z[:n], world.along)
    out["wasserstein"] = transport.wasserstein(x.z[: min(n, EXACT_MOST)], y.z[: min(n, EXACT_MOST)])
    for name, judge in JUDGES:
        may_stop(poll)
        verdict = judged(x, y, world, judge)
        out[name] = None if verdict is None else verdict.auc
    may_stop(poll)
    out |= profile(x, y, world)
    out |= _of_classes(x, y, world)
    out["density"], out["coverage"] = _density_coverage(x, y)
    out["closest-share"] = float(records.closer(x.z, roles.train.z, roles.heldout.z).mean())
    out["copies"] = float(records.copies(x.digests, roles.known).mean())
    return {name: out[name] for name in ABOUT if name in out}


def judged(x: Part, y: Part, world: World, judge: Judge) -> Verdict | None:
    """Return the two-sample verdict on the most variable columns; None where too few different rows are left."""
    a, b = (part.x[:JUDGED_MOST, world.columns] for part in (x, y))
    try:
        return two_sample(a, b, judge, world.seed)
    except UsageError:
        return None


def profile(x: Part, y: Part, world: World) -> Values:
    """Return what is compared column by column."""
    out: Values = {}
    for name, statistic in (("mean", m.means), ("variance", m.variances)):
        a, b = statistic(x.x), statistic(y.x)
        out |= {f"{name}-r": m.pearson(a, b), f"{name}-error": m.mean_error(a, b)}
    if world.space.counts:
        a, b = m.zeros(x.rows), m.zeros(y.rows)
        out |= {"zeros-r": m.pearson(a, b), "zeros-error": m.mean_error(a, b)}
        out["zero-fraction"] = float(a.mean() - b.mean())
        out["depth"] = m.depth_distance(x.rows, y.rows)
    out["correlation-error"] = m.correlation_error(x.x[:, world.columns], y.x[:, world.columns])
    return out


def _of_classes(x: Part, y: Part, world: World) -> Values:
    if x.labels is None or y.labels is None:
        return {}
    right = c.recognised(x.x[:, world.columns], x.labels, y.x[:, world.columns], y.labels)
    changes = c.compare_fold_changes(x.x, x.labels, y.x, y.labels)
    return {
        "tstr": None if right is None else float(right.mean()),
        "fold-change-slope": None if changes is None else changes.slope,
        "fold-change-r": None if changes is None else changes.r,
    }


def _density_coverage(x: Part, y: Part) -> tuple[float | None, float | None]:
    return density_coverage(y.z, x.z, DENSITY_K) if len(y) > DENSITY_K else (None, None)


def standard_errors(
    x: Part, roles: Roles, world: World, count: int, *, poll: Poll | None = None
) -> dict[str, float | None]:
    """Return the standard error of every metric by a bootstrap of `count` replicates, for confidence intervals.

    Rows of the set and of the reference are drawn anew with replacement. What was trained stays as it is: the judges'
    scores and the classifier's answers are resampled, not the judges. Exact transport and correlations, the costly
    ones, take a quarter of the replicates.
    """
    rng = stream(world.seed, "evaluation bootstrap")
    y = roles.reference
    found: dict[str, list[np.ndarray]] = {}

    def note(values: Values) -> None:
        for name, value in values.items():
            found.setdefault(name, []).append(np.array([np.nan if value is None else value]))

    wx, wy = (rng.multinomial(len(p), np.full(len(p), 1 / len(p)), count).astype(np.float64) for p in (x, y))
    found["energy"] = [discrepancy(x.z, y.z, energy_kernel, wx, wy)]
    found["mmd2"] = [discrepancy(x.z, y.z, gaussian_kernel(world.sigma), wx, wy)]
    for name, judge in JUDGES:
        may_stop(poll)
        verdict = judged(x, y, world, judge)
        if verdict is not None:
            found[name] = [verdict.replicates(count, rng)]
    for a, b in _pairs(x, y, max(2, count // 4), rng, poll):
        n = min(len(a), len(b))
        note({"sliced-wasserstein": transport.sliced_wasserstein(a.z[:n], b.z[:n], world.along)})
        most = min(n, EXACT_MOST)
        note({"wasserstein": transport.wasserstein(a.z[:most], b.z[:most])})
        note(profile(a, b, world))
        if x.labels is not None and a.labels is not None and b.labels is not None:
            changes = c.compare_fold_changes(a.x, a.labels, b.x, b.labels)
            note({"fold-change-slope": changes and changes.slope, "fold-change-r": changes and changes.r})
    for name, each in _per_row(x, roles, world).items():
        found[name] = [each[rng.integers(0, len(each), (count, len(each)))].mean(axis=1)]
    return {name: _spread(np.concatenate(values)) for name, values in found.items()}


def _pairs(x: Part, y: Part, count: int, rng: np.random.Generator, poll: Poll | None) -> Iterator[tuple[Part, Part]]:
    for _ in range(count):
        may_stop(poll)
        yield x[rng.integers(0, len(x), len(x))], y[rng.integers(0, len(y), len(y))]


def _per_row(x: Part, roles: Roles, world: World) -> dict[str, np.ndarray]:
    """Return the metrics that are means over rows, row by row."""
    y = roles.reference
    out = {
        "closest-share": records.closer(x.z, roles.train.z, roles.heldout.z),
        "copies": records.copies(x.digests, roles.known).astype(np.float64),
    }
    if x.labels is not None and y.labels is not None:
        right = c.recognised(x.x[:, world.columns], x.labels, y.x[:, world.columns], y.labels)
        if right is not None:
            out["tstr"] = right.astype(np.float64)
    if len(y) > DENSITY_K:
        radius = kth_neighbour(y.z, DENSITY_K)
        crowd, covered = np.zeros(len(x)), np.zeros(len(y))
        for rows, squared in squared_distances(y.z, x.z):
            inside = squared <= radius[rows, None]
            crowd += inside.sum(axis=0) / DENSITY_K
            covered[rows] = inside.any(axis=1)
        out |= {"density": crowd, "coverage": covered}
    return out


def _spread(values: np.ndarray) -> float | None:
    finite = values[np.isfinite(values)]
    return float(finite.std(ddof=1)) if len(finite) > 1 else None
