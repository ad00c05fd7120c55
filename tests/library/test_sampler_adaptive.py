"""The adaptive solver: it keeps its tolerance, it has its order, and samples do not depend on their neighbours."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.integrate import solve_ivp
from torch import Tensor
from worlds import SCHEDULES, f64, gaussian

from gendi.diffusion.gaussian.exact import GaussianDenoiser, MixtureDenoiser
from gendi.diffusion.gaussian.samplers import get_sampler, sample
from gendi.diffusion.gaussian.schedule import make_schedule
from gendi.errors import UsageError

WEIGHTS, MEANS, SPREAD = f64(0.3, 0.7), f64(-1.0, 1.0), 0.4
START = f64(-1.5, -0.2, 0.1, 0.4, 2.0)[:, None]


class Mixture(MixtureDenoiser):
    """Two Gaussians on the line; it counts its calls."""

    calls = 0

    def __init__(self, name: str = "cosine", steps: int | None = None) -> None:
        covariances = torch.full((2, 1, 1), SPREAD**2, dtype=torch.float64)
        super().__init__(make_schedule(name, steps), WEIGHTS, MEANS[:, None], covariances)

    def __call__(self, x_t: Tensor, t: Tensor, **_: Any) -> Tensor:
        self.calls += 1
        return super().__call__(x_t, t)


def slope(level: float, y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return dy / dlevel = (y - x0_hat) / level for y = x / alpha."""
    variance = SPREAD**2 + level**2
    means = MEANS.numpy()[:, None]
    log_share = np.log(WEIGHTS.numpy())[:, None] - 0.5 * (y - means) ** 2 / variance
    share = np.exp(log_share - log_share.max(0))
    x_0 = (share * (means + SPREAD**2 / variance * (y - means))).sum(0) / share.sum(0)
    return np.asarray((y - x_0) / level)


def answer(denoiser: Mixture, x: Tensor, begin: float, end: float) -> Tensor:
    (alpha, sigma), (alpha_s, sigma_s) = (denoiser.schedule(f64(t)) for t in (begin, end))
    low = max((sigma_s / alpha_s).item(), 1e-7)
    span, y = ((sigma / alpha).item(), low), (x / alpha)[:, 0].numpy()
    solution = solve_ivp(slope, span, y, method="DOP853", rtol=1e-12, atol=1e-12)
    return alpha_s * torch.from_numpy(solution.y[:, -1:])


def solve(denoiser: MixtureDenoiser, x: Tensor, times: Tensor, **options: Any) -> Tensor:
    *_, last = get_sampler("dopri5").run(denoiser, x, times, gaussian, **options)
    return last.x


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("tolerance", [1e-3, 1e-6, 1e-9])
def test_it_keeps_its_tolerance(name: str, tolerance: float) -> None:
    """The tolerance is of one step; ten or twenty steps, and a flow that spreads neighbours apart, may sum to 50."""
    denoiser = Mixture(name)
    got = solve(denoiser, START, f64(0.8, 0.05), rtol=tolerance, atol=tolerance)
    assert (got - answer(denoiser, START, 0.8, 0.05)).abs().max() < 50 * tolerance


@pytest.mark.parametrize("name", SCHEDULES)
def test_down_to_zero(name: str) -> None:
    """The last stretch errs by the fourth power of the lowest level over the width of the narrowest mode:
    (0.002 / 0.4)^4.
    """
    denoiser = Mixture(name)
    got = solve(denoiser, START, f64(0.8, 0.0), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(got, answer(denoiser, START, 0.8, 0.0), rtol=0, atol=1e-8)


def test_from_pure_noise_on_a_chain() -> None:
    """The last stretch begins at the chain's first time, at the level 0.01: (0.01 / 0.4)^4 is 4e-7."""
    denoiser = Mixture("linear", 1000)
    got = solve(denoiser, START, f64(1.0, 0.0), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(got, answer(denoiser, START, 1.0, 0.0), rtol=0, atol=2e-6)


def test_times_on_the_way_are_reached_exactly() -> None:
    denoiser, times = Mixture(), f64(0.9, 0.5, 0.3, 0.0)
    states = list(get_sampler("dopri5").run(denoiser, START, times, gaussian, rtol=1e-8, atol=1e-8))
    assert [(s.t.item(), s.s.item()) for s in states] == [(0.9, 0.5), (0.5, 0.3), (0.3, 0.0)]
    for state in states[:2]:
        torch.testing.assert_close(state.x, answer(denoiser, START, 0.9, state.s.item()), rtol=0, atol=1e-6)


def test_fifth_order() -> None:
    """Errors fall at least as the fifth power of the calls; steps that fit the flow gain a little more."""
    measured = []
    for tolerance in (1e-6, 1e-10):
        denoiser = Mixture()
        got = solve(denoiser, START[:1], f64(0.9, 0.05), rtol=tolerance, atol=tolerance)
        error = (got - answer(denoiser, START[:1], 0.9, 0.05)).abs().item()
        measured.append((denoiser.calls, error))
    (few, large), (many, small) = measured
    assert 4.7 < math.log(large / small) / math.log(many / few) < 7


@pytest.mark.parametrize("spread", [0.3, 1.0, 3.0])
def test_the_spread_is_no_assumption(spread: float) -> None:
    denoiser = Mixture()
    got = solve(denoiser, START, f64(0.8, 0.05), rtol=1e-9, atol=1e-9, spread=spread)
    torch.testing.assert_close(got, answer(denoiser, START, 0.8, 0.05), rtol=0, atol=1e-7)


def test_a_sample_does_not_know_its_neighbours() -> None:
    """It is equal to the bit, although alone the samples would not take equally many calls."""
    x = torch.cat([START, gaussian(4, 1, seed=2)])
    together, calls, alone = solve(Mixture(), x, f64(0.9, 0.4, 0.0)), set(), []
    for row in x:
        denoiser = Mixture()
        alone.append(solve(denoiser, row[None], f64(0.9, 0.4, 0.0)))
        calls.add(denoiser.calls)
    assert len(calls) > 1
    torch.testing.assert_close(together, torch.cat(alone), rtol=0, atol=1e-12)


def test_a_gaussian_of_the_spread_takes_the_least_calls() -> None:
    """F is 0 for N(0, s^2 I): every step is taken and five times the one before, 0.05 radians at first."""
    calls = 0

    class Watched(GaussianDenoiser):
        def __call__(self, x_t: Tensor, t: Tensor, **_: Any) -> Tensor:
            nonlocal calls
            calls += 1
            return super().__call__(x_t, t)

    denoiser = Watched(make_schedule("cosine"), f64(0.0), f64(1.0)[:, None])
    got = solve(denoiser, START, f64(1.0, 0.0))
    torch.testing.assert_close(got, START / denoiser.schedule(f64(1.0))[1], rtol=1e-6, atol=0)
    assert calls == 1 + 6 * 4  # 0.05 + 0.25 + 1.25 and what is left of pi / 2


def test_the_number_of_calls_allowed() -> None:
    denoiser = Mixture()
    sample(denoiser, (1,), 3, sampler="dopri5", steps=1000)
    enough, denoiser.calls = denoiser.calls, 0
    sample(denoiser, (1,), 3, sampler="dopri5", steps=enough)
    assert denoiser.calls == enough
    with pytest.raises(UsageError, match=rf"rtol = 0.001, atol = 0.001 takes more than the {enough - 1} calls"):
        sample(denoiser, (1,), 3, sampler="dopri5", steps=enough - 1)


def test_a_tolerance_below_round_off() -> None:
    with pytest.raises(UsageError, match="round-off of torch.float32"):
        solve(Mixture(), START.float(), f64(0.9, 0.1), rtol=1e-14, atol=1e-14)


def test_more_calls_than_a_chain_has_steps_are_no_error() -> None:
    x = sample(Mixture("linear", 20), (1,), 2, sampler="dopri5", steps=500)
    assert math.isfinite(x.sum().item())
