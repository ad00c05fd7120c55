"""The noise schedules under a short name; they live in `gendi.diffusion.gaussian.schedule`."""

from gendi.diffusion.gaussian.schedule import SCHEDULES as SCHEDULES
from gendi.diffusion.gaussian.schedule import Cosine as Cosine
from gendi.diffusion.gaussian.schedule import Linear as Linear
from gendi.diffusion.gaussian.schedule import RectifiedFlow as RectifiedFlow
from gendi.diffusion.gaussian.schedule import Schedule as Schedule
from gendi.diffusion.gaussian.schedule import Sigmoid as Sigmoid
from gendi.diffusion.gaussian.schedule import SubVariancePreserving as SubVariancePreserving
from gendi.diffusion.gaussian.schedule import Tabulated as Tabulated
from gendi.diffusion.gaussian.schedule import VarianceExploding as VarianceExploding
from gendi.diffusion.gaussian.schedule import VariancePreserving as VariancePreserving
from gendi.diffusion.gaussian.schedule import make_schedule as make_schedule

__all__ = [
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
