"""Standard errors of the metrics of rows, over samples and reference drawn anew (see `gendi.evaluate.intervals`).

Energy distance and MMD have the variance of a U-statistic (`gendi.evaluate.kernel_errors`). The metrics of columns,
transport distances, fold changes, density and coverage are taken of paired halves of both sets. Most of them are means
of absolute values, so even where two distributions agree they have no quadratic part to subtract.

The judges are not trained again: the areas under their curves are those of out-of-fold scores drawn anew within fold
and set, which is a bootstrap of a statistic that repeated rows do not bias. Training on other rows would move all folds
together, as their training rows overlap: for k folds, Nadeau and Bengio (2003) multiply the variance of the folds' mean
by 1 + k / (k - 1). The classifier that is trained on samples and tested on real rows is trained again, on halves.

Where whole groups such as donors were held out, rows of one group are alike, and the reference drawn anew has other
groups: its halves are halves of its groups, its scores are drawn by group, and linear parts are sums over groups. The
interval is Student's with one degree of freedom fewer than there are groups. The shares of samples that are copies, or
nearer to training rows, count samples, which are independent, and say nothing of other groups.
"""

from collections.abc import Callable

import numpy as np

from gendi.diffusion.randomness import stream
from gendi.evaluate.intervals import Pairs, group_halves, halves, halves_error, of_groups, of_share
from gendi.evaluate.metrics import energy_kernel
from gendi.evaluate.vectors import classes as c
from gendi.evaluate.vectors import transport
from gendi.evaluate.vectors.distances import discrepancy_error, gaussian_kernel
from gendi.evaluate.vectors.metrics import (
    EXACT_MOST,
    Roles,
    Values,
    Verdicts,
    about,
    density_and_coverage,
    predicted,
    profile,
    recognised_share,
)
from gendi.evaluate.vectors.space import Indices, Part, World
from gendi.evaluate.vectors.two_sample import Verdict
from gendi.machine.stopping import Poll, may_stop

SHARES = ("closest-share", "copies", "tstr")
"""Metrics that are shares of rows."""
OF_SAMPLES = ("closest-share", "copies")
"""Those of samples alone."""
SPLITS_OF_CLASSIFIER = 10
Measure = Callable[[Part, Part, World], Values]


def standard_errors(
    values: Values,
    x: Part,
    roles: Roles,
    world: World,
    verdicts: Verdicts,
    count: int,
    *,
    groups: Indices | None = None,
    poll: Poll | None = None,
) -> dict[str, float | None]:
    """Return the standard error of every metric by name; None where it cannot be computed.

    `values` are the metrics of x, and `verdicts` those of the judges. Their scores are drawn anew `count` times; a
    quarter as many splits into halves are made, at least 2. `groups` are those of the reference, two or more.
    """
    y = roles.reference
    rng = stream(world.seed, "evaluation judges")
    found: dict[str, float | None] = {
        name: of_share(value, len(y if name == "tstr" else x)).error
        for name in SHARES
        if (value := values.get(name)) is not None
    }
    for name, kernel in (("energy", energy_kernel), ("mmd2", gaussian_kernel(world.sigma))):
        may_stop(poll)
        found[name] = discrepancy_error(x.z, y.z, kernel, groups)
    for name, verdict in verdicts.items():
        may_stop(poll)
        if verdict is not None:
            found[name] = judge_error(verdict, count, rng, groups)

    def halved(count: int, measure: Measure) -> dict[str, Pairs]:
        return _halved(x, y, world, count, measure, groups, poll)

    for name, pairs in halved(max(2, count // 4), _costly).items():
        value = values.get(name)
        found[name] = fisher_error(value, pairs) if about(name).correlation else halves_error(pairs, quadratic=False)
    if values.get("tstr") is not None:
        pairs = halved(min(count, SPLITS_OF_CLASSIFIER), _recognised)["tstr"]
        found["tstr"] = max(found["tstr"] or 0.0, halves_error(pairs, quadratic=False) or 0.0)
    if roles.targets:

        def measure(a: Part, b: Part, world: World) -> Values:
            return predicted(a, b, roles.targets)

        for name, pairs in halved(min(count, SPLITS_OF_CLASSIFIER), measure).items():
            found[name] = halves_error(pairs, quadratic=False)
    return found


def quantile_of(name: str, groups: Indices | None) -> float:
    """Return the quantile behind the interval of a metric, where the reference has `groups`, or None."""
    return of_groups(None if groups is None or name in OF_SAMPLES else len(np.unique(groups)))


def _halved(
    x: Part, y: Part, world: World, count: int, measure: Measure, groups: Indices | None, poll: Poll | None
) -> dict[str, Pairs]:
    """Return metrics of `count` paired halves of both sets."""
    found: dict[str, list[list[float]]] = {}
    seed, purpose = world.seed, "halves of reference"
    of_x = halves(len(x), count, seed, "halves of samples")
    of_y = halves(len(y), count, seed, purpose) if groups is None else group_halves(groups, count, seed, purpose)
    for pair_x, pair_y in zip(of_x, of_y, strict=True):
        may_stop(poll)
        both = [measure(x[a], y[b], world) for a, b in zip(pair_x, pair_y, strict=True)]
        for name in both[0]:
            pair = [np.nan if (value := each.get(name)) is None else value for each in both]
            found.setdefault(name, []).append(pair)
    return {name: np.array(pairs, np.float64) for name, pairs in found.items()}


def fisher_error(r: float | None, pairs: Pairs) -> float | None:
    """Return the standard error of a correlation over columns from those of paired halves.

    Where samples and data agree, the distance of r to 1 is all noise, and falls as 1 / n with its own scatter, so that
    of Fisher's z does not fall with n: half of the mean of (z(A) - z(B))^2 is its variance. Elsewhere that is at most
    twice too large.
    """
    z = np.arctanh(np.clip(pairs[np.isfinite(pairs).all(axis=1)], -1 + 1e-12, 1 - 1e-12))
    if r is None or len(z) < 2:
        return None
    return (1 - r * r) * float(np.sqrt(np.mean((z[:, 0] - z[:, 1]) ** 2) / 2))


def judge_error(verdict: Verdict, count: int, rng: np.random.Generator, groups: Indices | None = None) -> float:
    """Return the standard error of a judge's area, from `count` replicates; see the module's docstring."""
    k = len(verdict.folds)
    return float(verdict.replicates(count, rng, groups).std(ddof=1) * np.sqrt(1 + k / (k - 1)))


def _recognised(x: Part, y: Part, world: World) -> Values:
    return {"tstr": recognised_share(x, y, world)}


def _costly(x: Part, y: Part, world: World) -> Values:
    if min(len(x), len(y)) < 2:
        return {}
    n = min(len(x), len(y))
    most = min(n, EXACT_MOST // 2)  # half of the rows that the value is computed from
    out: Values = {
        "sliced-wasserstein": transport.sliced_wasserstein(x.z[:n], y.z[:n], world.along),
        "wasserstein": transport.wasserstein(x.z[:most], y.z[:most]),
    }
    out |= profile(x, y, world)
    if x.labels is not None and y.labels is not None:
        changes = c.compare_fold_changes(x.x, x.labels, y.x, y.labels)
        out |= {"fold-change-slope": changes and changes.slope, "fold-change-r": changes and changes.r}
    out["density"], out["coverage"] = density_and_coverage(x, y)
    return out
