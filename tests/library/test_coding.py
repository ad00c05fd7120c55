"""The bound as a code: three groupings of one number, and a coder whose bits are counted and whose data come back."""

import numpy as np
import pytest

from gendi.diffusion import make_schedule
from gendi.diffusion.gaussian.coding import GridWorld, Stack, grid_world, receive, send
from gendi.diffusion.gaussian.coding.stack import places
from gendi.diffusion.gaussian.coding.world import binned
from gendi.errors import UsageError

LEVELS = np.linspace(-3, 3, 25)
DATA = np.exp(-0.5 * ((LEVELS - 1.2) / 0.3) ** 2) + 0.7 * np.exp(-0.5 * ((LEVELS + 1) / 0.5) ** 2)
DATA /= DATA.sum()


def world(variance: str = "small", steps: int = 6) -> GridWorld:
    return grid_world(make_schedule("linear", steps), LEVELS, DATA, variance)


@pytest.mark.parametrize("variance", ["small", "large"])
@pytest.mark.parametrize("steps", [1, 2, 6])
def test_the_three_groupings_of_the_bound_are_one_number(variance: str, steps: int) -> None:
    """Equations 3, 5 and 16 are sums over all paths of the grid; they agree to round-off, and none is the entropy."""
    found = world(variance, steps)
    chain, bound, marginal = found.chain_terms(), found.bound_terms(), found.marginal_terms()
    assert bound.sum() == pytest.approx(chain.sum(), abs=1e-9)
    assert marginal.sum() == pytest.approx(chain.sum(), abs=1e-9)
    assert (marginal[1:] > 0).all() and (bound[1:] > 0).all()
    assert marginal[0] == pytest.approx(-float(DATA @ np.log2(DATA)))
    assert (len(chain), len(bound), len(marginal)) == (steps + 1, steps + 1, steps + 2)


def test_the_chain_is_a_gaussian_one_where_bins_are_narrow() -> None:
    """With 400 bins the law of x_t given x_0 has the mean and deviation of the closed form, to the width of a bin."""
    schedule, levels = make_schedule("linear", 6), np.linspace(-5, 5, 400)
    fine = grid_world(schedule, levels, np.full(400, 1 / 400))
    for t in (1, 3, 6):
        alpha, sigma = (float(value) for value in schedule(t / 6))
        law = fine.given_data[t][240]
        mean = law @ levels
        assert mean == pytest.approx(alpha * levels[240], abs=1e-3)
        # every step adds a bin's own variance, width^2 / 12, which is 5e-5
        assert law @ (levels - mean) ** 2 == pytest.approx(sigma**2, abs=6e-4)


def test_bins_of_a_normal_are_scipys_differences() -> None:
    from scipy.stats import norm

    edges = np.array([-1.0, 0.5, 2.0])
    found = binned(np.array([0.3, -2.0]), 0.7, edges)
    for mean, row in zip((0.3, -2.0), found, strict=True):
        cdf = norm.cdf(np.array([-np.inf, *edges, np.inf]), mean, 0.7)
        assert row == pytest.approx(np.diff(cdf), abs=2e-12)


def test_what_was_sent_is_received_and_every_bit_is_given_back() -> None:
    found, values = world(), np.random.default_rng(0).choice(25, 60, p=DATA).tolist()
    stack, fresh = Stack(seed=1), Stack(seed=1)
    sent = send(found, values, stack)
    assert stack.state != fresh.state
    received, guesses = receive(found, len(values), stack)
    assert received == values and stack.state == fresh.state
    assert guesses[:, -1] == pytest.approx(LEVELS[values])
    assert guesses[3, 0] == pytest.approx(found.guess[-1, sent.paths[3, -1]])


def test_the_bits_of_every_step_are_those_of_the_path() -> None:
    """Measured as growth of the stack, against logarithms of probabilities: equal to 1e-6 bits, step by step."""
    found, values = world("large"), np.random.default_rng(1).choice(25, 40, p=DATA).tolist()
    stack = Stack(seed=2)
    before = stack.bits
    sent = send(found, values, stack)
    assert stack.bits - before == pytest.approx(sent.rates.sum(), abs=1e-6)
    for x, rates in zip(sent.paths, sent.rates, strict=True):
        assert rates[0] == pytest.approx(-np.log2(found.reverse[0][x[1], x[0]]), abs=1e-6)
        for t in range(2, 7):
            ours, theirs = found.posterior(t)[x[0], x[t], x[t - 1]], found.reverse[t - 1][x[t], x[t - 1]]
            assert rates[t - 1] == pytest.approx(np.log2(ours) - np.log2(theirs), abs=1e-6)
        last = found.given_data[-1][x[0], x[-1]] / found.prior[x[-1]]
        assert rates[-1] == pytest.approx(np.log2(last), abs=1e-6)


@pytest.mark.statistical
def test_on_average_they_are_the_bound() -> None:
    """1500 values; the mean of their bits is allowed five standard errors."""
    found = world()
    values = np.random.default_rng(2).choice(25, 1500, p=DATA).tolist()
    bits = send(found, values, Stack(seed=3)).rates.sum(1)
    assert bits.mean() == pytest.approx(found.bound_terms().sum(), abs=5 * bits.std() / len(bits) ** 0.5)


def test_draws_from_random_bits_have_their_distribution() -> None:
    """4000 draws of a symbol of probability 0.3 are 1200 to five standard deviations of 29."""
    stack, starts = Stack(seed=4, bits=20_000), places(np.array([0.3, 0.5, 0.2]))
    drawn = np.bincount([stack.pop(starts) for _ in range(4000)], minlength=3)
    assert drawn[0] == pytest.approx(1200, abs=5 * 29) and drawn[2] == pytest.approx(800, abs=5 * 26)


def test_what_is_impossible_is_refused() -> None:
    with pytest.raises(UsageError, match="sum to 1"):
        places(np.array([0.5, 0.6]))
    stack = Stack(bits=100)
    with pytest.raises(UsageError, match="no bits left"):
        [stack.pop(places(np.array([0.5, 0.5]))) for _ in range(100)]


def test_distortion_falls_as_more_is_received() -> None:
    """sqrt(E[Var[x_0 | x_t]]) by hand for one level, and falling towards the data."""
    found = world()
    joint = DATA[:, None] * found.given_data[2]
    mean = LEVELS @ joint / joint.sum(0)
    variance = (LEVELS**2) @ joint / joint.sum(0) - mean**2
    assert found.distortion()[1] == pytest.approx(np.sqrt(variance @ joint.sum(0)))
    assert (np.diff(found.distortion()) > 0).all()
