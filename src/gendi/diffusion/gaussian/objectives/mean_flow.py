"""Mean flows: a network learns the average velocity between two times.  [Geng et al. 2025a; improved: 2025b]

Velocities are those of z along the angle theta (`gendi.diffusion.gaussian.flow_map.angle`). With r <= t, the average
velocity u from t to r and the velocity v at t belong together by the MeanFlow identity

    v(z_t) = u(z_t, t, r) + (theta_t - theta_r) du / dtheta

with the change of u along the path, dz / dtheta = v. So what the network says of u is turned into what it says of v,
and compared with the velocity of the sample, as in flow matching:

    V = u(z_t, t, r) + (theta_t - theta_r) stop_grad du / dtheta
    error = |V - (cos(theta_t) eps - sin(theta_t) x_0)|^2                                                [2025b]

The derivative is taken along the network's own velocity u(z_t, t, t), not along that of the sample: the loss is then a
regression whose answer is the mean velocity, and its minimum is the average velocity of the probability-flow ODE.

Times are two draws, of which the later is t: most by the run's time sampling, and a quarter of them even in the angle,
so that every part of the path is learned. In every other row r = t, and a share of rows begins at t = 1, where sampling
begins, or goes to r = 0. A row is weighed by 1 / (error + c), the adaptive weight of 2025a with p = 1, for the mean
over dimensions. If the teacher is guided, x_0 + guided - plain takes the place of x_0, as in `consistency.py`, at one
scale or at scales of each row's own, which the student is told.
"""

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from gendi.diffusion.conditions import Conditions, take_rows
from gendi.diffusion.forward_mode import lacks_forward_mode
from gendi.diffusion.gaussian.denoiser import NetworkDenoiser
from gendi.diffusion.gaussian.flow_map.angle import Place, angle_at, time_at, turning
from gendi.diffusion.gaussian.flow_map.network import FlowMapDenoiser
from gendi.diffusion.gaussian.flow_map.slope import slope_by_differences, slope_forward
from gendi.diffusion.gaussian.objectives.base import ALL, Draw, PairDraw, Setting
from gendi.diffusion.gaussian.objectives.pairs import PairObjective
from gendi.diffusion.gaussian.objectives.registry import TIME_SAMPLINGS
from gendi.diffusion.gaussian.objectives.same_draws import same_draws
from gendi.diffusion.gaussian.objectives.times import stratified
from gendi.diffusion.gaussian.process import Batch, PerSample64, eps_from_x0, like
from gendi.diffusion.randomness import stream
from gendi.diffusion.trained import bare
from gendi.errors import UsageError

AT_NOISE = 0.1
"""The share of rows at t = 1."""
TO_DATA = 0.1
"""The share of rows with r = 0, among those that go anywhere."""
EVENLY = 0.25
"""The share of times that are drawn evenly in the angle, so that no part of a path is left out."""
FLOOR, SPREAD = 1e-3, 8.0
"""c of the weight is FLOOR + SPREAD / D in D dimensions, for velocities whose mean square is about 1. In few dimensions
a row's own error is mostly chance, and weighing by it would draw the answer from the mean towards a mode."""


class MeanFlow(PairObjective):
    """The objective that the module's docstring describes."""

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self.times = TIME_SAMPLINGS.find(setting.options.time_sampling).of(setting.options, self.schedule)
        self.forward = self.options.derivative != "differences"
        self.floor = FLOOR

    def draw(self, size: int, seed: int, step: int) -> PairDraw:
        return self.pairs(*self._two_times(size, seed, step), seed, step)

    def draw_heldout(self, size: int, seed: int) -> PairDraw:
        t, r = self._two_times(size, seed, -1)
        order = t.argsort(stable=True)
        return self.pairs(t[order], r[order], seed)

    def _two_times(self, size: int, seed: int, step: int) -> tuple[Float64[Tensor, " b"], Float64[Tensor, " b"]]:
        """Return the times t and r <= t of a batch."""
        one, other = (self._times(size, seed, name, step) for name in ("time", "other time"))
        chance = torch.from_numpy(stream(seed, "ends", step).random((2, size)))
        t = torch.where(chance[0] < AT_NOISE, 1.0, torch.maximum(one, other))
        r = torch.where(chance[1] < TO_DATA, 0.0, torch.minimum(one, other))
        return t, torch.where(torch.arange(size) % 2 == 0, t, r)

    def _times(self, size: int, seed: int, name: str, step: int) -> Float64[Tensor, " b"]:
        """Return times of the run's own sampling, and some that are even in the angle."""
        rng = stream(seed, name, step)
        drawn, evenly = self.times.draw(rng, size), torch.from_numpy(rng.random(size) < EVENLY)
        last = angle_at(self.schedule, 1.0)[0]
        even = time_at(self.schedule, last * stratified(rng, size).clamp(min=1e-6))
        if self.schedule.steps is not None:
            even = (even * self.schedule.steps).ceil().clamp(min=1) / self.schedule.steps
        return torch.where(evenly, even, drawn)

    def losses(
        self, denoiser: NetworkDenoiser, x_0: Batch, cond: Conditions | None, draw: Draw, rows: slice = ALL
    ) -> Float[Tensor, " rows"]:
        """Return the mean over dimensions of the squared error of V, which is weighed by `emphasised`."""
        assert isinstance(draw, PairDraw)
        self.floor = FLOOR + SPREAD / x_0[0].numel()
        return self.at(denoiser, x_0, draw.t[rows], draw.r[rows], draw.noise(x_0, rows), draw.told(cond, rows))

    def emphasised(self, losses: Float[Tensor, " rows"]) -> Float[Tensor, " rows"]:
        return losses / (losses.detach() + self.floor)

    def at(
        self,
        denoiser: NetworkDenoiser,
        x_0: Batch,
        t: Float64[Tensor, " batch"],
        r: Float64[Tensor, " batch"],
        eps: Batch,
        cond: Conditions | None = None,
    ) -> Float[Tensor, " batch"]:
        """Return the error (B,) of clean data x_0 (B, ...) with the noise eps at the times t and r (B,), r <= t."""
        assert isinstance(denoiser, FlowMapDenoiser)
        place, to, cond = Place.of(self.schedule, t), angle_at(self.schedule, r)[0], cond or {}
        z, sampled = turning(x_0, eps, place.theta)
        if self.teacher is not None:
            sampled = self._guided(x_0, z, place, cond)
        change = self.change(denoiser, z, place, to, cond)
        u = denoiser.velocity(z, place, to, **cond)
        velocity = u + like(place.theta - to, z) * change
        return (velocity - sampled).square().flatten(1).mean(1)

    def _guided(self, x_0: Batch, z: Batch, place: Place, cond: Conditions) -> Batch:
        """Return the velocity of the sample, moved as guidance moves E[x_0 | x_t]."""
        assert self.teacher is not None
        x_0 = x_0 + self.teacher.push(like(place.radius, z) * z, place.t, cond)
        return turning(x_0, eps_from_x0(z, x_0, place.theta.cos(), place.theta.sin()), place.theta)[1]

    @torch.no_grad()
    def change(self, denoiser: FlowMapDenoiser, z: Batch, place: Place, to: PerSample64, cond: Conditions) -> Batch:
        """Return du / dtheta along the network's own velocity, of z's shape; 0 in rows that go nowhere.

        All calls have the dropout of the call that comes after them, in a batch of the rows that go somewhere.
        """
        out, going = torch.zeros_like(z), (place.theta > to).nonzero()[:, 0]
        if not len(going):
            return out
        z, to, own = z[going], to[going], take_rows(cond, going)
        place = Place(place.theta[going], place.radius[going], place.t[going])
        direct = bare(denoiser)
        with same_draws(direct.network, z.device):
            v = direct.velocity(z, place, place.theta, **own)
        out[going] = self._slope(direct, z, v, place, to, own)
        return out

    def _slope(
        self, denoiser: FlowMapDenoiser, z: Batch, v: Batch, place: Place, to: PerSample64, cond: Conditions
    ) -> Batch:
        if self.forward:
            try:
                with same_draws(denoiser.network, z.device):
                    return slope_forward(denoiser, z, v, place, to, cond)
            except (RuntimeError, NotImplementedError) as error:
                if not lacks_forward_mode(error):
                    raise
                if self.options.derivative == "forward":
                    raise no_forward_mode(error) from error
                self.forward = False
        return slope_by_differences(bare(denoiser, "fp32"), z, v, place, to, cond)


def no_forward_mode(error: Exception) -> UsageError:
    """Return the error for a network without forward-mode derivative."""
    first = str(error).partition("\n")[0]
    return UsageError(
        f"objective.distil.derivative = 'forward' needs a network whose operators all have a forward-mode derivative, "
        f"and torch says of this one: {first} Take 'differences', or 'auto', which finds out."
    )
