"""Noise schedules: how much signal and how much noise there is at time t.

A schedule maps t in [0, 1] (0 is data, 1 is noise) to alpha(t) and sigma(t) of the marginal q(x_t | x_0) = N(alpha x_0,
sigma^2 I), and to the rates f, g^2 of the SDE that has these marginals. The paper's step i of T is t = i / T: a
schedule with `steps=T` is that chain, `steps=None` its continuous limit.
"""

from gendi.diffusion.gaussian.schedule.base import Schedule
from gendi.diffusion.gaussian.schedule.paths import RectifiedFlow, SubVariancePreserving, VarianceExploding
from gendi.diffusion.gaussian.schedule.preserving import MAX_BETA, Cosine, Linear, Sigmoid, VariancePreserving
from gendi.diffusion.gaussian.schedule.tabulated import Tabulated
from gendi.errors import unknown_name

__all__ = [
    "MAX_BETA",
    "SCHEDULES",
    "Cosine",
    "Linear",
    "RectifiedFlow",
    "Schedule",
    "Sigmoid",
    "SubVariancePreserving",
    "Tabulated",
    "VarianceExploding",
    "VariancePreserving",
    "make_schedule",
]

SCHEDULES: dict[
    str,
    type[Linear]
    | type[Cosine]
    | type[Sigmoid]
    | type[VarianceExploding]
    | type[SubVariancePreserving]
    | type[RectifiedFlow],
] = {kind.name: kind for kind in (Linear, Cosine, Sigmoid, VarianceExploding, SubVariancePreserving, RectifiedFlow)}


def make_schedule(name: str, steps: int | None = None) -> Schedule:
    """Return the schedule `name` with T = `steps`, or continuous. Raises `UsageError` for an unknown name or steps <
    1.
    """
    if name not in SCHEDULES:
        raise unknown_name("schedule", name, SCHEDULES)
    return SCHEDULES[name](steps)
