"""Mean flows against their formulas in a Gaussian world, where the average velocity is known."""

import dataclasses
import math
from typing import Any

import pytest
import torch
from students import MEAN, SIGMA_DATA, STD, Exactly, cosine, data, trained, world
from torch import Tensor, nn

from gendi.diffusion.conditions import null_like
from gendi.diffusion.gaussian.config import DistilConfig, ObjectiveConfig, Parameterisation, ProcessConfig
from gendi.diffusion.gaussian.denoiser import NetworkDenoiser
from gendi.diffusion.gaussian.exact import ConditionalMixture, GaussianDenoiser
from gendi.diffusion.gaussian.flow_map import GaussianFlow
from gendi.diffusion.gaussian.flow_map.angle import Place, angle_at
from gendi.diffusion.gaussian.flow_map.network import FlowMapDenoiser
from gendi.diffusion.gaussian.objectives.base import Setting
from gendi.diffusion.gaussian.objectives.mean_flow import MeanFlow
from gendi.diffusion.gaussian.objectives.registry import make_objective, validate
from gendi.diffusion.gaussian.samplers import get_sampler, make_grid
from gendi.diffusion.gaussian.schedule import Schedule, make_schedule
from gendi.diffusion.networks.embeddings import zero
from gendi.diffusion.networks.told import ANGLE, SCALE, TO_GO
from gendi.errors import BundleError, UsageError

MAP = Parameterisation(precondition=True, flow_map=True)


def f64(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def mean_flow(
    schedule: str = "cosine", teacher: Any = None, sampling: str = "log-normal", steps: int | None = None, **distil: Any
) -> MeanFlow:
    options = ObjectiveConfig(
        loss="mean-flow", precondition=True, time_sampling=sampling, distil=DistilConfig(**distil)
    )
    process = ProcessConfig(schedule, steps)
    made = make_objective(Setting(options, process, sigma_data=SIGMA_DATA, teacher=teacher, optional=("class",)))
    assert isinstance(made, MeanFlow)
    return made


class Velocity(FlowMapDenoiser):
    """A function of (z, theta, theta_s) in the form of a flow map, in float64."""

    def __init__(self, function: Any, schedule: Schedule) -> None:
        super().__init__(nn.Linear(1, 1), schedule, MAP)
        self.function = function

    def velocity(self, z: Tensor, place: Place, to: Tensor, /, **cond: Tensor) -> Tensor:
        return self.function(z, place.theta[:, None], to[:, None])


def exact(z: Tensor, theta: Tensor, to: Tensor) -> Tensor:
    """The average velocity of N(m, C) with a diagonal C: z_s = cos_s m + sqrt(S_s / S_t) (z - cos_t m)."""
    m, c = MEAN, STD**2
    spread, spread_s = (a.cos() ** 2 * c + a.sin() ** 2 for a in (theta, to))
    z_s = to.cos() * m + (spread_s / spread).sqrt() * (z - theta.cos() * m)
    v = -theta.sin() * m + theta.cos() * theta.sin() * (1 - c) / spread * (z - theta.cos() * m)
    gone = theta - to
    return torch.where(gone == 0, v, (z - z_s) / torch.where(gone == 0, 1.0, gone))


TIMES = (f64(0.9, 0.5, 0.3, 1.0, 0.6), f64(0.6, 0.5, 0.1, 0.0, 0.0))


@pytest.mark.parametrize("schedule", ["cosine", "linear", "rectified-flow", "variance-exploding"])
def test_the_error_of_the_exact_average_velocity_is_that_of_the_exact_velocity(schedule: str) -> None:
    """V = u + (theta_t - theta_r) du / dtheta is v = E[cos eps - sin x_0 | x_t], whatever r is: to 1e-6."""
    made, (t, r) = mean_flow(schedule), TIMES
    x_0, eps = data(5, 1).double(), data(5, 2).double()
    found = made.at(Velocity(exact, made.schedule), x_0, t, r, eps)
    alpha, sigma = (value[:, None] for value in made.schedule(t))
    radius = torch.hypot(alpha, sigma)
    x_t = alpha * x_0 + sigma * eps
    mean = GaussianDenoiser(made.schedule, MEAN, torch.diag(STD**2))(x_t, t)
    noise = (x_t - alpha * mean) / sigma
    expected = ((alpha * noise - sigma * mean - alpha * eps + sigma * x_0) / radius).square().mean(1)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-9)


def test_the_error_is_its_formula_for_any_network() -> None:
    """u = z theta^2 + theta_s: along v = u(z, theta, theta) it changes by v theta^2 + 2 z theta."""
    made, (t, r) = mean_flow(), TIMES
    x_0, eps = data(5, 3).double(), data(5, 4).double()
    found = made.at(Velocity(lambda z, a, b: z * a**2 + b, made.schedule), x_0, t, r, eps)
    alpha, sigma = (value[:, None] for value in made.schedule(t))
    theta, to = (torch.atan2(*made.schedule(time)[::-1])[:, None] for time in (t, r))
    z = alpha * x_0 + sigma * eps
    v = z * theta**2 + theta
    change = v * theta**2 + 2 * z * theta
    whole = z * theta**2 + to + (theta - to) * change - (alpha * eps - sigma * x_0)
    torch.testing.assert_close(found, whole.square().mean(1), rtol=1e-9, atol=1e-12)


def test_differences_give_the_same_error() -> None:
    found = []
    for derivative in ("forward", "differences"):
        made, (t, r) = mean_flow(derivative=derivative), TIMES
        x_0, eps = data(5, 3).double(), data(5, 4).double()
        found.append(made.at(Velocity(exact, made.schedule), x_0, t, r, eps))
    torch.testing.assert_close(found[0], found[1], rtol=2e-2, atol=1e-3)


def test_the_gradient_is_that_of_the_average_velocity_alone() -> None:
    """d error / d a for u = a exact: 2 mean((V - v) exact), with V = a exact + the way times the change, no gradient
    through the change; at a = 1 its mean over the noise is 0.
    """
    made, n = mean_flow(), 200_000
    a = torch.ones((), dtype=torch.float64, requires_grad=True)
    x_0, eps = data(n, 5).double(), torch.randn(n, 2, generator=torch.Generator().manual_seed(6)).double()
    t, r = f64(0.7).expand(n), f64(0.2).expand(n)
    denoiser = Velocity(lambda z, theta, to: a * exact(z, theta, to), made.schedule)
    losses = made.at(denoiser, x_0, t, r, eps)
    (gradient,) = torch.autograd.grad(losses.mean(), a)
    with torch.no_grad():
        (theta, _), (to, _) = angle_at(made.schedule, t), angle_at(made.schedule, r)
        theta, to = theta[:, None], to[:, None]
        z = theta.cos() * x_0 + theta.sin() * eps
        u, v = exact(z, theta, to), exact(z, theta, theta)
        each = 2 * ((v - theta.cos() * eps + theta.sin() * x_0) * u).mean(1)
    assert float(gradient) == pytest.approx(float(each.mean()), rel=1e-9)
    assert abs(float(gradient)) < 5 * float(each.std()) / math.sqrt(n)
    assert float(each.std()) > 0.1  # and off the minimum it is not 0
    with torch.no_grad():
        a.fill_(1.2)
    (gradient,) = torch.autograd.grad(made.at(denoiser, x_0, t, r, eps).mean(), a)
    assert float(gradient) > 50 * float(each.std()) / math.sqrt(n)


def test_rows_are_weighed_by_their_own_error() -> None:
    """1 / (error + 0.001 + 8 / D), with a gradient through the error alone."""
    made = mean_flow()
    for d in (2, 3000):
        made.losses(
            Velocity(lambda z, a, b: 0 * z, made.schedule), torch.zeros(4, d).double(), None, made.draw(4, 0, 0)
        )
        losses = f64(0.0, 0.5, 4.0).requires_grad_()
        out = made.emphasised(losses)
        weights = 1 / (f64(0.0, 0.5, 4.0) + 0.001 + 8 / d)
        torch.testing.assert_close(out, losses * weights)
        (gradient,) = torch.autograd.grad(out.sum(), losses)
        torch.testing.assert_close(gradient, weights)


@pytest.mark.parametrize("steps", [None, 100])
def test_times_are_two_draws_and_every_other_row_goes_nowhere(steps: int | None) -> None:
    made = mean_flow(sampling="log-normal" if steps is None else "discrete", steps=steps)
    draws = [made.draw(1000, 0, step) for step in range(20)]
    t, r = torch.cat([draw.t for draw in draws]), torch.cat([draw.r for draw in draws])
    assert torch.equal(t[::2], r[::2]) and bool((r[1::2] <= t[1::2]).all())
    assert (r[1::2] < t[1::2]).double().mean() > 0.98
    for share, ends in ((0.1, t == 1), (0.1, r[1::2] == 0)):
        n = len(ends)
        assert abs(float(ends.double().mean()) - share) < 5 * math.sqrt(share * (1 - share) / n) + (
            0.02 if steps else 0
        )
    if steps is None:  # the rest are three quarters normal in ln(sigma / alpha), -0.4, 1.2, and a quarter even in theta
        rest = t[1::2][(t[1::2] < 1) & (r[1::2] > 0)]
        level = torch.linspace(-12, 12, 20001, dtype=torch.float64)
        share = 0.75 * torch.special.ndtr((level + 0.4) / 1.2) + 0.25 * torch.atan(level.exp()) / (math.pi / 2)
        for part in (0.1, 0.5, 0.9):  # the greater of two has the square of the share below
            bound = level[(share.square() >= part).nonzero()[0, 0]]
            below = (-made.schedule.log_snr(rest) / 2 < bound).double().mean()
            assert float(below) == pytest.approx(part, abs=5 * math.sqrt(part * (1 - part) / len(rest)))
    else:
        torch.testing.assert_close(t * steps, (t * steps).round(), rtol=0, atol=1e-9)
    held = made.draw_heldout(100, 0)
    assert bool((held.t.diff() >= 0).all()) and bool((held.r <= held.t).all()) and bool((held.r < held.t).any())


def test_guidance_moves_the_velocity_of_the_sample() -> None:
    """x_0 + w x_c + (1 - w) x_null - x_c takes the place of x_0, at the same x_t, for a network that says nothing."""
    means, w = torch.stack([MEAN, -MEAN]), 2.5
    exactly = ConditionalMixture(
        cosine(), f64(0.4, 0.6), means, torch.diag(STD**2).expand(2, 2, 2), {"class": torch.arange(2)}
    )
    made = mean_flow(teacher=lambda schedule: Exactly(exactly, schedule), guidance=w)
    x_0, eps, t = data(3, 1).double(), data(3, 2).double(), f64(0.7, 0.5, 0.8)
    cond = {"class": torch.tensor([0, 1, -1])}
    alpha, sigma = (value[:, None] for value in made.schedule(t))
    x_t = alpha * x_0 + sigma * eps
    plain, null = exactly(x_t, t, **cond), exactly(x_t, t, **{"class": null_like(cond["class"])})
    moved = x_0 + w * plain + (1 - w) * null - plain
    v = alpha * (x_t - alpha * moved) / sigma - sigma * moved
    found = made.at(Velocity(lambda z, a, b: 0 * z, made.schedule), x_0, t, t, eps, cond)
    torch.testing.assert_close(found, v.square().mean(1), rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("w", [1.5, 3.0])
def test_a_scale_that_is_told_moves_the_velocity_as_one_that_is_built_in(w: float) -> None:
    """w - 1 times the distance of the conditional mean from the unconditional one, and the network is told w."""
    means = torch.stack([MEAN, -MEAN])
    exactly = ConditionalMixture(
        cosine(), f64(0.4, 0.6), means, torch.diag(STD**2).expand(2, 2, 2), {"class": torch.arange(2)}
    )
    made = mean_flow(teacher=lambda schedule: Exactly(exactly, schedule), guidance_range=(1.0, 4.0))
    x_0, eps, t = data(3, 1).double(), data(3, 2).double(), f64(0.7, 0.5, 0.8)
    cond, seen = {"class": torch.tensor([0, 1, -1])}, list[Tensor]()
    alpha, sigma = (value[:, None] for value in made.schedule(t))
    x_t = alpha * x_0 + sigma * eps
    plain, null = exactly(x_t, t, **cond), exactly(x_t, t, **{"class": null_like(cond["class"])})
    moved = x_0 + (w - 1) * (plain - null)
    v = alpha * (x_t - alpha * moved) / sigma - sigma * moved
    silent = Velocity(lambda z, a, b: 0 * z, made.schedule)
    silent.velocity = lambda z, place, to, **given: seen.append(given[SCALE]) or 0 * z  # type: ignore[method-assign]
    draw = made.draw(3, 0, 0)
    draw.scale = torch.full((3,), w)
    found = made.at(silent, x_0, t, t, eps, draw.told(cond))
    torch.testing.assert_close(found, v.square().mean(1), rtol=1e-6, atol=1e-7)
    assert seen[0].tolist() == [w] * 3
    scales = torch.cat([made.draw(100, 0, step).scale for step in range(5)])
    assert float(scales.min()) >= 1 and float(scales.max()) <= 4
    assert float(scales.mean()) == pytest.approx(2.5, abs=0.02)  # stratified: even in 100 slices


class Affine(nn.Module):
    """F = a x + b, with a and b functions of the time and of the time to go."""

    def __init__(self) -> None:
        super().__init__()
        self.of_times = nn.Sequential(nn.Linear(3, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 4))

    def forward(self, x: Tensor, value: Tensor, /, **cond: Tensor) -> Tensor:
        told = torch.stack([value, cond[ANGLE], cond[TO_GO]], 1)
        a, b = self.of_times(told).chunk(2, dim=1)
        return a * x + b


class Begun(FlowMapDenoiser):
    """A student that begins as the exact velocity, however far it is to go, and learns the rest: affine in z."""

    def __init__(self, schedule: Schedule) -> None:
        network = nn.Sequential(nn.Linear(2, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), zero(nn.Linear(64, 4)))
        super().__init__(network, schedule, MAP, SIGMA_DATA)

    def velocity(self, z: Tensor, place: Place, to: Tensor, /, **cond: Tensor) -> Tensor:
        theta, to = place.theta[:, None], to[:, None]
        a, b = self.network(torch.cat([theta, theta - to], 1).float()).chunk(2, dim=1)
        return exact(z.double(), theta, theta).to(z) + (theta - to).to(z) * (a * z + b)


@pytest.mark.slow
@pytest.mark.parametrize(("schedule", "derivative"), [("cosine", "forward"), ("rectified-flow", "differences")])
def test_a_student_of_a_gaussian_world_learns_its_flow_map(schedule: str, derivative: str) -> None:
    """It errs by less than 2e-2 of the data's size, from pure noise in 1, 2 and 4 calls, where the velocity alone errs
    by more than five times that in one call, whichever way it is differentiated. The error falls with training, as the
    noise in the weights does: after 16,000 steps it is 1.0e-2 to 1.2e-2.
    """
    made = mean_flow(schedule, derivative=derivative)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        denoiser = Begun(made.schedule)
    noise = torch.randn(500, 2, generator=torch.Generator().manual_seed(9)).double()
    flow = GaussianFlow(GaussianDenoiser(made.schedule, MEAN, torch.diag(STD**2)))
    x = made.schedule(1.0)[1] * noise

    @torch.no_grad()
    def error(calls: int) -> float:
        times = make_grid(made.schedule, calls, get_sampler("flow-map").grid)
        *_, last = get_sampler("flow-map").run(denoiser, x.float(), times, torch.zeros)
        return float((last.x - flow(x, 1.0)).square().mean().sqrt()) / SIGMA_DATA

    assert error(1) > 0.1
    trained(made, denoiser, 6000, batch=1024, lr=2e-3)
    assert all(error(calls) < 2e-2 for calls in (1, 2, 4)), [error(calls) for calls in (1, 2, 4)]


def test_a_network_without_forward_mode_is_differentiated_by_differences_unless_told_not_to() -> None:
    class Fused(Affine):
        def forward(self, x: Tensor, value: Tensor, /, **cond: Tensor) -> Tensor:
            q = x[:, None, None]
            return nn.functional.scaled_dot_product_attention(q, q, q)[:, 0, 0] * cond[TO_GO][:, None]

    made = mean_flow()
    denoiser = FlowMapDenoiser(Fused(), made.schedule, MAP, SIGMA_DATA)
    t, r = (times.float().double() for times in TIMES)
    x_0, eps = data(5, 1), data(5, 2)
    found = made.at(denoiser, x_0, t, r, eps)
    assert made.forward is False
    by_differences = mean_flow(derivative="differences")
    torch.testing.assert_close(found, by_differences.at(denoiser, x_0, t, r, eps))
    with pytest.raises(UsageError, match=r"derivative = 'forward' needs a network whose operators all have .* 'auto'"):
        mean_flow(derivative="forward").at(denoiser, x_0, t, r, eps)


def test_a_teacher_is_kept_and_restored() -> None:
    made, again = (
        mean_flow(teacher=lambda schedule: NetworkDenoiser(Affine(), schedule, Parameterisation("v")), guidance=2.0)
        for _ in range(2)
    )
    assert made.teacher is not None and again.teacher is not None
    again.restore(made.tensors())
    for name, tensor in made.teacher.tensors().items():
        assert torch.equal(again.teacher.tensors()[name], tensor)
    with pytest.raises(BundleError, match="teacher needs 'of_times"):
        again.restore({})
    assert mean_flow().tensors() == {}


def test_what_cannot_be_learned() -> None:
    process, options = ProcessConfig("cosine", None), ObjectiveConfig(loss="mean-flow", time_sampling="log-normal")
    validate(options, process)
    for prediction in ("eps", "x0"):
        with pytest.raises(UsageError, match="must be 'v', or"):
            validate(dataclasses.replace(options, prediction=prediction), process)
    with pytest.raises(UsageError, match="loss-aware' does not support"):
        validate(dataclasses.replace(options, time_sampling="loss-aware"), ProcessConfig("cosine", 100))
    with pytest.raises(UsageError, match="learns from a teacher, and this run starts with new weights"):
        mean_flow(guidance=2.0)
    assert make_schedule("cosine").steps is None and world(cosine()) is not None
