"""Samplers of tokens against laws that are found without drawing anything."""

import itertools
import math

import pytest
import torch
from token_worlds import (
    PROCESSES,
    ancestral_law,
    chain,
    counted,
    every,
    hidden,
    law,
    process_of,
    rows,
    variation,
)

from gendi.diffusion.discrete.denoiser import carried_over
from gendi.diffusion.discrete.exact import ConditionalDenoiser, MarkovDenoiser
from gendi.diffusion.discrete.guidance import TokenGuidance
from gendi.diffusion.discrete.samplers import TOKEN_SAMPLERS, categorical, sample
from gendi.diffusion.discrete.samplers.state import times_of
from gendi.errors import DivergedError, UsageError

N = 8000


def close(x, p, tokens):
    """Assert that drawn sequences have the law p, by chi-squared within 4.5 standard deviations of its own."""
    there = p > 1e-12
    assert float(counted(x, tokens)[~there].sum()) == 0
    chi2 = float((len(x) * (counted(x, tokens)[there] - p[there]) ** 2 / p[there]).sum())
    freedom = int(there.sum()) - 1
    assert chi2 < freedom + 4.5 * math.sqrt(2 * freedom)


@pytest.mark.parametrize("intervals", [1, 2, 3, 10])
def test_two_tokens_drawn_in_the_same_step_are_independent(intervals):
    """Of N equal steps of a linear schedule both fall into the same one with probability 1 / N: the total variation is
    1 / N of that of independent tokens, with the exact denoiser."""
    world = chain(process_of("absorbing", 3))
    p = law(world, 2).reshape(3, 3)
    apart = (p.sum(1)[:, None] * p.sum(0)[None]).flatten()
    found = ancestral_law(world, intervals, 2)
    torch.testing.assert_close(found, (1 - 1 / intervals) * p.flatten() + apart / intervals, rtol=0, atol=1e-12)
    assert variation(found, p.flatten()) == pytest.approx(variation(apart, p.flatten()) / intervals)


@pytest.mark.parametrize("name", PROCESSES)
def test_the_law_of_few_steps_is_wrong_even_with_the_exact_denoiser_and_mends_at_first_order(name):
    world = chain(process_of(name, 2))
    p = law(world, 3)
    errors = [variation(ancestral_law(world, steps, 3), p) for steps in (1, 16, 32, 64)]
    assert errors[0] > 0.1
    for wide, narrow in itertools.pairwise(errors[1:]):
        assert wide / narrow == pytest.approx(2, rel=0.1)


@pytest.mark.statistical
@pytest.mark.parametrize("name", PROCESSES)
@pytest.mark.parametrize("steps", [1, 3])
def test_ancestral_draws_the_law_of_its_kernel(name, steps):
    world = chain(process_of(name, 3))
    close(sample(world, 2, N, batch_size=N, steps=steps), ancestral_law(world, steps, 2), 3)


@pytest.mark.statistical
@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_first_hitting_draws_the_law_of_the_data(schedule):
    world = hidden(process_of("absorbing", 3, schedule))
    close(sample(world, 3, N, batch_size=N, sampler="first-hitting"), law(world, 3), 3)


def test_first_hitting_visits_the_times_of_the_process():
    """Of L masks the first is lifted at 1 - alpha = u^(1 / L), whose mean is L / (L + 1); the last at that of the least
    of L uniform numbers, 1 / (L + 1)."""
    from gendi.diffusion.discrete.samplers import trajectory

    world, length, n = chain(process_of("absorbing", 2)), 4, 4000
    states = list(trajectory(world, length, range(n), sampler="first-hitting"))
    assert len(states) == length
    for k, state in enumerate(states):
        wanted = (length - k) / (length + 1)
        spread = math.sqrt(wanted * (1 - wanted) / (length + 2) / n)  # of a beta law
        assert abs(float(state.s.mean()) - wanted) < 4.5 * spread
        assert bool(((state.x == world.process.mask).sum(1) == length - 1 - k).all())


def test_cached_draws_the_samples_of_ancestral_with_fewer_calls():
    world, seen = chain(process_of("absorbing", 3)), []

    class Counting:
        process = world.process

        def __call__(self, x_t, t, /, **cond):
            seen.append(len(x_t))
            return world(x_t, t)

    one = sample(Counting(), 5, 40, steps=64)
    ancestral, seen[:] = sum(seen), []
    other = sample(Counting(), 5, 40, steps=64, sampler="cached")
    assert torch.equal(one, other)
    assert ancestral == 64 * 40 and sum(seen) <= 5 * 40


@pytest.mark.statistical
def test_corrections_draw_the_law_of_their_kernel_which_is_nearer():
    world = chain(process_of("absorbing", 2))
    p = law(world, 3)
    plain, corrected = ancestral_law(world, 2, 3), ancestral_law(world, 2, 3, corrections=2, back=0.8)
    assert variation(corrected, p) < 0.7 * variation(plain, p)
    x = sample(world, 3, 5 * N, batch_size=5 * N, sampler="predictor-corrector", steps=4, corrections=2, back=0.8)
    close(x, corrected, 2)


@pytest.mark.statistical
def test_confidence_is_biased_at_any_number_of_steps():
    """One token a step, with the exact denoiser: its samples are far likelier than those of the data. Positions are
    kept because of what was drawn there, which the law of the others does not know."""
    world = chain(process_of("absorbing", 3))
    p = law(world, 3)
    x = sample(world, 3, N, batch_size=N, sampler="confidence", steps=3)
    assert variation(counted(x, 3), p) > 0.05  # chance alone makes about sqrt(27 / N) / 2.5 = 0.023
    log_p = world.log_prob(x)
    assert float(log_p.mean()) > -world.entropy(3) + 0.1
    noisy = sample(world, 3, N, batch_size=N, sampler="confidence", steps=3, noise=1e6)  # the order is random
    close(noisy, p, 3)


@pytest.mark.statistical
@pytest.mark.parametrize("sampler", ["first-hitting", "predictor-corrector", "cached"])
def test_given_tokens_stay_and_the_others_follow_their_law_given_them(sampler):
    world = chain(process_of("absorbing", 3))
    given = torch.tensor([2, -1, -1, 0])
    x = sample(world, 4, N, batch_size=N, given=given, sampler=sampler, steps=60)
    assert bool((x[:, 0] == 2).all() and (x[:, 3] == 0).all())
    p = law(world, 4).reshape(3, 3, 3, 3)[2, :, :, 0].flatten()
    p = p / p.sum()
    if sampler == "first-hitting":
        close(x[:, 1:3], p, 3)
    else:  # both fall into one of 60 steps, or of 30 that are corrected
        assert variation(counted(x[:, 1:3], 3), p) < 0.06


@pytest.mark.parametrize("sampler", list(TOKEN_SAMPLERS))
def test_a_sample_does_not_depend_on_its_neighbours(sampler):
    world = hidden(process_of("absorbing", 4))
    whole = sample(world, 6, 11, sampler=sampler, steps=8, seed=3)
    assert torch.equal(whole, sample(world, 6, 11, sampler=sampler, steps=8, seed=3, batch_size=4))
    assert torch.equal(whole[7:], sample(world, 6, 4, sampler=sampler, steps=8, seed=3, first_index=7))
    assert not torch.equal(whole, sample(world, 6, 11, sampler=sampler, steps=8, seed=4))


@pytest.mark.parametrize("steps", [1, 4, 10])
def test_t_steps_of_a_chain_of_t_are_its_own(steps):
    process = process_of("absorbing", 2, steps=10)
    times = times_of(process, steps)
    assert len(times) == steps + 1
    torch.testing.assert_close((times * 10).round() / 10, times, rtol=0, atol=0)
    if steps == 10:
        torch.testing.assert_close(times, torch.arange(10, -1, -1, dtype=torch.float64) / 10, rtol=0, atol=0)
    with pytest.raises(UsageError, match="chain of 10"):
        times_of(process, 11)


def test_draws_reach_into_the_tail():
    """A state of probability 1e-12 is drawn by numbers below it: float32 has no uniform number between 0 and 6e-8."""
    p = torch.tensor([[[1e-12, 0.5, 0.0, 0.5]]], dtype=torch.float64)
    u = [0.0, 0.9e-12, 1.1e-12, 0.4999, 0.5001, 1 - 2**-53]
    found = [int(categorical(p, torch.tensor([[value]], dtype=torch.float64))) for value in u]
    assert found == [0, 0, 1, 1, 3, 3]


def test_guidance_tilts_the_law_of_one_token():
    """p(x | c)^w p(x)^(1 - w), which is proportional to p(x) p(c | x)^w; w = 1 and w = 0 are the two models."""
    process = process_of("absorbing", 4)
    laws, shares = rows(2, 4, seed=5), torch.tensor([0.3, 0.7], dtype=torch.float64)
    world = ConditionalDenoiser([MarkovDenoiser(process, q, rows(4, 4)) for q in laws], shares)
    x_t, t, c = torch.full((1, 1), process.mask), torch.tensor(0.5), {"class": torch.tensor([1])}
    joint = shares[:, None] * laws
    prior, p_c = joint.sum(0), joint[1] / joint.sum(0)
    for w in (0.0, 0.5, 1.0, 3.0):
        wanted = prior * p_c**w
        found = TokenGuidance(world, w)(x_t, t, **c).exp()[0, 0]
        torch.testing.assert_close(found, wanted / wanted.sum(), rtol=1e-9, atol=0)
    assert torch.equal(TokenGuidance(world, 1)(x_t, t, **c), world(x_t, t, **c))


def test_the_mixture_of_classes_is_their_joint_law():
    """Without the class, p(x_0 | x_t) is that of the mixed law, by every sequence."""
    process, length = process_of("absorbing", 2), 3
    worlds = [chain(process, seed) for seed in (0, 7)]
    shares = torch.tensor([0.4, 0.6], dtype=torch.float64)
    p = sum(share * law(world, length) for share, world in zip(shares, worlds, strict=True))
    x_t = torch.tensor([[2, 1, 2]])
    keep = every(2, length)[:, 1] == 1
    wanted = torch.stack([p[keep & (every(2, length)[:, 0] == k)].sum() for k in range(2)]) / p[keep].sum()
    mixed = ConditionalDenoiser(worlds, shares)
    for cond in ({}, {"class": torch.tensor([-1])}):
        found = mixed(x_t, torch.tensor(0.5), **cond).exp()[0, 0]
        torch.testing.assert_close(found, wanted, rtol=1e-9, atol=0)


@pytest.mark.parametrize("sampler", list(TOKEN_SAMPLERS))
def test_a_position_may_be_limited_to_the_first_tokens(sampler):
    world = chain(process_of("absorbing", 4))
    x = sample(world, 3, 200, given=torch.tensor([-3, -1, 3]), sampler=sampler, steps=6)
    assert set(x[:, 0].tolist()) <= {0, 1} and set(x[:, 2].tolist()) == {3}
    if sampler != "confidence":  # which keeps to the likeliest
        assert set(x[:, 0].tolist()) == {0, 1} and set(x[:, 1].tolist()) == {0, 1, 2, 3}


def test_a_limit_is_the_law_given_the_limit():
    """Of one token, -1 - m is p restricted to the first m and normalised."""
    process = process_of("absorbing", 3)
    world = MarkovDenoiser(process, torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64), rows(3, 3))
    x = sample(world, 1, N, batch_size=N, given=torch.tensor([-3]), steps=1)
    close(x, torch.tensor([0.625, 0.375, 0.0], dtype=torch.float64), 3)


def test_a_temperature_sharpens_each_law():
    process = process_of("absorbing", 3)
    world = MarkovDenoiser(process, torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64), rows(3, 3))
    x = sample(world, 1, N, batch_size=N, temperature=0.5, steps=1)
    wanted = torch.tensor([0.25, 0.09, 0.04], dtype=torch.float64)
    close(x, wanted / wanted.sum(), 3)


def test_what_is_not_masked_is_known_to_a_network():
    process = process_of("absorbing", 3)
    x_t = torch.tensor([[1, 3]])
    log_p = carried_over(process, torch.randn(1, 2, 3), x_t)
    assert log_p[0, 0].exp().tolist() == [0, 1, 0]
    assert float(log_p[0, 1].exp().sum()) == pytest.approx(1, abs=1e-6)


def test_what_cannot_be_drawn_is_refused():
    masked, noisy = chain(process_of("absorbing", 3)), chain(process_of("uniform", 3))
    with pytest.raises(UsageError, match="a process with masks"):
        sample(noisy, 3, 2, given=torch.tensor([0, -1, -1]))
    with pytest.raises(UsageError, match="is for the process absorbing"):
        sample(noisy, 3, 2, sampler="first-hitting")
    with pytest.raises(UsageError, match="first-hitting"):
        sample(masked, 3, 2, sampler="first-hiting")
    with pytest.raises(UsageError, match="tokens 0 to 2"):
        sample(masked, 3, 2, given=torch.tensor([3, -1, -1]))
    with pytest.raises(UsageError, match="at least 1 step"):
        sample(masked, 3, 2, steps=0)
    with pytest.raises(UsageError, match="above 0"):
        sample(masked, 3, 2, temperature=0.0)
    with pytest.raises(UsageError, match="option of the sampler"):
        sample(masked, 3, 2, sampler="confidence", nois=1.0)
    with pytest.raises(UsageError, match="back = 2"):
        sample(masked, 3, 2, sampler="predictor-corrector", back=2.0)

    class Broken:
        process = masked.process

        def __call__(self, x_t, t, /, **cond):
            return torch.full((*x_t.shape, 3), torch.nan)

    with pytest.raises(DivergedError, match="no probabilities"):
        sample(Broken(), 3, 2)


def test_everything_given_is_returned():
    world = chain(process_of("absorbing", 3))
    for sampler in TOKEN_SAMPLERS:
        x = sample(world, 3, 2, given=torch.tensor([0, 1, 2]), sampler=sampler, steps=4)
        assert x.tolist() == [[0, 1, 2]] * 2
