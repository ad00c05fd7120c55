"""Noise schedules: how much signal and how much noise there is at time t.

A schedule maps t in [0, 1] (0 is data, 1 is noise) to alpha(t) and sigma(t) of the marginal q(x_t | x_0) = N(alpha x_0,
sigma^2 I), and to the rates f, g^2 of the SDE that has these marginals. The paper's step i of T is t = i / T: a
schedule with `steps=T` is that chain, `steps=None` its continuous limit.
"""

from typing import TYPE_CHECKING

from gendi.machine.lazy import lazy_names

if TYPE_CHECKING:
    from gendi.diffusion.gaussian.schedule.base import Schedule as Schedule
    from gendi.diffusion.gaussian.schedule.base import as_times as as_times
    from gendi.diffusion.gaussian.schedule.paths import RectifiedFlow as RectifiedFlow
    from gendi.diffusion.gaussian.schedule.paths import SubVariancePreserving as SubVariancePreserving
    from gendi.diffusion.gaussian.schedule.paths import VarianceExploding as VarianceExploding
    from gendi.diffusion.gaussian.schedule.preserving import MAX_BETA as MAX_BETA
    from gendi.diffusion.gaussian.schedule.preserving import Cosine as Cosine
    from gendi.diffusion.gaussian.schedule.preserving import Linear as Linear
    from gendi.diffusion.gaussian.schedule.preserving import Sigmoid as Sigmoid
    from gendi.diffusion.gaussian.schedule.preserving import VariancePreserving as VariancePreserving
    from gendi.diffusion.gaussian.schedule.registry import SCHEDULES as SCHEDULES
    from gendi.diffusion.gaussian.schedule.registry import make_schedule as make_schedule
    from gendi.diffusion.gaussian.schedule.tabulated import Tabulated as Tabulated

_HOMES = {
    "Cosine": "gendi.diffusion.gaussian.schedule.preserving",
    "Linear": "gendi.diffusion.gaussian.schedule.preserving",
    "MAX_BETA": "gendi.diffusion.gaussian.schedule.preserving",
    "RectifiedFlow": "gendi.diffusion.gaussian.schedule.paths",
    "SCHEDULES": "gendi.diffusion.gaussian.schedule.registry",
    "Schedule": "gendi.diffusion.gaussian.schedule.base",
    "Sigmoid": "gendi.diffusion.gaussian.schedule.preserving",
    "SubVariancePreserving": "gendi.diffusion.gaussian.schedule.paths",
    "Tabulated": "gendi.diffusion.gaussian.schedule.tabulated",
    "VarianceExploding": "gendi.diffusion.gaussian.schedule.paths",
    "VariancePreserving": "gendi.diffusion.gaussian.schedule.preserving",
    "as_times": "gendi.diffusion.gaussian.schedule.base",
    "make_schedule": "gendi.diffusion.gaussian.schedule.registry",
}
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
    "as_times",
    "make_schedule",
]
__getattr__, __dir__ = lazy_names(__name__, _HOMES)
