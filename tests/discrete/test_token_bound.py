"""The bound of the exact denoiser: the entropy, as the steps grow; and what a chain of few steps costs more."""

import itertools
import math

import numpy as np
import pytest
import torch
from token_worlds import PROCESSES, ancestral_law, chain, every, hidden, law, noising, process_of

from gendi.diffusion.discrete.bound import _of_count, bound_term, variational_bound
from gendi.errors import UsageError

LENGTH = 3


def pairs(process):
    """Return all pairs (x_0, x_t), as rows."""
    x_0, x_t = every(process.tokens, LENGTH), every(process.states, LENGTH)
    return x_0.repeat_interleave(len(x_t), 0), x_t.repeat(len(x_0), 1)


def exact_bound(world, steps, denoiser=None):
    """Return the expectation of the bound of a chain over all x_0 and x_t; the denoiser is the exact one by default."""
    denoiser = denoiser or world
    process, (x_0, x_t), total = world.process, pairs(world.process), 0.0
    for i in range(1, steps + 1):
        t, s = torch.tensor(i / steps, dtype=torch.float64), torch.tensor((i - 1) / steps, dtype=torch.float64)
        weights = law(world, LENGTH)[:, None] * noising(process, float(process.schedule.alpha(t)), LENGTH)
        terms = bound_term(process, x_0, x_t, denoiser(x_t, t), t, s)
        total += float(torch.where(weights.flatten() > 0, weights.flatten() * terms, 0.0).sum())
    return total


def exact_limit(world, denoiser=None):
    """Return the integral of the expected rate over t = w^3, by Gauss and Legendre, in w for the logarithm at t = 0."""
    process, (x_0, x_t), total = world.process, pairs(world.process), 0.0
    denoiser = denoiser or world
    for place, weight in zip(*np.polynomial.legendre.leggauss(60), strict=True):
        w = (place + 1) / 2
        t = torch.tensor(w**3, dtype=torch.float64)
        weights = law(world, LENGTH)[:, None] * noising(process, float(process.schedule.alpha(t)), LENGTH)
        rates = process.bound_rate(x_0, x_t, denoiser(x_t, t), t).sum(1)
        total += weight / 2 * 3 * w**2 * float(torch.where(weights.flatten() > 0, weights.flatten() * rates, 0.0).sum())
    return total


@pytest.mark.parametrize("schedule", ["linear", "cosine", "polynomial"])
@pytest.mark.parametrize("make", [chain, hidden])
def test_the_limit_of_masks_is_the_entropy(make, schedule):
    world = make(process_of("absorbing", 2, schedule))
    assert exact_limit(world) == pytest.approx(world.entropy(LENGTH), abs=1e-6)


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_the_limit_of_uniform_noise_is_the_entropy(schedule):
    world = hidden(process_of("uniform", 2, schedule))
    assert exact_limit(world) == pytest.approx(world.entropy(LENGTH), abs=1e-6)


@pytest.mark.parametrize("name", PROCESSES)
def test_the_limit_is_that_of_long_chains_for_a_wrong_denoiser_too(name):
    """Where the denoiser is exact, the rates of the reversal and of the model agree on average, and hide a sign."""
    world, wrong = chain(process_of(name, 2)), chain(process_of(name, 2), seed=9)
    limit = exact_limit(world, wrong)
    assert limit > world.entropy(LENGTH) + 0.05
    gaps = [exact_bound(world, steps, wrong) - limit for steps in (32, 64)]
    assert gaps[0] / gaps[1] == pytest.approx(2, rel=0.1)
    assert abs(gaps[1]) < 0.05


@pytest.mark.parametrize("name", PROCESSES)
def test_the_bound_of_a_chain_falls_to_the_entropy_as_1_over_its_steps(name):
    world = chain(process_of(name, 2))
    gaps = [exact_bound(world, steps) - world.entropy(LENGTH) for steps in (16, 32, 64)]
    assert min(gaps) > 0
    for wide, narrow in itertools.pairwise(gaps):
        assert wide / narrow == pytest.approx(2, rel=0.1)


def test_one_step_of_masks_costs_the_entropies_of_the_positions():
    world = chain(process_of("absorbing", 2))
    p, x = law(world, LENGTH), every(2, LENGTH)
    each = [torch.stack([p[x[:, i] == k].sum() for k in range(2)]) for i in range(LENGTH)]
    assert exact_bound(world, 1) == pytest.approx(float(sum(-(q * q.log()).sum() for q in each)), abs=1e-12)


@pytest.mark.parametrize("name", PROCESSES)
@pytest.mark.parametrize("steps", [1, 2, 5])
def test_the_bound_of_a_chain_bounds_what_its_sampler_draws(name, steps):
    """E[-log p_T(x_0)] of the law that T steps draw lies below the bound, and above the entropy."""
    world = chain(process_of(name, 2))
    p = law(world, LENGTH)
    cross = float(-(p * ancestral_law(world, steps, LENGTH).log()).sum())
    assert world.entropy(LENGTH) - 1e-12 <= cross <= exact_bound(world, steps) + 1e-12


def test_one_token_a_step_is_any_order_autoregression():
    """For every order of the positions, the chain rule with the exact denoiser gives log p itself; and the mean over
    all sets of n masks, L / n times their cross-entropy, is the mean over orders."""
    world, length = hidden(process_of("absorbing", 3)), 4
    process = world.process
    x_0 = every(3, length)[[5, 33, 80]]
    log_p = world.log_prob(x_0)
    orders = list(itertools.permutations(range(length)))
    for order in orders:
        total, x_t = torch.zeros(3, dtype=torch.float64), torch.full_like(x_0, process.mask)
        for i in order:
            answer = world(x_t, torch.tensor(0.5))
            total += answer[:, i].gather(1, x_0[:, i : i + 1])[:, 0]
            x_t[:, i] = x_0[:, i]
        torch.testing.assert_close(total, log_p, rtol=1e-10, atol=0)
    rows = x_0.repeat_interleave(len(orders), 0)
    noise = torch.tensor(orders, dtype=torch.float64).repeat(3, 1) / length
    terms = [
        _of_count(world, rows, torch.full((len(rows),), (n + 0.5) / length, dtype=torch.float64), noise, {})[0]
        for n in range(length)
    ]
    torch.testing.assert_close(torch.stack(terms).mean(0).reshape(3, -1).mean(1), -log_p, rtol=1e-10, atol=0)


@pytest.mark.statistical
@pytest.mark.parametrize(
    ("name", "steps", "draws"), [("absorbing", None, None), ("uniform", None, 40), ("absorbing", 4, 2)]
)
def test_the_estimate_is_unbiased(name, steps, draws):
    """On data of the world itself, within 4 of its standard errors (1 in 16,000)."""
    world, n = chain(process_of(name, 2)), 4000
    x_0 = world.sample(n, LENGTH, torch.Generator().manual_seed(1))
    found = variational_bound(world, x_0, steps=steps, draws=draws)
    wanted = world.entropy(LENGTH) if steps is None else exact_bound(world, steps)
    assert abs(found.nats - wanted) < 4 * found.error
    assert found.error < 0.05
    torch.testing.assert_close(found.parts.sum(1), found.values)


def test_the_estimate_does_not_depend_on_batches():
    world = chain(process_of("uniform", 3))
    x_0 = world.sample(7, 5, torch.Generator().manual_seed(0))
    whole = variational_bound(world, x_0, draws=4)
    parts = variational_bound(world, x_0, draws=4, batch_size=3)
    torch.testing.assert_close(whole.values, parts.values, rtol=1e-12, atol=0)
    last = variational_bound(world, x_0[4:], draws=4, first_index=4)
    torch.testing.assert_close(whole.values[4:], last.values, rtol=1e-12, atol=0)


def test_the_estimate_says_what_it_needs():
    world = chain(process_of("uniform", 3))
    x_0 = torch.zeros(2, 3, dtype=torch.int64)
    with pytest.raises(UsageError, match="how many draws"):
        variational_bound(world, x_0, draws=None)
    assert math.isnan(variational_bound(world, x_0[:1], draws=2).error)
