"""Progressive distillation against its formulas, and a chain of students in a Gaussian world."""

from typing import Any

import pytest
import torch
from students import MEAN, STD, Exactly, cosine, data, objective_for, student, trained, world
from torch import Tensor

from gendi.diffusion.gaussian.config import DistilConfig, ObjectiveConfig, ProcessConfig
from gendi.diffusion.gaussian.denoiser import NetworkDenoiser
from gendi.diffusion.gaussian.objectives.base import ALL, Draw, Objective
from gendi.diffusion.gaussian.objectives.progressive import Progressive
from gendi.diffusion.gaussian.objectives.registry import validate
from gendi.diffusion.gaussian.samplers import get_sampler, make_grid
from gendi.diffusion.gaussian.schedule import Schedule, make_schedule
from gendi.errors import BundleError, UsageError


def exactly(schedule: Schedule) -> NetworkDenoiser:
    return Exactly(world(schedule), schedule)


def progressive(teacher: Any = exactly, **options: Any) -> Progressive:
    made = objective_for("progressive", teacher, **options)
    assert isinstance(made, Progressive)
    return made


def f64(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize("steps", [None, 1000])
def test_one_step_to_the_target_ends_where_two_of_the_teacher_do(steps: int | None) -> None:
    """DDIM as Song et al. 2021 write it, eq. 12, here by the sampler `ddim` and its own states."""
    made, schedule = progressive(steps=steps, stages=3, calls=2), cosine(steps)
    draw = made.draw(16, 0, 3)
    x_t = data(16, 4).double()
    target = made.target(x_t, draw.t, draw.middle, draw.s)
    run = get_sampler("ddim").run
    for k in range(16):
        times = torch.stack([draw.t[k], draw.middle[k], draw.s[k]])
        *_, last = run(exactly(schedule), x_t[k : k + 1], times, torch.zeros)
        (step,) = run(Exactly(lambda x, t, k=k: target[k : k + 1], schedule), x_t[k : k + 1], times[::2], torch.zeros)
        torch.testing.assert_close(step.x, last.x, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("steps", [None, 1000, 96])
@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_the_times_are_those_of_the_sampler_at_so_many_calls(stage: int, steps: int | None) -> None:
    """A student of N calls is drawn with ddim at N, and its teacher had twice as many."""
    made = progressive(steps=steps, stages=4, calls=3)
    made.stage, calls = stage, 3 * 2 ** (3 - stage)
    draw = made.draw(500, 1, 0)
    grid = make_grid(made.schedule, calls, get_sampler("ddim").grid)
    assert sorted(set(draw.t.tolist())) == sorted(grid[:-1].tolist())
    assert sorted(set(draw.s.tolist())) == sorted(grid[1:].tolist())
    between = make_grid(made.schedule, 2 * calls, get_sampler("ddim").grid)[1::2]
    assert sorted(set(draw.middle.tolist())) == sorted(between.tolist())
    assert bool((draw.t > draw.middle).all()) and bool((draw.middle > draw.s).all())


def test_the_loss_is_weighted_by_the_snr_or_one() -> None:
    """max(alpha^2 / sigma^2, 1) |target - 2 x_t|^2, mean over dimensions."""
    made, schedule = progressive(stages=2, calls=4), cosine()
    draw, x_0 = made.draw(8, 0, 0), data(8, 1).double()
    found = made.losses(Exactly(lambda x, t: 2 * x, schedule), x_0, {}, draw)
    alpha, sigma = (value[:, None] for value in schedule(draw.t))
    x_t = alpha * x_0 + sigma * draw.noise(x_0)
    target = made.target(x_t, draw.t, draw.middle, draw.s)
    weight = torch.maximum((alpha / sigma)[:, 0] ** 2, torch.ones(8))
    torch.testing.assert_close(found, weight * (target - 2 * x_t).square().mean(1), rtol=1e-9, atol=1e-9)
    assert bool((weight > 1).any()) and bool((weight == 1).any())


def test_stages_follow_the_budget_and_none_is_left_out() -> None:
    made = progressive(student, stages=4, calls=1)
    weights = {name: torch.zeros_like(tensor) for name, tensor in made.teacher.denoiser.network.state_dict().items()}
    found = []
    for progress in (0.0, 0.2, 0.25, 0.9, 0.9, 0.9, 1.0):
        made.begin(progress, weights)
        found.append((made.stage, made.calls(made.stage)))
    assert found == [(0, 8), (0, 8), (1, 4), (2, 2), (3, 1), (3, 1), (3, 1)]
    assert not any(bool(tensor.any()) for tensor in made.teacher.denoiser.network.state_dict().values())


class Regression(Objective):
    """The squared distance to the exact denoiser, at times of a grid."""

    def __init__(self, calls: int) -> None:
        self.schedule, self.calls = cosine(), calls

    def draw(self, size: int, seed: int, step: int) -> Draw:
        return Draw((torch.arange(size) % self.calls + 1).double() / self.calls, seed, "noise", step)

    def draw_heldout(self, size: int, seed: int) -> Draw:
        return self.draw(size, seed, 0)

    def losses(self, denoiser: NetworkDenoiser, x_0: Tensor, cond: Any, draw: Draw, rows: slice = ALL) -> Tensor:
        alpha, sigma = (value[:, None].float() for value in self.schedule(draw.t))
        x_t = alpha * x_0 + sigma * draw.noise(x_0)
        weight = (alpha / sigma).square().clamp(min=1)
        return (weight * (denoiser(x_t, draw.t) - world(self.schedule)(x_t, draw.t)).square()).mean(1)


@pytest.mark.slow
def test_a_student_of_one_call_ends_where_its_first_teacher_does_in_eight() -> None:
    """Three halvings of an affine teacher, which is trained first; the student errs by less than 1e-2 of the data."""
    teacher = student(cosine())
    trained(Regression(8), teacher, 500)
    made, own = progressive(lambda schedule: _copy(teacher), stages=3, calls=1), _copy(teacher).requires_grad_(True)
    trained(made, own, 900)
    noise = torch.randn(500, 2, generator=torch.Generator().manual_seed(9))
    ends = []
    with torch.no_grad():
        for denoiser, calls in ((teacher, 8), (own, 1)):
            *_, last = get_sampler("ddim").run(denoiser, noise, make_grid(cosine(), calls), torch.zeros)
            ends.append(last.x)
    assert (ends[1] - ends[0]).square().mean().sqrt() < 1e-2 * float((MEAN**2 + STD**2).mean().sqrt())
    # and not because one call of the teacher would do: that is the mean of the data, whatever the noise
    assert (teacher(noise, torch.tensor(1.0)) - ends[0]).square().mean().sqrt() > 0.3


def _copy(teacher: NetworkDenoiser) -> NetworkDenoiser:
    made = student(cosine())
    made.network.load_state_dict(teacher.network.state_dict())
    return made.requires_grad_(False)


def test_the_teacher_and_the_stage_are_kept_and_restored() -> None:
    made, again = (progressive(student, stages=3) for _ in range(2))
    made.begin(0.5, {name: tensor + 1 for name, tensor in made.teacher.denoiser.network.state_dict().items()})
    again.restore(made.tensors())
    assert again.stage == made.stage == 1
    for name, tensor in made.teacher.tensors().items():
        assert torch.equal(again.teacher.tensors()[name], tensor)
    for spoilt in ({}, {"stage": torch.tensor(3)}, {"stage": torch.zeros(2)}):
        with pytest.raises(BundleError, match="stage must be a number from 0 to 2"):
            again.restore({**made.tensors(), "progressive": spoilt})


def test_what_cannot_be_distilled() -> None:
    with pytest.raises(UsageError, match="learns from a teacher, and this run starts with new weights"):
        progressive(None)
    with pytest.raises(UsageError, match="must be 'v' or 'x0'"):
        validate(ObjectiveConfig(prediction="eps", loss="progressive"), ProcessConfig("cosine", None))
    options = ObjectiveConfig(loss="progressive", distil=DistilConfig(stages=10, calls=4))
    with pytest.raises(UsageError, match="a teacher of 4,096 calls, and the chain has 1,000 steps"):
        validate(options, ProcessConfig("cosine", 1000))
    assert make_schedule("cosine").steps is None
    validate(options, ProcessConfig("cosine", None))
