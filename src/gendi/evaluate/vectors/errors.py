"""Standard errors of the metrics of rows, over samples and reference drawn anew (see `gendi.evaluate.intervals`).

Distances, the metrics of columns, fold changes, density and coverage are taken of paired halves of both sets. The
judges are not trained again: the areas under their curves are those of out-of-fold scores drawn anew within fold and
set, which is a bootstrap of a statistic that repeated rows do not bias. Shares of rows have the error of a share.
"""

import numpy as np

from gendi.diffusion.randomness import stream
from gendi.evaluate.intervals import halves, halves_error, of_share
from gendi.evaluate.metrics import energy_kernel
from gendi.evaluate.vectors import classes as c
from gendi.evaluate.vectors import transport
from gendi.evaluate.vectors.distances import discrepancy, gaussian_kernel
from gendi.evaluate.vectors.metrics import EXACT_MOST, JUDGES, Roles, Values, density_and_coverage, judged, profile
from gendi.evaluate.vectors.space import Part, World
from gendi.machine.stopping import Poll, may_stop

SHARES = ("closest-share", "copies", "tstr")
"""Metrics that are shares of independent rows."""
NOT_QUADRATIC = ("density", "coverage")
"""Metrics of nearest neighbours, which have no expansion into a linear and a quadratic part."""


def standard_errors(
    values: Values, x: Part, roles: Roles, world: World, count: int, *, poll: Poll | None = None
) -> dict[str, float | None]:
    """Return the standard error of every metric by name; None where it cannot be computed.

    `values` are the metrics of x. Energy and kernel distance use `count` splits into halves, and the others, which are
    costlier, a quarter of them, at least 2.
    """
    y = roles.reference
    rng = stream(world.seed, "evaluation judges")
    found: dict[str, float | None] = {
        name: of_share(value, len(y if name == "tstr" else x)).error
        for name in SHARES
        if (value := values.get(name)) is not None
    }
    splits = _splits(x, y, count, world.seed)
    if min(len(x), len(y)) > 3:
        wx, wy = (_weights([half for pair in each for half in pair], len(part)) for each, part in zip(splits, (x, y)))
        for name, kernel in (("energy", energy_kernel), ("mmd2", gaussian_kernel(world.sigma))):
            found[name] = halves_error(discrepancy(x.z, y.z, kernel, wx, wy).reshape(-1, 2))
    for name, judge in JUDGES:
        may_stop(poll)
        if (verdict := judged(x, y, world, judge)) is not None:
            found[name] = float(verdict.replicates(count, rng).std(ddof=1))
    costly: dict[str, list[list[float]]] = {}
    for pair_x, pair_y in list(zip(*splits, strict=True))[: max(2, count // 4)]:
        may_stop(poll)
        both = [_costly(x[a], y[b], world) for a, b in zip(pair_x, pair_y, strict=True)]
        for name in both[0]:
            pair = [np.nan if (value := each.get(name)) is None else value for each in both]
            costly.setdefault(name, []).append(pair)
    for name, pairs in costly.items():
        found[name] = halves_error(np.array(pairs, np.float64), quadratic=name not in NOT_QUADRATIC)
    return found


def _splits(x: Part, y: Part, count: int, seed: int) -> list[list[tuple[np.ndarray, ...]]]:
    return [list(halves(len(z), count, seed, f"halves of {name}")) for name, z in (("samples", x), ("reference", y))]


def _weights(parts: list[np.ndarray], n: int) -> np.ndarray:
    weights = np.zeros((len(parts), n))
    for i, part in enumerate(parts):
        weights[i, part] = 1
    return weights


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
