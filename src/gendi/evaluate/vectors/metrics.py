"""Every metric of a set of rows against a reference, by name, and its standard error.

`compute_metrics` serves the samples, each control and each deal of real rows alike, so that a value, its floor and its
controls differ only in the rows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from gendi.errors import UsageError
from gendi.evaluate.comparison import Z95
from gendi.evaluate.intervals import measured, measured_correlation
from gendi.evaluate.metrics import density_coverage
from gendi.evaluate.result import Better, Estimate
from gendi.evaluate.vectors import classes as c
from gendi.evaluate.vectors import marginals as m
from gendi.evaluate.vectors import records, transport
from gendi.evaluate.vectors.distances import energy_distance, squared_mmd
from gendi.evaluate.vectors.space import Part, World
from gendi.evaluate.vectors.targets import NUMBERS, PREFIX, Target, quality
from gendi.evaluate.vectors.two_sample import Judge, Verdict, two_sample
from gendi.machine.stopping import Poll, may_stop

EXACT_MOST = 500
"""Most rows of each set for the exact Wasserstein distance, whose cost is cubic in their number."""
DENSITY_K = 5
JUDGES: tuple[tuple[str, Judge], ...] = (("auc-forest", "forest"), ("auc-logistic", "logistic"))


@dataclass(frozen=True)
class About:
    """Properties of a metric: which values are better, and which are possible."""

    better: Better
    ideal: float | None = None
    """The value to come close to, where neither lower nor higher is better."""
    least: float | None = None
    """The smallest possible value, which limits the interval."""
    most: float | None = None
    """The largest possible value, which limits the interval."""
    paired: bool = False
    """Whether a row changes the metric in the same direction on either side of the comparison. Deals from one pool,
    which share its rows, then vary less than fresh rows do (see `gendi.evaluate.vectors.floors`)."""
    correlation: bool = False
    """Whether it is a correlation, whose interval is that of Fisher's z."""

    def estimate(self, value: float, error: float | None, quantile: float = Z95) -> Estimate:
        """Return a value with the interval that its standard error gives."""
        if self.correlation:
            return measured_correlation(value, error, quantile)
        return measured(value, error, least=self.least, most=self.most, quantile=quantile)


ABOUT: dict[str, About] = {
    "energy": About("lower"),
    "mmd2": About("lower"),
    "sliced-wasserstein": About("lower", least=0, paired=True),
    "wasserstein": About("lower", least=0, paired=True),
    "auc-forest": About("lower", least=0, most=1),
    "auc-logistic": About("lower", least=0, most=1),
    "mean-r": About("higher", least=-1, most=1, paired=True, correlation=True),
    "mean-error": About("lower", least=0, paired=True),
    "variance-r": About("higher", least=-1, most=1, paired=True, correlation=True),
    "variance-error": About("lower", least=0, paired=True),
    "zeros-r": About("higher", least=-1, most=1, paired=True, correlation=True),
    "zeros-error": About("lower", least=0, paired=True),
    "zero-fraction": About("closest", 0.0),
    "depth": About("lower", least=0, most=1, paired=True),
    "correlation-error": About("lower", least=0, paired=True),
    "tstr": About("higher", least=0, most=1, paired=True),
    "r2": About("higher", most=1, paired=True),
    "fold-change-slope": About("closest", 1.0),
    "fold-change-r": About("higher", least=-1, most=1, paired=True, correlation=True),
    "density": About("closest", 1.0, least=0, paired=True),
    "coverage": About("higher", least=0, most=1, paired=True),
    "closest-share": About("closest", 0.5, least=0, most=1),
    "copies": About("lower", least=0, most=1),
}
"""In the order of the table. `zero-fraction` is the samples' share of zeros minus the reference's."""


def about(name: str) -> About:
    """Return the properties of a metric by its name; targets have those of `tstr`, or of `r2`."""
    return ABOUT["tstr" if name.startswith(PREFIX) else "r2" if name.startswith(NUMBERS) else name]


def in_order(values: Mapping[str, float | None]) -> list[str]:
    """Return the names of metrics in the order of the table: those of `ABOUT`, then the targets."""
    return [name for name in ABOUT if name in values] + [name for name in values if name.startswith((PREFIX, NUMBERS))]


Values = dict[str, float | None]
Verdicts = Mapping[str, Verdict | None]
"""Of each judge in `JUDGES`, by the name of its metric."""


@dataclass(frozen=True)
class Roles:
    """The real rows with which a set is compared."""

    reference: Part
    """Real rows for all distances."""
    train: Part
    """Real rows from which the set may have been copied, as many as `heldout`."""
    heldout: Part
    """Real rows from which it cannot have been copied."""
    known: np.ndarray
    """Digests of all rows that may have been copied."""
    targets: tuple[Target, ...] = ()
    """Columns that are predicted from others."""


def compute_metrics(
    x: Part, roles: Roles, world: World, verdicts: Verdicts | None = None, *, poll: Poll | None = None
) -> Values:
    """Return every metric of `x` by name; None where it cannot be computed from these rows.

    `verdicts` are those of `judged`, which takes most of the time; by default they are found here.
    """
    y = roles.reference
    out: Values = {}
    out["energy"] = energy_distance(x.z, y.z)
    out["mmd2"] = squared_mmd(x.z, y.z, world.sigma)
    n = min(len(x), len(y))
    out["sliced-wasserstein"] = transport.sliced_wasserstein(x.z[:n], y.z[:n], world.along)
    out["wasserstein"] = transport.wasserstein(x.z[: min(n, EXACT_MOST)], y.z[: min(n, EXACT_MOST)])
    verdicts = judged(x, y, world, poll=poll) if verdicts is None else verdicts
    out |= {name: verdict and verdict.auc for name, verdict in verdicts.items()}
    may_stop(poll)
    out |= profile(x, y, world)
    out |= _class_metrics(x, y, world)
    out["density"], out["coverage"] = density_and_coverage(x, y)
    out["closest-share"] = float(records.closer(x.z, roles.train.z, roles.heldout.z).mean())
    out["copies"] = float(records.copies(x.digests, roles.known).mean())
    out |= predicted(x, y, roles.targets)
    return {name: out[name] for name in in_order(out)}


def judged(x: Part, y: Part, world: World, *, poll: Poll | None = None) -> Verdicts:
    """Return each judge's verdict on the most variable columns; None if too few of the rows are different."""
    a, b = (part.x[: world.judged_rows, world.judged] for part in (x, y))
    out: dict[str, Verdict | None] = {}
    for name, judge in JUDGES:
        may_stop(poll)
        try:
            out[name] = two_sample(a, b, judge, world.seed)
        except UsageError:
            out[name] = None
    return out


def profile(x: Part, y: Part, world: World) -> Values:
    """Return the metrics that compare columns: means, variances, zeros, depth and correlations."""
    out: Values = {}
    for name, statistic in (("mean", m.means), ("variance", m.variances)):
        a, b = statistic(x.x), statistic(y.x)
        if world.space.counts:  # other columns are standardised: their means and variances are all alike
            out[f"{name}-r"] = m.pearson(a, b)
        out[f"{name}-error"] = m.mean_error(a, b)
    if world.space.counts:
        a, b = m.zeros(x.rows), m.zeros(y.rows)
        out |= {"zeros-r": m.pearson(a, b), "zeros-error": m.mean_error(a, b)}
        out["zero-fraction"] = float(a.mean() - b.mean())
        out["depth"] = m.depth_distance(x.rows, y.rows)
    out["correlation-error"] = m.correlation_error(x.x[:, world.columns], y.x[:, world.columns])
    return out


def recognised_share(x: Part, y: Part, world: World) -> float | None:
    """Return the share of rows of y whose class a classifier trained on x finds; None without two classes."""
    if x.labels is None or y.labels is None:
        return None
    right = c.recognised(x.x[:, world.judged], x.labels, y.x[:, world.judged], y.labels)
    return None if right is None else float(right.mean())


def predicted(x: Part, y: Part, targets: Sequence[Target]) -> Values:
    """Return how well targets in y are predicted by what is learned from x, by the names of their metrics."""
    return {target.metric: quality(target, x, y) for target in targets}


def _class_metrics(x: Part, y: Part, world: World) -> Values:
    if x.labels is None or y.labels is None:
        return {}
    changes = c.compare_fold_changes(x.x, x.labels, y.x, y.labels)
    return {
        "tstr": recognised_share(x, y, world),
        "fold-change-slope": None if changes is None else changes.slope,
        "fold-change-r": None if changes is None else changes.r,
    }


def density_and_coverage(x: Part, y: Part) -> tuple[float | None, float | None]:
    """Return density and coverage; None for too few rows of the reference."""
    return density_coverage(y.z, x.z, DENSITY_K) if len(y) > DENSITY_K else (None, None)
