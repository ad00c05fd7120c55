"""Consistency tuning: the answer at t is to be the answer at an earlier time r on the same path.  [Geng et al. 2024]

    x_t = alpha_t x_0 + sigma_t eps,    x_r = alpha_r x_0 + sigma_r eps                   the same x_0 and eps
    loss = w huber(f(x_t, t) - stop_grad f(x_r, r)),    and x_0 in the place of f(x_r, r) where r = 0

As r comes nearer to t, f becomes the end of the probability-flow ODE. In EDM's terms (t is the noise level sigma /
alpha, in units in which the data have the standard deviation 0.5)

    ln t ~ N(-1.1, 2^2),    r = max(0, t (1 - n(t) / q^(stage + 1))),    n(t) = 1 + 8 sigmoid(-t)

and the stage counts up with the progress of a run, from 0 to stages - 1. Three things differ from the paper here, all
for the sake of the first call, which is made at t = 1. A share of the rows has t = 1. Beyond EDM's last level, 80, r is
that of 80, so that what is learned at the levels that are drawn reaches these rows. And the weight w, which is 1 / (t -
r) in the paper, is sqrt(max(t / 0.5, 1)) / (t - r): at t = 1 it would be 160 times too small for an output of the
network that counts as much there as at the level of the data.

The noise, and with it the difference x_t - x_r, is an unbiased guess of the path's direction. If the teacher is guided,
the guess is moved as guidance moves E[x_0 | x_t]: x_0 + guided - plain takes the place of x_0 (and eps follows from
it), so the student learns the end of the guided ODE. With a range of scales each row has one of its own, which the
student is told.
"""

import math
from collections.abc import Mapping

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from gendi.diffusion.conditions import Conditions
from gendi.diffusion.gaussian.denoiser import NetworkDenoiser
from gendi.diffusion.gaussian.objectives.base import ALL, Draw, PairDraw, Setting
from gendi.diffusion.gaussian.objectives.pairs import PairObjective
from gendi.diffusion.gaussian.objectives.same_draws import same_draws
from gendi.diffusion.gaussian.objectives.times import stratified
from gendi.diffusion.gaussian.process import Batch, Process, eps_from_x0, like
from gendi.diffusion.randomness import stream

LOG_MEAN, LOG_STD = -1.1, 2.0
EDM_SCALE = 0.5
"""The standard deviation of the data for which the paper's numbers are meant."""
EDM_LAST = 80.0
"""The largest noise level that Karras et al. 2022 train."""
STEEPNESS = 8.0
"""k of n(t) = 1 + k sigmoid(-t)."""
AT_NOISE = 0.05
"""The share of rows at t = 1."""
HUBER = 0.00108
"""c of the pseudo-Huber loss, in standard deviations of the data: Song & Dhariwal 2024 have 0.00054 for 0.5."""


def earlier_level(t: Float64[Tensor, "*times"], stage: int, q: float) -> Float64[Tensor, "*times"]:
    """Return r = max(0, t (1 - n(t) / q^(stage + 1))), n(t) = 1 + 8 sigmoid(-t), for noise levels t in EDM's units.

    [Geng et al. 2024, section 3.2]
    """
    n = 1 + STEEPNESS * torch.sigmoid(-t)
    return (t * (1 - n / q ** (stage + 1))).clamp(min=0)


class Consistency(PairObjective):
    """The objective that the module's docstring describes."""

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self.sigma_data, self.unit = setting.sigma_data, setting.sigma_data / EDM_SCALE
        self.stage = 0

    def begin(self, progress: float, average: Mapping[str, Tensor]) -> None:
        self.stage = min(int(progress * self.options.stages), self.options.stages - 1)

    def draw(self, size: int, seed: int, step: int) -> PairDraw:
        t = self.times(torch.as_tensor(stratified(stream(seed, "time", step), size)))
        return self.pairs(t, self.earlier(t, self.stage), seed, step)

    def draw_heldout(self, size: int, seed: int) -> PairDraw:
        t = self.times(torch.as_tensor(stratified(stream(seed, "time", -1), size))).sort().values
        return self.pairs(t, self.earlier(t, self.options.stages - 1), seed)

    def times(self, uniform: Float64[Tensor, " batch"]) -> Float64[Tensor, " batch"]:
        """Return the times t for uniform numbers in [0, 1); the largest numbers become t = 1."""
        quantile = torch.special.ndtri((uniform / (1 - AT_NOISE)).clamp(1e-9, 1 - 1e-9))
        log_level = LOG_MEAN + LOG_STD * quantile + math.log(self.unit)
        t = torch.where(uniform < 1 - AT_NOISE, self.schedule.time(-2 * log_level), 1.0)
        steps = self.schedule.steps
        return t if steps is None else (t * steps).ceil().clamp(min=1) / steps

    def earlier(self, t: Float64[Tensor, " batch"], stage: int) -> Float64[Tensor, " batch"]:
        """Return the times r < t of a stage; on a chain the next one below, at least a step from t."""
        level = earlier_level(self.level(t), stage, self.options.ratio)
        r = self.schedule.time(-2 * (level.clamp(min=1e-100) * self.unit).log())
        r = torch.where(level > 0, r, 0.0)
        steps = self.schedule.steps
        return r if steps is None else torch.minimum((r * steps).floor(), (t * steps).round() - 1) / steps

    def level(self, t: Float64[Tensor, " batch"]) -> Float64[Tensor, " batch"]:
        """Return the noise levels of times in EDM's units, at most EDM's last; 0 at t = 0."""
        return ((-self.schedule.log_snr(t) / 2).exp() / self.unit).clamp(max=EDM_LAST)

    def losses(
        self, denoiser: NetworkDenoiser, x_0: Batch, cond: Conditions | None, draw: Draw, rows: slice = ALL
    ) -> Float[Tensor, " rows"]:
        assert isinstance(draw, PairDraw)
        return self.at(denoiser, x_0, draw.t[rows], draw.r[rows], draw.noise(x_0, rows), draw.told(cond, rows))

    def at(
        self,
        denoiser: NetworkDenoiser,
        x_0: Batch,
        t: Float64[Tensor, " batch"],
        r: Float64[Tensor, " batch"],
        eps: Batch,
        cond: Conditions | None = None,
    ) -> Float[Tensor, " batch"]:
        """Return the loss (B,) of clean data x_0 (B, ...) with the noise eps at the times t and r (B,), r < t."""
        x_t = Process(self.schedule).sample(x_0, t, eps)
        target = self.target(denoiser, x_0, x_t, t, r, eps, cond)
        error = denoiser(x_t, t, **(cond or {})) - target
        level, c = self.level(t), HUBER * self.sigma_data
        weight = (level / EDM_SCALE).clamp(min=1).sqrt() / (level - self.level(r))
        return weight.to(error) * ((error.square().flatten(1).mean(1) + c**2).sqrt() - c)

    @torch.no_grad()
    def target(
        self,
        denoiser: NetworkDenoiser,
        x_0: Batch,
        x_t: Batch,
        t: Float64[Tensor, " batch"],
        r: Float64[Tensor, " batch"],
        eps: Batch,
        cond: Conditions | None = None,
    ) -> Batch:
        """Return f(x_r, r) with the dropout that the call after this one will have, or x_0 where r = 0."""
        if self.teacher is not None:
            x_0 = x_0 + self.teacher.push(x_t, t, cond)
            eps = eps_from_x0(x_t, x_0, *self.schedule(t))
        x_r, inside = Process(self.schedule).sample(x_0, r, eps), r > 0
        if not bool(inside.any()):
            return x_0
        with same_draws(denoiser.network, x_0.device):
            answer = denoiser(x_r, torch.where(inside, r, t), **(cond or {}))
        return torch.where(like(inside, x_0).bool(), answer, x_0)
