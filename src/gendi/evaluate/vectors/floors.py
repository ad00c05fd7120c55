"""Floors, gates and controls: the values that real rows and fakes have in the samples' place.

The pooled real rows are dealt at random many times, each time into a set x in the samples' place, a reference y, and a
rest t in the place of the training rows, with the same sizes as in the evaluation. Everything is fitted anew to y and t
only: components fitted to x as well would fit its noise, and would favour real rows in a way that no model can match.
Where whole groups (donors) were held out of training, whole groups are dealt (`gendi.evaluate.vectors.deals`).
The mean of a metric over these deals is its **floor**. Their spread says how far chance alone moves the metric, and so
defines its **gate**, the prediction interval for one more set of real rows,

    mean +- t(K - 1, 1 - alpha / m) s sqrt(1 + 1 / K),

for K deals with standard deviation s, m gates, and alpha = 1%: real rows fail any of the m gates once in a hundred
evaluations. No threshold is chosen by hand.

Deals of 2 n rows from one pool of N rows share rows. Where x and y enter a metric with opposite signs (a difference) or
not at all to first order (energy distance, MMD, AUC of equal distributions), the pool's own rows cancel and s is right.
Where a row counts the same on either side (an outlier adds to a mean absolute error from x and from y alike), s is that
of drawing 2 n of N rows without replacement. It is then too small by the finite-population factor sqrt(1 - 2 n / N),
and is divided by it.

The **score** of a value is 0 for the worst of the controls and 1 for the floor.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from scipy.stats import t as student

from gendi.diffusion.randomness import stream
from gendi.evaluate.class_records import ClassRecord
from gendi.evaluate.intervals import around
from gendi.evaluate.prediction import ALPHA, prediction_interval
from gendi.evaluate.result import Gate, Metric
from gendi.evaluate.vectors import controls as c
from gendi.evaluate.vectors.by_class import class_metric, class_records, largest
from gendi.evaluate.vectors.deals import Deal
from gendi.evaluate.vectors.errors import quantile_of
from gendi.evaluate.vectors.metrics import About, Roles, Values, about, compute_metrics, in_order
from gendi.evaluate.vectors.progress import Progress
from gendi.evaluate.vectors.space import Indices, Part, Raw, RowSet, World
from gendi.evaluate.vectors.targets import Target
from gendi.machine.stopping import Poll, may_stop


def real_deals(
    real: RowSet,
    deals: Sequence[Deal],
    fit: Callable[[Raw], World],
    *,
    poll: Poll | None = None,
    progress: Progress | None = None,
    targets: tuple[Target, ...] = (),
) -> list[Values]:
    """Return the metrics of deals of real rows; `fit` makes the world of a deal from its reference and its rest."""
    out: list[Values] = []
    for number, deal in enumerate(deals):
        may_stop(poll)
        x, y, t = (real.take(rows) for rows in deal)
        world, roles = setting(t, y, fit)
        roles = replace(roles, targets=targets)
        out.append(compute_metrics(world.part(x.rows, x.labels), roles, world, poll=poll))
        if progress is not None:
            progress.step(f"{number + 1} of {len(deals)} deals of real rows are measured")
    return out


def setting(train: RowSet, reference: RowSet, fit: Callable[[Raw], World]) -> tuple[World, Roles]:
    """Return the world fitted to training and reference rows, and the roles of these rows in it.

    For the closest records, equally many of both are used.
    """
    world = fit(np.concatenate([train.rows, reference.rows]))
    t, y = (world.part(each.rows, each.labels) for each in (train, reference))
    h = np.arange(min(len(t), len(y)))
    return world, Roles(y, t[h], y[h], t.digests)


def control_parts(train: RowSet, n: int, world: World) -> dict[str, Part]:
    """Return the four controls, n rows each, by name."""
    rng = stream(world.seed, "evaluation controls")
    labels: Indices = train.labels if train.labels is not None else np.zeros(len(train), np.int64)
    chosen = rng.permutation(len(train))[:n] if n <= len(train) else rng.integers(0, len(train), n)
    space = world.space
    fakes = {
        "class-means": c.class_means(train.rows, labels, chosen),
        "mixture": c.principal_mixture(train.rows, labels, chosen, world.seed, space.forward, space.backward),
        "shuffled": c.shuffled_within_class(train.rows, labels, chosen, rng, space.blocks),
        "copies": c.copy_rows(train.rows, chosen),
    }
    fake_labels = None if train.labels is None else labels[chosen]
    return {name: world.part(rows, fake_labels) for name, rows in fakes.items()}


def gate(values: Sequence[float], about: About, gates: int, share: float) -> Gate:
    """Return the gate (low, high), which other real rows miss with probability alpha / gates; None is an open end.

    `values` are the metric's values over the deals, and `share` is 2 n / N, the share of the pool that a deal compares.
    """
    spread = 1 / float(np.sqrt(1 - share)) if about.paired else 1.0
    sides = 2 if about.better == "closest" else 1
    low, high = prediction_interval(values, ALPHA / (gates * sides), spread)
    return (None if about.better == "lower" else low, None if about.better == "higher" else high)


def judge(
    values: Values,
    deals: Sequence[Values],
    controls: Mapping[str, Values],
    errors: Mapping[str, float | None],
    share: float,
    gates: int,
    groups: Indices | None = None,
) -> tuple[Metric, ...]:
    """Return every value with its floor, gate, controls, interval and score.

    `gates` and `share` are as in `gate`, and `groups` as in `gendi.evaluate.vectors.errors.standard_errors`.
    """
    return tuple(
        _metric(name, values[name], deals, controls, errors.get(name), gates, share, quantile_of(name, groups))
        for name in in_order(values)
    )


def judged_classes(
    samples: RowSet,
    real: RowSet,
    heldout: RowSet,
    controls: Mapping[str, Part],
    world: World,
    gates: int,
    names: Sequence[str],
    poll: Poll | None = None,
) -> tuple[tuple[ClassRecord, ...], tuple[Metric, ...]]:
    """Return the records of the classes and the metric of the worst one, see `gendi.evaluate.vectors.by_class`.

    Both are empty where samples or real rows have no labels. `gates` counts that metric too.
    """
    if samples.labels is None or real.labels is None:
        return (), ()
    records, floor = class_records(samples, real, heldout, world, gates, names, poll=poll)
    unseen = RowSet(heldout.rows)
    fakes = {}
    for control, part in controls.items():
        of_fake, _ = class_records(RowSet(part.rows, part.labels), real, unseen, world, gates, poll=poll)
        if (value := largest(of_fake)) is not None:
            fakes[control] = value
    metric = class_metric(records, floor, fakes)
    return records, () if metric is None else (replace(metric, score=_score(metric)),)


def _metric(
    name: str,
    value: float | None,
    deals: Sequence[Values],
    controls: Mapping[str, Values],
    error: float | None,
    gates: int,
    share: float,
    quantile: float,
) -> Metric:
    of = about(name)
    real = [v for deal in deals if (v := deal.get(name)) is not None]
    known = len(real) == len(deals) and len(real) > 2
    floor = float(np.mean(real)) if known else None
    fakes = {control: v for control, found in controls.items() if (v := found.get(name)) is not None}
    metric = Metric(
        name,
        value,
        floor,
        of.better,
        standard_error=error if value is not None else None,
        ideal=of.ideal,
        interval=of.estimate(value, error, quantile).interval if value is not None else None,
        controls=fakes,
        gate=gate(real, of, gates, share) if known else None,
    )
    if floor is not None:
        error = floor_error(real, of, share)
        quantile = float(student.ppf(0.975, len(real) - 1))
        interval = around(floor, error, least=of.least, most=of.most, quantile=quantile)
        metric = replace(metric, floor_error=error, floor_interval=interval)
    return replace(metric, score=_score(metric))


def floor_error(values: Sequence[float], about: About, share: float) -> float:
    """Return the standard error of the mean of a metric over deals from one pool; `share` as in `gate`.

    Where the pool's own rows cancel, the deals are as good as independent. Elsewhere the deals' mean has, besides their
    scatter, the chance in the pool itself, at most the share 2 n / N of the variance of a set of fresh rows (Hoeffding
    1948: a mean over all deals, a U-statistic of degree 2 n, has at most that variance).
    """
    k, s = len(values), float(np.std(values, ddof=1))
    return s * float(np.sqrt(1 / k + share / (1 - share) if about.paired else 1 / k))


def _score(metric: Metric) -> float | None:
    if metric.value is None or metric.floor is None or not metric.controls:
        return None
    worst, best = max(map(metric.loss, metric.controls.values())), metric.loss(metric.floor)
    return (worst - metric.loss(metric.value)) / (worst - best) if worst > best else None
