"""Objectives: how the loss of a batch is computed, and what it changes. Importing this package does not import
torch."""

from typing import TYPE_CHECKING

from gendi.machine.lazy import lazy_names

if TYPE_CHECKING:
    from gendi.diffusion.gaussian.objectives.base import Draw as Draw
    from gendi.diffusion.gaussian.objectives.base import Objective as Objective
    from gendi.diffusion.gaussian.objectives.base import Setting as Setting
    from gendi.diffusion.gaussian.objectives.noising import Answer as Answer
    from gendi.diffusion.gaussian.objectives.noising import NoisingObjective as NoisingObjective
    from gendi.diffusion.gaussian.objectives.registry import OBJECTIVES as OBJECTIVES
    from gendi.diffusion.gaussian.objectives.registry import TIME_SAMPLINGS as TIME_SAMPLINGS
    from gendi.diffusion.gaussian.objectives.registry import WEIGHTINGS as WEIGHTINGS
    from gendi.diffusion.gaussian.objectives.registry import ObjectiveInfo as ObjectiveInfo
    from gendi.diffusion.gaussian.objectives.registry import make_objective as make_objective

_HERE = "gendi.diffusion.gaussian.objectives"
_HOMES = dict.fromkeys(("Draw", "Objective", "Setting"), f"{_HERE}.base")
_HOMES |= dict.fromkeys(("Answer", "NoisingObjective"), f"{_HERE}.noising")
_HOMES |= dict.fromkeys(
    ("OBJECTIVES", "TIME_SAMPLINGS", "WEIGHTINGS", "ObjectiveInfo", "make_objective"), f"{_HERE}.registry"
)
__all__ = [
    "OBJECTIVES",
    "TIME_SAMPLINGS",
    "WEIGHTINGS",
    "Answer",
    "Draw",
    "NoisingObjective",
    "Objective",
    "ObjectiveInfo",
    "Setting",
    "make_objective",
]
__getattr__, __dir__ = lazy_names(__name__, _HOMES)
