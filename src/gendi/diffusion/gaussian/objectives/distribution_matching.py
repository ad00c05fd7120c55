"""Distribution matching distillation: the distribution of a student's samples is moved towards its teacher's.

    x = f(x_t, t)                       a sample of the student, from noise or from a noise level of its few calls
    x_s = alpha_s x + sigma_s eps       is noised again
    direction = (critic(x_s, s) - teacher(x_s, s)) / mean |x - teacher(x_s, s)|         [Yin et al. 2024a, eqs. 7, 8]

Both answers are means of clean data given x_s: the teacher's of the data, the critic's of the student's own samples. By
Tweedie's formula their difference is that of the scores of both distributions at x_s, so x - direction lies where the
teacher's distribution has more mass and the student's has less, and the gradient of the student's loss is `direction`
times dx. Where the two distributions agree it is zero. No path is followed, so a sample need not be the end of a path
of the probability-flow ODE: only the distribution of the samples counts.

The critic is a second network, which begins as the teacher and is trained in the same steps, as a diffusion model of
the student's samples:

    critic's loss = |F - F*|^2,      F* the network's right output for x_s from x           [Yin et al. 2024a, eq. 6]

A student of several calls is like one student for each call, and the critic must not confuse their samples: errors of
one call could make up for those of another. So it is told from which call a sample came.

The calls of a student of n calls are at the n times of the sampler `consistency`. Half of the rows of a batch have
t = 1, and the others one of the later times, where x_t is a sample of the student's own first call, without
gradients, noised to t [Yin et al. 2024b, section 4.4]: so a later call learns from samples of the student, as in
sampling, and not from data. The times of m calls, where m divides n, are among them. The times s are even in the
angle arctan(sigma / alpha), from 2% to 98% of the way, which are the times of the paper for a cosine schedule.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from gendi.diffusion.conditions import Conditions, take_rows
from gendi.diffusion.gaussian.denoiser import NetworkDenoiser
from gendi.diffusion.gaussian.objectives.base import ALL, Draw, Objective, Setting, ToldDraw
from gendi.diffusion.gaussian.objectives.teacher import Teacher, drawn_scales
from gendi.diffusion.gaussian.objectives.times import stratified
from gendi.diffusion.gaussian.process import Batch, Process, like
from gendi.diffusion.gaussian.samplers.grid import make_grid
from gendi.diffusion.gaussian.schedule import Schedule, make_schedule
from gendi.diffusion.networks.told import CALL, call
from gendi.diffusion.randomness import stream
from gendi.diffusion.trained import bare

FROM_NOISE = 0.5
"""The share of rows at t = 1, where a student makes more than one call."""
ENDS = (0.02, 0.98)
"""The lowest and the highest angle of the times s, as shares of the angle at t = 1."""
CRITIC_RATE = 6.0
"""The critic's learning rate, as a multiple of the student's, whose samples it has to follow."""
LEAST = 1e-3
"""The least distance that divides a direction."""


class MatchDraw(ToldDraw):
    """The draws of a step: the student's call `which` (B,), at the time t, and the times s (B,), float64, at which its
    samples are compared; see `ToldDraw`.
    """

    def __init__(
        self,
        which: Int64[Tensor, " batch"],
        t: Float64[Tensor, " batch"],
        s: Float64[Tensor, " batch"],
        seed: int,
        purpose: str,
        step: int = 0,
        scale: Tensor | None = None,
    ) -> None:
        super().__init__(t, seed, purpose, step, scale)
        self.which, self.s = which, s


class DistributionMatching(Objective):
    """The objective that the module's docstring describes. Raises `UsageError` where there is no teacher."""

    def __init__(self, setting: Setting) -> None:
        self.options, self.device = setting.options.distil, setting.device
        self.schedule: Schedule = make_schedule(setting.process.schedule, setting.process.steps)
        self.teacher = Teacher(setting, self.schedule)
        assert setting.learner is not None, "a setting with a teacher has a learner"
        self.critic = setting.learner(self.schedule, (call(),) if self.options.calls > 1 else ())
        self.calls = make_grid(self.schedule, self.options.calls, "angle")[:-1]
        self._gradients: dict[int, tuple[Tensor | None, ...]] = {}
        """The critic's gradients of parts of the batch, by the first row of each."""

    def begin(self, progress: float, average: Mapping[str, Tensor]) -> None:
        self.forget()

    def forget(self) -> None:
        self._gradients.clear()

    def draw(self, size: int, seed: int, step: int) -> MatchDraw:
        return self._at(size, seed, step, "noise")

    def draw_heldout(self, size: int, seed: int) -> MatchDraw:
        return self._at(size, seed, -1, "heldout-noise")

    def _at(self, size: int, seed: int, step: int, purpose: str) -> MatchDraw:
        uniform = torch.as_tensor(stratified(stream(seed, "time", step), size))
        if step < 0:  # held-out rows have their times in order
            uniform = uniform.sort(descending=True).values
        later = (uniform - FROM_NOISE) / (1 - FROM_NOISE) * (len(self.calls) - 1)
        which = torch.where(uniform < FROM_NOISE, 0, (later.floor() + 1).clamp(max=len(self.calls) - 1)).long()
        s = self.compared(torch.as_tensor(stratified(stream(seed, "compared", step), size)))
        which, t = which.to(self.device), self.calls[which].to(self.device)
        scale = drawn_scales(self.options, size, seed, step, self.device)
        return MatchDraw(which, t, s.to(self.device), seed, purpose, max(step, 0), scale)

    def compared(self, uniform: Float64[Tensor, " batch"]) -> Float64[Tensor, " batch"]:
        """Return the times s (B,) for uniform numbers in [0, 1)."""
        angle = self._angle(torch.ones((), dtype=torch.float64)) * (ENDS[0] + (ENDS[1] - ENDS[0]) * uniform)
        s = self.schedule.time(-2 * angle.tan().log())
        steps = self.schedule.steps
        return s if steps is None else (s * steps).round().clamp(min=1) / steps

    def _angle(self, t: Float64[Tensor, "*times"]) -> Float64[Tensor, "*times"]:
        """Return arctan(sigma / alpha)."""
        return (-self.schedule.log_snr(t) / 2).exp().atan()

    def losses(
        self, denoiser: NetworkDenoiser, x_0: Batch, cond: Conditions | None, draw: Draw, rows: slice = ALL
    ) -> Float[Tensor, " rows"]:
        """Return half the squared length of each row's direction, (b,), whose gradient is the direction's.

        Where gradients are wanted, those of the critic are kept for `remember`.
        """
        assert isinstance(draw, MatchDraw)
        t, s, process, told = draw.t[rows], draw.s[rows], Process(self.schedule), draw.told(cond, rows)
        x = denoiser(self.called(denoiser, x_0, told, draw, rows), t, **told)
        sample = x.detach()
        x_s = process.sample(sample, s, draw.noise(x_0, rows, "again"))
        answer, loss = self.criticised(sample, x_s, s, t, told)
        if torch.is_grad_enabled():
            weights = [p for p in self.critic.denoiser.parameters() if p.requires_grad]
            start = rows.start or 0
            self._gradients[start] = torch.autograd.grad(loss.sum() / len(draw.t), weights, allow_unused=True)
        direction = self.direction(sample, x_s, s, answer.detach(), told)
        return 0.5 * (x - (sample - direction)).square().flatten(1).mean(1)

    @torch.no_grad()
    def called(
        self, denoiser: NetworkDenoiser, x_0: Batch, cond: Conditions | None, draw: MatchDraw, rows: slice = ALL
    ) -> Batch:
        """Return x_t (b, ...) of each row: noise, or what the student's first call makes of noise, noised to t."""
        process, t = Process(self.schedule), draw.t[rows]
        x_t = process.sample(x_0, torch.ones_like(t), draw.noise(x_0, rows))
        later = torch.nonzero(draw.which[rows]).flatten()
        if len(later):
            x = bare(denoiser)(x_t[later], torch.ones_like(t[later]), **take_rows(cond or {}, later))
            x_t[later] = process.sample(x, t[later], draw.noise(x_0, rows, "call")[later])
        return x_t

    def criticised(
        self,
        x: Batch,
        x_s: Batch,
        s: Float64[Tensor, " rows"],
        t: Float64[Tensor, " rows"],
        cond: Conditions | None = None,
    ) -> tuple[Batch, Float[Tensor, " rows"]]:
        """Return the critic's mean of x given x_s, (b, ...), and its loss (b,) against the samples x themselves.

        t (b,) are the times of the calls from which the samples came.
        """
        critic, told = self.critic.denoiser, dict(cond or {})
        if self.options.calls > 1:
            told[CALL] = (self._angle(t) / self._angle(torch.ones_like(t))).float()
        answer = critic(x_s, s, **told)
        error = (answer - x) / like(critic.coefficients(s).c_out, x)
        return answer, error.square().flatten(1).mean(1)

    @torch.no_grad()
    def direction(
        self, x: Batch, x_s: Batch, s: Float64[Tensor, " rows"], answer: Batch, cond: Conditions | None = None
    ) -> Batch:
        """Return the direction (b, ...) against which x, noised to x_s, is to move; `answer` is the critic's."""
        real = self.teacher(x_s, s, cond)
        distance = (x - real).abs().flatten(1).mean(1).clamp(min=LEAST)
        return (answer - real) / like(distance, x)

    def remember(self, draw: Draw, losses: Float[Tensor, " batch"], lr: float) -> None:
        """Let the critic take its step; its gradients are summed over the parts of the batch in their order."""
        found = [self._gradients[start] for start in sorted(self._gradients)]
        total = list(found[0])
        for part in found[1:]:
            total = [b if a is None else a if b is None else a + b for a, b in zip(total, part, strict=True)]
        self.critic.learn(total, CRITIC_RATE * lr)
        self.forget()

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        return {self.teacher.group: self.teacher.tensors(), **self.critic.tensors()}

    def restore(self, groups: Mapping[str, Mapping[str, Tensor]]) -> None:
        self.teacher.restore(groups.get(self.teacher.group, {}))
        self.critic.restore(groups)
