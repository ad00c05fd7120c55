"""The forward process of tokens and its posterior, against Bayes' rule on every state."""

import pytest
import torch
from token_worlds import PROCESSES, SCHEDULES, chain, every, hidden, law, noising, process_of

from gendi.diffusion.discrete.process import make_process
from gendi.diffusion.discrete.schedules import make_token_schedule
from gendi.errors import UsageError

PAIRS = [(1.0, 0.0), (1.0, 0.6), (0.7, 0.3), (0.4, 0.0), (0.05, 0.01)]


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_fall_from_1_to_0_with_their_slope_and_inverse(name):
    schedule = make_token_schedule(name)
    t = torch.linspace(0, 1, 101, dtype=torch.float64)
    alpha = schedule.alpha(t)
    assert abs(alpha[0] - 1) < 1e-15 and abs(alpha[-1]) < 1e-15
    assert bool((alpha.diff() < 0).all())
    torch.testing.assert_close(schedule.time(alpha), t, rtol=0, atol=1e-7)  # flat ends cost half of the digits
    inner, h = t[1:-1], 1e-6
    slope = (schedule.alpha(inner + h) - schedule.alpha(inner - h)) / (2 * h)
    torch.testing.assert_close(schedule.slope(inner), slope, rtol=0, atol=1e-9)
    torch.testing.assert_close(schedule.hazard(inner), -slope / (1 - schedule.alpha(inner)), rtol=1e-6, atol=0)
    torch.testing.assert_close(schedule.noise(t), 1 - alpha, rtol=0, atol=1e-15)


def test_cosine_is_1_minus_cos():
    t = torch.linspace(0, 1, 11, dtype=torch.float64)
    wanted = 1 - torch.cos(torch.pi * (1 - t) / 2)
    torch.testing.assert_close(make_token_schedule("cosine").alpha(t), wanted, rtol=0, atol=1e-15)


@pytest.mark.parametrize("name", PROCESSES)
@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize(("t", "s"), PAIRS)
def test_the_posterior_is_bayes_rule(name, schedule, t, s):
    """q(x_s | x_t, x_0) is q(x_t | x_s) q(x_s | x_0), normalised, wherever q(x_t | x_0) is not 0."""
    process = process_of(name, 3, schedule)
    t, s = torch.tensor(t, dtype=torch.float64), torch.tensor(s, dtype=torch.float64)
    alpha_t, alpha_s = process.schedule.alpha(t), process.schedule.alpha(s)
    eye = torch.eye(process.states, dtype=torch.float64)
    of_s = alpha_s * eye[:3] + (1 - alpha_s) * process.noise  # (x_0, x_s)
    onward = alpha_t / alpha_s * eye + (1 - alpha_t / alpha_s) * process.noise  # (x_s, x_t)
    joint = of_s[:, :, None] * onward[None]  # (x_0, x_s, x_t)
    for x_0 in range(3):
        for x_t in range(process.states):
            if (total := joint[x_0, :, x_t].sum()) > 1e-12:
                found = process.posterior(torch.tensor([[x_t]]), torch.tensor([[x_0]]), t, s)[0, 0]
                torch.testing.assert_close(found, joint[x_0, :, x_t] / total, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", PROCESSES)
def test_noised_tokens_have_the_marginal(name):
    """Evenly spaced draws give each state as often as q(x_t | x_0) says, up to one draw."""
    process, n = process_of(name, 4, "cosine"), 10_000
    u = ((torch.arange(n, dtype=torch.float64) + 0.5) / n)[:, None]
    t, s = torch.tensor(0.7, dtype=torch.float64), torch.tensor(0.2, dtype=torch.float64)
    x_0 = torch.full((n, 1), 2)
    for found, keep in (
        (process.noised(x_0, t, u), process.schedule.alpha(t)),
        (process.noised(x_0, t, u, s), process.schedule.alpha(t) / process.schedule.alpha(s)),
    ):
        wanted = keep * torch.eye(process.states, dtype=torch.float64)[2] + (1 - keep) * process.noise
        seen = torch.bincount(found[:, 0], minlength=process.states).double() / n
        torch.testing.assert_close(seen, wanted, rtol=0, atol=2 / n)


@pytest.mark.parametrize("name", PROCESSES)
@pytest.mark.parametrize("make", [chain, hidden])
def test_the_exact_denoiser_is_bayes_rule_over_all_sequences(name, make):
    process, length = process_of(name, 3), 3
    world = make(process)
    p_0 = law(world, length)
    t = torch.tensor(0.6, dtype=torch.float64)
    joint = p_0[:, None] * noising(process, 0.4, length)  # (x_0, x_t)
    x_t = every(process.states, length)
    found = world(x_t, t).exp()
    for i in range(length):
        onehot = torch.nn.functional.one_hot(every(3, length)[:, i], 3).double()
        wanted = joint.T @ onehot / joint.sum(0)[:, None]
        torch.testing.assert_close(found[:, i], wanted, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", PROCESSES)
def test_with_the_exact_denoiser_each_position_of_a_step_has_its_exact_law(name):
    """p(x_s^i | x_t) by `reverse` is that of the joint law of x_0, x_s and x_t."""
    process, length = process_of(name, 2), 3
    world, (t, s) = hidden(process), torch.tensor([0.7, 0.3], dtype=torch.float64)
    p_s = law(world, length) @ noising(process, 0.7, length)
    one = 0.3 / 0.7 * torch.eye(process.states, dtype=torch.float64) + (1 - 0.3 / 0.7) * process.noise
    x = every(process.states, length)
    joint = p_s[:, None] * one[x[:, None, :], x[None, :, :]].prod(-1)  # (x_s, x_t)
    found = process.reverse(x, world(x, t).exp(), t, s)
    for i in range(length):
        onehot = torch.nn.functional.one_hot(x[:, i], process.states).double()
        torch.testing.assert_close(found[:, i], joint.T @ onehot / joint.sum(0)[:, None], rtol=1e-9, atol=1e-12)


def test_log_prob_and_entropy_are_those_of_the_enumerated_law():
    process, length = process_of(tokens=3), 4
    for world in (chain(process), hidden(process, 3)):
        p = law(world, length)
        torch.testing.assert_close(world.log_prob(every(3, length)).exp(), p, rtol=1e-9, atol=0)
        assert world.entropy(length) == pytest.approx(float(-(p * p.log()).sum()), abs=1e-10)


def test_samples_of_a_world_have_its_law():
    world, n = hidden(process_of(tokens=2)), 20_000
    x = world.sample(n, 2, torch.Generator().manual_seed(0))
    p, seen = law(world, 2), torch.bincount(2 * x[:, 0] + x[:, 1], minlength=4).double() / n
    assert bool(((seen - p).abs() < 4.5 * (p * (1 - p) / n).sqrt()).all())


def test_what_cannot_be_is_refused():
    with pytest.raises(UsageError, match="at least 2"):
        make_process("absorbing", 1, make_token_schedule("linear"))
    with pytest.raises(UsageError, match="absorbing"):
        make_process("absorbin", 2, make_token_schedule("linear"))
    with pytest.raises(UsageError, match="each row must be a distribution"):
        chain(process_of()).__class__(process_of(), torch.ones(3), torch.eye(3))
    with pytest.raises(UsageError, match="too many"):
        chain(process_of()).sequences(14)
