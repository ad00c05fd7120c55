"""Consistency tuning against its formulas, in worlds where the end of the ODE is known."""

import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from students import MEAN, SIGMA_DATA, STD, Exactly, cosine, data, objective_for, student, trained, world
from torch import Tensor, nn

from gendi.diffusion.conditions import null_like
from gendi.diffusion.gaussian.config import ObjectiveConfig, Parameterisation, ProcessConfig
from gendi.diffusion.gaussian.denoiser import NetworkDenoiser
from gendi.diffusion.gaussian.exact import ConditionalMixture
from gendi.diffusion.gaussian.flow_map import GaussianFlow
from gendi.diffusion.gaussian.objectives.consistency import Consistency, earlier_level
from gendi.diffusion.gaussian.objectives.registry import validate
from gendi.diffusion.gaussian.schedule import make_schedule
from gendi.diffusion.networks.told import SCALE
from gendi.errors import BundleError, UsageError


def f64(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def consistency(**options: Any) -> Consistency:
    made = objective_for("consistency", **options)
    assert isinstance(made, Consistency)
    return made


def test_the_earlier_level_is_that_of_the_paper() -> None:
    """n(1) = 1 + 8 / (1 + e) = 3.15153..., n(0) = 5, and n is 1 far up; q = 2 divides it by 2, 4, ..., 16."""
    n = 1 + 8 / (1 + math.e)
    assert n == pytest.approx(3.15153, abs=1e-5)
    found = [earlier_level(f64(1e-9, 1.0, 80.0), stage, 2.0).tolist() for stage in (0, 1, 3)]
    assert found[0] == pytest.approx([0, 0, 40], abs=1e-12)
    assert found[1] == pytest.approx([0, 1 - n / 4, 60], abs=1e-12)
    assert found[2] == pytest.approx([1e-9 * 11 / 16, 1 - n / 16, 75], abs=1e-12)
    assert earlier_level(f64(2.0), 1, 4.0).item() == pytest.approx(2 * (1 - (1 + 8 / (1 + math.e**2)) / 16))


@pytest.mark.parametrize("name", ["cosine", "linear", "rectified-flow", "variance-exploding"])
@pytest.mark.parametrize("steps", [None, 1000])
def test_r_is_the_time_of_that_level_in_units_of_the_data(name: str, steps: int | None) -> None:
    """EDM's level t belongs to data of standard deviation 0.5: it is sigma / alpha times 0.5 / sigma_data."""
    made = consistency()
    made.schedule = make_schedule(name, steps)
    uniform = (torch.arange(400).double() + 0.5) / 400
    t = made.times(uniform)
    alpha, sigma = made.schedule(t)
    level = (sigma / alpha / (2 * SIGMA_DATA)).clamp(max=80)
    for stage in (0, 3, 7):
        r = made.earlier(t, stage)
        assert bool((r < t).all()) and bool((r >= 0).all())
        alpha, sigma = made.schedule(r)
        wanted = earlier_level(level, stage, 2.0)
        if steps is None:
            torch.testing.assert_close(sigma / alpha / (2 * SIGMA_DATA), wanted, rtol=1e-6, atol=1e-9)
        else:
            torch.testing.assert_close(r * steps, (r * steps).round(), rtol=0, atol=1e-9)
            assert bool((sigma / alpha / (2 * SIGMA_DATA) <= wanted + 1e-9).all())


def test_levels_are_log_normal_and_some_rows_are_at_the_start() -> None:
    made = consistency()
    t = made.times((torch.arange(1000).double() + 0.5) / 1000)
    assert (t == 1).sum() == 50
    log_level = (-made.schedule.log_snr(t[:950]) / 2 - math.log(2 * SIGMA_DATA)).sort().values
    normal = torch.distributions.Normal(-1.1, 2.0)
    for k in (95, 475, 855):
        assert log_level[k].item() == pytest.approx(normal.icdf(torch.tensor((k + 0.5) / 950)).item(), abs=1e-3)


def test_the_stage_is_the_share_of_the_budget() -> None:
    made = consistency(stages=4)
    stages = []
    for progress in (0.0, 0.24, 0.25, 0.6, 0.99, 1.0):
        made.begin(progress, {})
        stages.append(made.stage)
    assert stages == [0, 0, 1, 2, 3, 3]


def test_the_target_is_the_end_of_the_path_through_x_r() -> None:
    """m + C^(1/2) S_r^(-1/2) (x_r - alpha_r m) where r > 0, and x_0 where r = 0."""
    made, schedule = consistency(), cosine()
    exact = Exactly(GaussianFlow(world(schedule)), schedule)
    x_0, eps = data(4, 1).double(), torch.randn(4, 2, generator=torch.Generator().manual_seed(2)).double()
    t, r = f64(0.9, 0.5, 0.3, 1.0), f64(0.6, 0.0, 0.25, 0.99)
    alpha, sigma = (value[:, None] for value in schedule(r))
    x_r = alpha * x_0 + sigma * eps
    expected = MEAN + STD / (alpha**2 * STD**2 + sigma**2).sqrt() * (x_r - alpha * MEAN)
    expected[1] = x_0[1]
    x_t = sum(c[:, None] * v for c, v in zip(schedule(t), (x_0, eps), strict=True))
    torch.testing.assert_close(made.target(exact, x_0, x_t, t, r, eps), expected, rtol=1e-9, atol=1e-9)


def test_the_loss_is_the_pseudo_huber_distance_over_that_of_the_times() -> None:
    """sqrt(max(2 t, 1)) (sqrt(mean |x|^2 + c^2) - c) / (t - r) in EDM's levels, c = 0.00108 sigma_data, for f = 3 x."""
    made, schedule = consistency(), cosine()
    denoiser = Exactly(lambda x, t: 3 * x, schedule)
    x_0, eps, t, r = data(3, 1).double(), data(3, 2).double(), f64(0.5, 0.3, 1.0), f64(0.4, 0.0, 0.9)
    expected = []
    for k in range(3):
        (a, b), (a_r, b_r) = (tuple(v.item() for v in schedule(time[k])) for time in (t, r))
        target = 3 * (a_r * x_0[k] + b_r * eps[k]) if r[k] > 0 else x_0[k]
        square = (3 * (a * x_0[k] + b * eps[k]) - target).square().mean().item()
        c = 0.00108 * SIGMA_DATA
        levels = [min(80.0, sigma / alpha / (2 * SIGMA_DATA)) for alpha, sigma in ((a, b), (a_r, b_r))]
        expected.append(math.sqrt(max(2 * levels[0], 1)) * (math.sqrt(square + c**2) - c) / (levels[0] - levels[1]))
    assert made.at(denoiser, x_0, t, r, eps).tolist() == pytest.approx(expected, rel=1e-6)


def test_the_end_of_the_ode_is_what_the_loss_asks_for_as_r_comes_near() -> None:
    """x_r given x_t has the mean of DDIM's step, and f is affine: so the mean target misses f(x_t, t) by the step's
    error, which is of second order: a quarter at half the distance.
    """
    schedule, x_t, t = cosine(), data(3, 3).double(), f64(0.6)[0]
    exact, gauss = GaussianFlow(world(schedule)), world(schedule)
    errors = []
    for gap in (0.02, 0.01, 0.005):
        (a, b), (a_r, b_r) = schedule(t), schedule(t - gap)
        x_0 = gauss(x_t, t)
        x_r = a_r * x_0 + b_r * (x_t - a * x_0) / b  # E[x_r | x_t]
        errors.append((exact(x_r, t - gap) - exact(x_t, t)).abs().max().item())
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.05)
    assert errors[1] / errors[2] == pytest.approx(4, rel=0.05)


def test_the_best_student_errs_half_as_much_at_every_stage() -> None:
    """On a Gaussian the best f(y, t) is f(., r) of DDIM's step, y - (t - r) eps_hat = y (1 - (t - r) t / (c + t^2)),
    from the level 0.01, where it is y, to 80. The product is to be sqrt(c / (c + t^2)), and misses it by the step.
    """
    errors = []
    for stage in (5, 6, 7):
        levels = [0.01]
        while levels[-1] < 80:
            t = levels[-1]
            for _ in range(12):  # the t whose r is the last level
                t = levels[-1] / (1 - (1 + 8 / (1 + math.exp(t))) / 2 ** (stage + 1))
            levels.append(t)
        t, r = f64(*levels[1:]), f64(*levels[:-1])
        torch.testing.assert_close(earlier_level(t, stage, 2.0), r, rtol=1e-6, atol=0)
        c = (STD[0] / (2 * SIGMA_DATA)) ** 2  # in EDM's units
        of_y = (1 - (t - r) * t / (c + t**2)).prod()
        errors.append((1 - of_y / (c / (c + t[-1] ** 2)).sqrt()).item())
    assert errors[2] < 5e-3
    assert [a / b for a, b in pairwise(errors)] == pytest.approx([2, 2], rel=0.05)


def mixture() -> ConditionalMixture:
    means = torch.stack([MEAN, -MEAN])
    covariances = torch.diag(STD**2).expand(2, 2, 2)
    return ConditionalMixture(cosine(), f64(0.4, 0.6), means, covariances, {"class": torch.arange(2)})


def test_guidance_moves_the_guess_of_the_path() -> None:
    """x_0 + w x_c + (1 - w) x_null - x_c takes the place of x_0, and x_t stays; rows without a class are not moved."""
    exact, schedule, w = mixture(), cosine(), 2.5
    made = consistency(teacher=lambda schedule: Exactly(exact, schedule), guidance=w)
    received: list[Tensor] = []

    def spy(x: Tensor, t: Tensor, **cond: Tensor) -> Tensor:
        received.append(x)
        return x

    x_0, eps, t, r = data(3, 1).double(), data(3, 2).double(), f64(0.7, 0.5, 0.8), f64(0.5, 0.0, 0.7)
    cond = {"class": torch.tensor([0, 1, -1])}
    (a, b), (a_r, b_r) = ((v[:, None] for v in schedule(time)) for time in (t, r))
    x_t = a * x_0 + b * eps
    plain, null = exact(x_t, t, **cond), exact(x_t, t, **{"class": null_like(cond["class"])})
    moved = x_0 + w * plain + (1 - w) * null - plain
    found = made.target(Exactly(spy, schedule), x_0, x_t, t, r, eps, cond)
    x_r = a_r * moved + b_r * (x_t - a * moved) / b
    expected = torch.where((r > 0)[:, None], x_r, moved)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(moved[2], x_0[2], rtol=1e-12, atol=1e-12)
    assert (moved[:2] - x_0[:2]).abs().min() > 1e-3


@pytest.mark.parametrize("w", [1.5, 3.0])
def test_a_scale_that_is_told_moves_the_guess_as_one_that_is_built_in(w: float) -> None:
    exact, schedule, cond = mixture(), cosine(), {"class": torch.tensor([0, 1, -1])}
    x_0, eps, t, r = data(3, 1).double(), data(3, 2).double(), f64(0.7, 0.5, 0.8), f64(0.5, 0.0, 0.7)
    (a, b) = (v[:, None] for v in schedule(t))
    x_t, found, told = a * x_0 + b * eps, [], []
    for options, given in (({"guidance": w}, {}), ({"guidance_range": (1.0, 4.0)}, {SCALE: torch.full((3,), w)})):
        made = consistency(teacher=lambda schedule: Exactly(exact, schedule), **options)
        spy = Exactly(lambda x, t, **cond: told.append(cond.get(SCALE)) or x, schedule)
        found.append(made.target(spy, x_0, x_t, t, r, eps, {**cond, **given}))
    torch.testing.assert_close(found[0], found[1], rtol=1e-6, atol=1e-6)
    assert told[0] is None and told[1].tolist() == [w] * 3
    draw = made.draw(100, 0, 0)
    assert set(draw.told(cond)) == {"class", SCALE} and 1 <= float(draw.scale.min()) < float(draw.scale.max()) <= 4


def test_both_calls_have_the_same_dropout() -> None:
    network = nn.Sequential(nn.Dropout(0.5))
    network.forward = lambda x, value: network[0](x)
    denoiser = NetworkDenoiser(network, cosine(), Parameterisation("x0")).train()
    x_0, t = torch.ones(50, 2), torch.full((50,), 0.3, dtype=torch.float64)
    x_t = 1.5 * x_0
    made = consistency()
    torch.manual_seed(3)
    target = made.target(denoiser, x_0, x_t, t, t - 1e-9, 0 * x_0)
    answer = denoiser(x_t, t)
    assert torch.equal(answer == 0, target == 0)
    assert 0 < int((answer == 0).sum()) < 100
    torch.manual_seed(3)
    assert torch.equal(denoiser(x_t, t), answer)  # as if the target had drawn nothing


@pytest.mark.slow
def test_a_student_in_a_gaussian_world_learns_the_end_of_the_ode() -> None:
    """An affine student, from new weights: it errs by less than 1e-2 of the data's size, in one call from pure noise
    and from every level. The steps of the last stage alone leave it 3.5e-3.
    """
    made, denoiser, exact = consistency(stages=4, ratio=4.0), student(cosine()), GaussianFlow(world(cosine()))
    trained(made, denoiser, 3500, batch=512, lr=5e-3)
    noise = torch.randn(500, 2, generator=torch.Generator().manual_seed(9)).double()
    with torch.no_grad():
        for level in (0.1, 0.5, 2.0, 10.0, math.inf):
            t = cosine().time(-2 * math.log(level)) if level < math.inf else torch.tensor(1.0, dtype=torch.float64)
            alpha, sigma = cosine()(t)
            x_t = alpha * MEAN + (alpha**2 * STD**2 + sigma**2).sqrt() * noise
            error = denoiser(x_t.float(), t).double() - exact(x_t, t)
            assert error.square().mean().sqrt() < 1e-2 * SIGMA_DATA, level


def test_a_teacher_is_kept_and_restored() -> None:
    made, again = (consistency(teacher=student, guidance=2.0) for _ in range(2))
    assert made.teacher is not None and again.teacher is not None
    with torch.no_grad():
        for tensor in made.teacher.denoiser.parameters():
            tensor.add_(1.0)
    again.restore(made.tensors())
    for mine, theirs in zip(made.teacher.denoiser.parameters(), again.teacher.denoiser.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    with pytest.raises(BundleError, match="teacher needs 'of_time"):
        again.restore({})
    assert consistency().tensors() == {}  # nothing to keep without guidance


def test_what_cannot_be_tuned() -> None:
    with pytest.raises(UsageError, match="learns from a teacher, and this run starts with new weights"):
        consistency(guidance=2.0)
    for prediction in ("eps", "x0"):
        with pytest.raises(UsageError, match="must be 'v', or"):
            validate(ObjectiveConfig(prediction=prediction, loss="consistency"), ProcessConfig("cosine", None))
    validate(ObjectiveConfig(prediction="v", loss="consistency"), ProcessConfig("cosine", None))
