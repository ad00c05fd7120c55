"""The base class of objectives with Gaussian noise: noise is added to the data, and the network's output is compared.

    x_t = alpha x_0 + sigma eps,    error = F - F*

F is the network's output, and F* is the output that would be right (`gendi.diffusion.gaussian.denoiser`). Each
objective says how it turns this error into a loss.
"""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

from jaxtyping import Float, Float64
from torch import Tensor

from gendi.diffusion.conditions import Conditions
from gendi.diffusion.gaussian.config import LEARNED
from gendi.diffusion.gaussian.denoiser import Coefficients, NetworkDenoiser
from gendi.diffusion.gaussian.objectives.base import ALL, Draw, Objective, Setting
from gendi.diffusion.gaussian.objectives.registry import TIME_SAMPLINGS, WEIGHTINGS
from gendi.diffusion.gaussian.objectives.schedule_learner import ScheduleLearner
from gendi.diffusion.gaussian.objectives.times import TimeSampling
from gendi.diffusion.gaussian.objectives.weightings import Levels
from gendi.diffusion.gaussian.process import Batch, like
from gendi.diffusion.gaussian.schedule import Schedule, make_schedule
from gendi.diffusion.randomness import stream


@dataclass(frozen=True)
class Answer:
    """A network's answer to some noisy rows."""

    denoiser: NetworkDenoiser
    x_0: Batch
    """Clean data (B, ...)."""
    t: Float64[Tensor, " batch"]
    """Times (B,)."""
    alpha: Float64[Tensor, " batch"]
    """alpha at t."""
    sigma: Float64[Tensor, " batch"]
    """sigma at t."""
    c: Coefficients
    """The coefficients of the parameterisation at t."""
    error: Batch
    """F - F* of x_0's shape."""
    share: Batch | None
    """The network's output for a learned variance, of x_0's shape; None if the variance is fixed."""


class NoisingObjective(Objective):
    """An objective with Gaussian noise, whose subclasses turn the error into a loss.

    The distribution of times, and the schedule, may be learned from the losses.
    """

    def __init__(self, setting: Setting) -> None:
        options, process = setting.options, setting.process
        self.options, self.half_bin, self.device = options, setting.half_bin, setting.device
        self.learner: ScheduleLearner | None = None
        if process.schedule == LEARNED:
            self.learner = ScheduleLearner(options.log_snr_min, options.log_snr_max, setting.device)
        self.schedule: Schedule = (
            make_schedule(process.schedule, process.steps) if self.learner is None else self.learner.schedule
        )
        self.times = TIME_SAMPLINGS.find(options.time_sampling).of(options, self.schedule)

    @property
    def _memories(self) -> list[TimeSampling | ScheduleLearner]:
        """The parts that learn from losses."""
        return [self.times] if self.learner is None else [self.times, self.learner]

    @abstractmethod
    def of(self, answer: Answer) -> Float[Tensor, " batch"]:
        """Return the loss of each row, (B,) float32."""

    def at(
        self,
        denoiser: NetworkDenoiser,
        x_0: Batch,
        t: Float64[Tensor, " batch"],
        eps: Batch,
        cond: Conditions | None = None,
    ) -> Float[Tensor, " batch"]:
        """Return the loss (B,) of clean data x_0 (B, ...) with the noise eps, of x_0's shape, at the times t (B,)."""
        alpha, sigma = denoiser.schedule(t)
        c = denoiser.coefficients(t)
        x_t = like(alpha, x_0) * x_0 + like(sigma, x_0) * eps
        out, share = denoiser.raw(x_t, t, c.c_in, **(cond or {}))
        error = out - c.target(x_0, eps, alpha, sigma)
        return self.of(Answer(denoiser, x_0, t, alpha, sigma, c, error, share))

    def losses(
        self, denoiser: NetworkDenoiser, x_0: Batch, cond: Conditions | None, draw: Draw, rows: slice = ALL
    ) -> Float[Tensor, " rows"]:
        return self.at(denoiser, x_0, draw.t[rows], draw.noise(x_0, rows), cond)

    def draw(self, size: int, seed: int, step: int) -> Draw:
        t = self.times.draw(stream(seed, "time", step), size)
        return Draw(t.to(self.device), seed, "noise", step)

    def draw_heldout(self, size: int, seed: int) -> Draw:
        t = self.times.draw_heldout(stream(seed, "time", -1), size).sort().values
        return Draw(t.to(self.device), seed, "heldout-noise")

    def weights(self, draw: Draw, rows: slice = ALL) -> Float[Tensor, " rows"] | None:
        return self.times.weights(draw.t[rows])

    def remember(self, draw: Draw, losses: Float[Tensor, " batch"], lr: float) -> None:
        for memory in self._memories:
            memory.remember(draw.t, losses, lr)

    def sampling_schedule(self) -> Schedule:
        return self.schedule if self.learner is None else self.learner.schedule.tabulated()

    def learned_table(self) -> Float64[Tensor, " entries"] | None:
        return None if self.learner is None else self.learner.schedule.tabulated().levels

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        return {memory.group: memory.tensors() for memory in self._memories if memory.group}

    def restore(self, groups: Mapping[str, Mapping[str, Tensor]]) -> None:
        for memory in self._memories:
            memory.restore(groups.get(memory.group, {}))

    def weighted_error(self, answer: Answer) -> Float[Tensor, " batch"]:
        """Return the mean over dimensions of w(t) c_out^2 |F - F*|^2 = w(t) |x_0 - x0_hat|^2 of each row, (B,)."""
        denoiser, c_out = answer.denoiser, answer.c.c_out
        levels = Levels(answer.t, answer.alpha, answer.sigma, c_out, denoiser.schedule, denoiser.sigma_data)
        weight = WEIGHTINGS.find(self.options.weighting)(levels, self.options) * c_out**2
        return weight.to(answer.error) * answer.error.square().flatten(1).mean(1)
