"""Progressive distillation: one step of DDIM is to end where two of the teacher's end.  [Salimans & Ho 2022]

The student of a stage has N calls at the times i / N; its teacher has 2 N. From t = i / N by way of m = t - 1 / (2 N)
to s = t - 1 / N,

    x_m = DDIM(teacher(x_t, t)),    x_s = DDIM(teacher(x_m, m))                          [algorithm 2]
    target = (x_s - sigma_s / sigma_t x_t) / (alpha_s - alpha_t sigma_s / sigma_t)
    loss = max(SNR, 1) |target - x0_hat|^2                                               [eq. 9]

Then the student, by its averaged weights, is the teacher of the next stage, which has half as many calls. The stage
counts up with the progress of a run. If the first teacher is guided, the students have the guidance built in.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from gendi.diffusion.conditions import Conditions
from gendi.diffusion.gaussian.denoiser import NetworkDenoiser
from gendi.diffusion.gaussian.flow_map import ddim_step, ddim_target
from gendi.diffusion.gaussian.objectives.base import ALL, Draw, Objective, Setting
from gendi.diffusion.gaussian.objectives.teacher import Teacher
from gendi.diffusion.gaussian.process import Batch, Process
from gendi.diffusion.gaussian.samplers.grid import make_grid
from gendi.diffusion.gaussian.schedule import Schedule, make_schedule
from gendi.diffusion.randomness import stream
from gendi.errors import BundleError

GROUP = "progressive"


class StepDraw(Draw):
    """The draws of a step; each row goes from t to s by way of `middle`, all (B,) and float64."""

    def __init__(
        self,
        t: Float64[Tensor, " batch"],
        middle: Float64[Tensor, " batch"],
        s: Float64[Tensor, " batch"],
        seed: int,
        purpose: str,
        step: int = 0,
    ) -> None:
        super().__init__(t, seed, purpose, step)
        self.middle, self.s = middle, s


class Progressive(Objective):
    """The objective that the module's docstring describes."""

    def __init__(self, setting: Setting) -> None:
        self.options, self.device = setting.options.distil, setting.device
        self.schedule: Schedule = make_schedule(setting.process.schedule, setting.process.steps)
        self.stage = 0
        self.teacher = Teacher(setting, self.schedule)

    def begin(self, progress: float, average: Mapping[str, Tensor]) -> None:
        """Begin the next stage if it is time: the student becomes the teacher. Stages are never skipped."""
        if self.stage < min(int(progress * self.options.stages), self.options.stages - 1):
            self.stage += 1
            self.teacher.become(average)

    def calls(self, stage: int) -> int:
        """Return the calls of the student of a stage."""
        return int(self.options.calls * 2 ** (self.options.stages - 1 - stage))

    def draw(self, size: int, seed: int, step: int) -> StepDraw:
        calls = self.calls(self.stage)
        which = torch.as_tensor(stream(seed, "time", step).integers(0, calls, size))
        return self._steps(calls, which, seed, "noise", step)

    def draw_heldout(self, size: int, seed: int) -> StepDraw:
        """Return the steps of the last stage; their losses compare the student with its teacher of the moment."""
        calls = self.calls(self.options.stages - 1)
        which = torch.as_tensor(stream(seed, "time", -1).integers(0, calls, size)).sort(descending=True).values
        return self._steps(calls, which, seed, "heldout-noise")

    def _steps(self, calls: int, which: Tensor, seed: int, purpose: str, step: int = 0) -> StepDraw:
        times = make_grid(self.schedule, 2 * calls).to(self.device)
        which = which.to(self.device)
        return StepDraw(times[2 * which], times[2 * which + 1], times[2 * which + 2], seed, purpose, step)

    def losses(
        self, denoiser: NetworkDenoiser, x_0: Batch, cond: Conditions | None, draw: Draw, rows: slice = ALL
    ) -> Float[Tensor, " rows"]:
        assert isinstance(draw, StepDraw)
        t = draw.t[rows]
        x_t = Process(self.schedule).sample(x_0, t, draw.noise(x_0, rows))
        error = denoiser(x_t, t, **(cond or {})) - self.target(x_t, t, draw.middle[rows], draw.s[rows], cond)
        weight = self.schedule.log_snr(t).exp().clamp(min=1)
        return weight.to(error) * error.square().flatten(1).mean(1)

    def target(
        self,
        x_t: Batch,
        t: Float64[Tensor, " batch"],
        middle: Float64[Tensor, " batch"],
        s: Float64[Tensor, " batch"],
        cond: Conditions | None = None,
    ) -> Batch:
        """Return the x_0 with which one step of DDIM ends where the teacher's two do."""
        schedule = self.schedule
        x_m = ddim_step(schedule, x_t, self.teacher(x_t, t, cond), t, middle)
        x_s = ddim_step(schedule, x_m, self.teacher(x_m, middle, cond), middle, s)
        return ddim_target(schedule, x_t, x_s, t, s)

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        return {self.teacher.group: self.teacher.tensors(), GROUP: {"stage": torch.tensor(self.stage)}}

    def restore(self, groups: Mapping[str, Mapping[str, Tensor]]) -> None:
        stage = groups.get(GROUP, {}).get("stage")
        if stage is None or stage.shape != () or not 0 <= int(stage) < self.options.stages:
            raise BundleError(f"The checkpoint's stage must be a number from 0 to {self.options.stages - 1}.")
        self.stage = int(stage)
        weights = groups.get(self.teacher.group, {})
        self.teacher.restore(weights)
        if self.stage:
            self.teacher.become(weights)
