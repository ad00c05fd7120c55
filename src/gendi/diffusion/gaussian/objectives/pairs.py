"""What objectives have in common that compare two times on one path, and may have a guided teacher."""

from collections.abc import Mapping

from jaxtyping import Float64
from torch import Tensor

from gendi.diffusion.gaussian.objectives.base import Objective, PairDraw, Setting
from gendi.diffusion.gaussian.objectives.teacher import drawn_scales, teacher_of
from gendi.diffusion.gaussian.schedule import Schedule, make_schedule


class PairObjective(Objective):
    """An objective whose draws are pairs of times; a guided teacher's weights are in its checkpoints."""

    def __init__(self, setting: Setting) -> None:
        self.options, self.device = setting.options.distil, setting.device
        self.schedule: Schedule = make_schedule(setting.process.schedule, setting.process.steps)
        self.teacher = teacher_of(setting, self.schedule)

    def pairs(
        self, t: Float64[Tensor, " batch"], r: Float64[Tensor, " batch"], seed: int, step: int | None = None
    ) -> PairDraw:
        """Return the draws of a step, or of held-out rows, with the scales of guidance that the network is told."""
        told = drawn_scales(self.options, len(t), seed, -1 if step is None else step, self.device)
        purpose = "heldout-noise" if step is None else "noise"
        return PairDraw(t.to(self.device), r.to(self.device), seed, purpose, step or 0, told)

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        return {} if self.teacher is None else {self.teacher.group: self.teacher.tensors()}

    def restore(self, groups: Mapping[str, Mapping[str, Tensor]]) -> None:
        if self.teacher is not None:
            self.teacher.restore(groups.get(self.teacher.group, {}))
