"""Distribution matching against its formulas, in worlds where both scores are known."""

from itertools import pairwise
from typing import Any

import pytest
import torch
from students import MEAN, SIGMA_DATA, STD, Adams, Exactly, cosine, data, student, trained, world
from torch import Tensor

from gendi.diffusion.conditions import null_like
from gendi.diffusion.gaussian.config import DistilConfig, ObjectiveConfig, ProcessConfig
from gendi.diffusion.gaussian.denoiser import NetworkDenoiser
from gendi.diffusion.gaussian.exact import ConditionalMixture, GaussianDenoiser
from gendi.diffusion.gaussian.objectives.base import Setting
from gendi.diffusion.gaussian.objectives.distribution_matching import DistributionMatching
from gendi.diffusion.gaussian.objectives.registry import validate
from gendi.diffusion.gaussian.samplers import get_sampler, make_grid
from gendi.diffusion.gaussian.schedule import Schedule
from gendi.diffusion.networks.told import SCALE
from gendi.errors import UsageError


def exactly(schedule: Schedule) -> NetworkDenoiser:
    return Exactly(world(schedule), schedule)


def matching(
    teacher: Any = exactly, critic: Any = student, steps: int | None = None, **distil: Any
) -> DistributionMatching:
    options = ObjectiveConfig(loss="distribution-matching", precondition=True, distil=DistilConfig(**distil))
    process = ProcessConfig("cosine", steps)

    def learner(schedule: Schedule, told: tuple[Any, ...]) -> Adams:
        return Adams(critic(schedule, len(told)))

    setting = Setting(options, process, sigma_data=SIGMA_DATA, teacher=teacher, optional=("class",), learner=learner)
    return DistributionMatching(setting)


@pytest.mark.parametrize("steps", [None, 1000])
@pytest.mark.parametrize("calls", [1, 2, 4])
def test_the_student_is_called_where_it_samples(calls: int, steps: int | None) -> None:
    """Half of the rows at t = 1, if there are other calls; the others evenly at the times of the sampler."""
    made = matching(calls=calls, steps=steps)
    times = made.draw(1200, 3, 5).t
    grid = make_grid(made.schedule, calls, get_sampler("consistency").grid)[:-1]
    count = [int((times == t).sum()) for t in grid]
    assert sum(count) == 1200 and count[0] == (600 if calls > 1 else 1200)
    assert all(c == pytest.approx(600 / (calls - 1), abs=1) for c in count[1:])
    for fewer in (n for n in range(1, calls + 1) if calls % n == 0):  # the divisors' times are among them
        of_fewer = make_grid(made.schedule, fewer, get_sampler("consistency").grid)[:-1]
        assert all(bool(torch.isclose(grid, t, rtol=1e-9).any()) for t in of_fewer)


def test_a_later_call_is_given_what_the_first_one_makes_of_noise() -> None:
    """x_t = alpha f(x_1, 1) + sigma noise, and noise itself for the first call; in parts too."""
    made, schedule = matching(calls=4), cosine()
    draw, x_0 = made.draw(60, 0, 0), data(60, 1).double()
    f = Exactly(lambda x_t, t, **cond: x_t.sin() + t[:, None] + cond["class"][:, None], schedule)
    cond, parts = {"class": torch.arange(60) % 3}, (slice(0, 17), slice(17, 60))
    found = torch.cat([made.called(f, x_0[k], {"class": cond["class"][k]}, draw, k) for k in parts])
    alpha, sigma = schedule(torch.ones(()).double())
    x_1 = alpha * x_0 + sigma * draw.noise(x_0)
    alpha, sigma = (value[:, None] for value in schedule(draw.t))
    again = alpha * (x_1.sin() + 1 + cond["class"][:, None]) + sigma * draw.noise(x_0, what="call")
    expected = torch.where((draw.t < 1)[:, None], again, x_1)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
    assert [int((draw.which == k).sum()) for k in range(4)] == [30, 10, 10, 10]
    assert sorted(set(draw.t.tolist()), reverse=True) == made.calls.tolist()


def test_samples_are_compared_at_even_angles() -> None:
    """The cosine schedule's t is the angle over pi / 2, but for what it keeps back at its ends."""
    made = matching()
    s = made.draw(1000, 0, 0).s.sort().values
    alpha, sigma = made.schedule(s)
    angle = torch.atan2(sigma, alpha) / torch.atan2(*reversed(made.schedule(torch.ones(1).double())))
    even = 0.02 + 0.96 * (torch.arange(1000) + 0.5) / 1000
    torch.testing.assert_close(angle, even.double(), rtol=0, atol=1e-3)


def test_the_direction_is_the_difference_of_the_scores() -> None:
    """(sigma^2 / alpha) (score of the data - score of the samples), over the mean distance to the teacher's mean."""
    made, schedule = matching(), cosine()
    theirs = GaussianDenoiser(schedule, MEAN + 0.5, torch.diag((2 * STD) ** 2))
    x, s = data(6, 1).double(), torch.linspace(0.1, 0.9, 6).double()
    alpha, sigma = (value[:, None] for value in schedule(s))
    x_s = alpha * x + sigma * data(6, 2).double()
    scores = [-(x_s - alpha * m) / (alpha**2 * c + sigma**2) for m, c in ((MEAN, STD**2), (MEAN + 0.5, 4 * STD**2))]
    mean = (x_s + sigma**2 * scores[0]) / alpha  # Tweedie's formula
    expected = -(sigma**2 / alpha) * (scores[0] - scores[1]) / (x - mean).abs().mean(1, keepdim=True)
    found = made.direction(x, x_s, s, theirs(x_s, s))
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("w", [0.5, 3.0])
def test_a_scale_that_is_told_guides_the_teacher_and_is_told_to_student_and_critic(w: float) -> None:
    """The teacher's answer is u + w (c - u), of the conditional mean c and the unconditional one u."""
    means = torch.stack([MEAN, -MEAN])
    mixture = ConditionalMixture(
        cosine(),
        torch.tensor([0.4, 0.6]).double(),
        means,
        torch.diag(STD**2).expand(2, 2, 2),
        {"class": torch.arange(2)},
    )
    heard: dict[str, list[Tensor]] = {"student": [], "critic": []}

    def hearing(who: str) -> Any:
        return lambda x, t, **cond: heard[who].append(cond[SCALE]) or 0.5 * x

    made = matching(
        teacher=lambda schedule: Exactly(mixture, schedule),
        critic=lambda schedule, told: Weighed(hearing("critic"), schedule),
        calls=2,
        guidance_range=(0.0, 4.0),
    )
    x_0, draw, cond = data(30, 1).double(), made.draw(30, 0, 0), {"class": torch.arange(30) % 2}
    draw.scale = torch.full((30,), w)
    found = made.losses(Exactly(hearing("student"), cosine()), x_0, cond, draw)
    sample = 0.5 * made.called(Exactly(hearing("student"), cosine()), x_0, draw.told(cond), draw)
    alpha, sigma = (value[:, None] for value in made.schedule(draw.s))
    x_s = alpha * sample + sigma * draw.noise(x_0, what="again")
    c, u = mixture(x_s, draw.s, **cond), mixture(x_s, draw.s, **{"class": null_like(cond["class"])})
    guided = u + w * (c - u)
    direction = (0.5 * x_s - guided) / (sample - guided).abs().mean(1, keepdim=True)
    torch.testing.assert_close(found, 0.5 * direction.square().mean(1), rtol=1e-6, atol=1e-9)
    assert all(each.unique().tolist() == [w] for told in heard.values() for each in told)
    scales = torch.cat([made.draw(100, 0, step).scale for step in range(5)])
    assert float(scales.min()) >= 0 and float(scales.max()) <= 4
    assert float(scales.mean()) == pytest.approx(2.0, abs=0.02)  # stratified: even in 100 slices


class Weighed(Exactly):
    """A function with a weight that has no effect, as a critic whose answers are known."""

    def forward(self, x_t: Tensor, t: Any, /, **cond: Tensor) -> Tensor:
        return super().forward(x_t, t, **cond) + 0 * sum(p.sum() for p in self.network.parameters())


@pytest.mark.parametrize("shift", [0.0, 0.7])
def test_the_loss_has_the_gradient_of_the_direction_and_none_where_the_laws_agree(shift: float) -> None:
    schedule = cosine()
    samples_law = GaussianDenoiser(schedule, MEAN + shift, torch.diag(STD**2))
    made = matching(critic=lambda schedule, told: Weighed(lambda x, t, **call: samples_law(x, t), schedule), calls=1)
    draw, x_0 = made.draw(16, 0, 0), data(16, 1).double()
    x = (3 * x_0).requires_grad_()
    losses = made.losses(Exactly(lambda x_t, t: x, schedule), x_0, {}, draw)
    losses.sum().backward()
    alpha, sigma = (value[:, None] for value in schedule(draw.s))
    x_s = alpha * x.detach() + sigma * draw.noise(x_0, what="again")
    direction = made.direction(x.detach(), x_s, draw.s, samples_law(x_s, draw.s))
    assert x.grad is not None
    torch.testing.assert_close(x.grad, direction / 2, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(losses.detach(), 0.5 * direction.square().mean(1), rtol=1e-6, atol=1e-9)
    assert (direction.abs().max() < 1e-9) == (shift == 0.0)


@pytest.mark.parametrize("cuts", [[0, 8], [0, 3, 8]])
def test_the_critic_learns_the_mean_of_the_students_samples(cuts: list[int]) -> None:
    """Its gradient is that of the mean over rows of |F - F*|^2, with F* = (x - c_skip x_s) / c_out; in parts too."""
    made, schedule = matching(calls=2), cosine()
    draw, x_0 = made.draw(8, 0, 0), data(8, 1)
    made.begin(0.0, {})
    for start, stop in pairwise(cuts):
        rows = slice(start, stop)
        made.losses(Exactly(lambda x_t, t: 2 * x_t, schedule), x_0[rows], {}, draw, rows)
    made.remember(draw, torch.zeros(8), 0.25)
    found, lr = made.critic.last
    assert lr == 1.5  # six times the student's
    x = 2 * made.called(Exactly(lambda x_t, t: 2 * x_t, schedule), x_0, {}, draw)
    alpha, sigma = (value[:, None] for value in schedule(draw.s))
    x_s = alpha * x + sigma * draw.noise(x_0, what="again")
    norm = (sigma**2 + alpha**2 * SIGMA_DATA**2).sqrt()  # Karras et al. 2022, table 1, for any alpha
    network = student(schedule, told=1).network
    start = torch.atan2(*reversed(schedule(draw.t))) / torch.atan2(*reversed(schedule(torch.ones(1).double())))
    out = network((x_s / norm).float(), (schedule.log_snr(draw.s) / -8).float(), call=start.float())
    right = (x - alpha * (SIGMA_DATA / norm) ** 2 * x_s) / (sigma * SIGMA_DATA / norm)
    loss = (out - right).square().mean(1).mean()
    expected = torch.autograd.grad(loss, list(network.parameters()))
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-6)


def test_held_out_rows_teach_nothing_and_a_batch_that_starts_again_counts_once() -> None:
    made, schedule = matching(), cosine()
    x_0, answer = data(8, 1), Exactly(lambda x_t, t: 2 * x_t, schedule)
    made.begin(0.0, {})
    with torch.no_grad():
        made.losses(answer, x_0, {}, made.draw_heldout(8, 0))
    draw = made.draw(8, 0, 0)
    made.losses(answer, x_0[:4], {}, draw, slice(0, 4))
    made.forget()  # it did not fit in memory
    for rows in (slice(0, 2), slice(2, 8)):
        made.losses(answer, x_0[rows], {}, draw, rows)
    made.remember(draw, torch.zeros(8), 1.0)
    in_parts = made.critic.last[0]
    other = matching()
    other.losses(answer, x_0, {}, draw)
    other.remember(draw, torch.zeros(8), 1.0)
    for a, b in zip(in_parts, other.critic.last[0], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-7)


@pytest.mark.slow
@pytest.mark.parametrize("calls", [1, 2])
def test_a_student_in_a_gaussian_world_has_its_law(calls: int) -> None:
    """An affine student and an affine critic, from new weights: one call from pure noise has the mean and the standard
    deviations of the data, each within 3% of sigma_data (three standard errors of 20,000 samples are 1.6%). With a
    critic that is not told from which call a sample came, the mean was off by 20% at 2 calls.
    """
    made, denoiser = matching(calls=calls), student(cosine())
    trained(made, denoiser, 3000, batch=256, lr=3e-3)
    noise = torch.randn(20_000, 2, generator=torch.Generator().manual_seed(9))
    t = torch.ones((), dtype=torch.float64)
    with torch.no_grad():
        x = denoiser(noise * float(cosine()(t)[1]), t)
    torch.testing.assert_close(x.mean(0).double(), MEAN, rtol=0, atol=0.03 * SIGMA_DATA)
    torch.testing.assert_close(x.std(0).double(), STD, rtol=0, atol=0.03 * SIGMA_DATA)


def test_what_cannot_be_matched() -> None:
    for prediction in ("eps", "x0"):
        with pytest.raises(UsageError, match="must be 'v', or"):
            validate(ObjectiveConfig(prediction, loss="distribution-matching"), ProcessConfig("cosine", None))
    validate(ObjectiveConfig(prediction="v", loss="distribution-matching"), ProcessConfig("cosine", None))
    with pytest.raises(UsageError, match="this run starts with new weights"):
        matching(teacher=None)


@pytest.mark.parametrize(("loss", "known"), [("distribution-matching", [1, 2, 3, 6]), ("progressive", [6])])
def test_which_calls_a_student_knows(loss: str, known: list[int]) -> None:
    options = ObjectiveConfig(loss=loss, distil=DistilConfig(calls=6))
    assert [calls for calls in range(1, 9) if options.knows(calls)] == known
    assert ObjectiveConfig(loss="consistency").knows(5)
