"""Observed order of convergence: half the step, 2^-order of the error.

The probability-flow ODE in y = x / alpha and level = sigma / alpha is dy / d level = (y - x0_hat) / level  [Song et al.
2021 (DDIM), eq. 14]. For a Gaussian its solution is y - m = sqrt((c + level^2) / (c + level_0^2)) (y_0 - m); for a
mixture SciPy solves it, with the mixture's density written out here.
"""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.integrate import solve_ivp
from torch import Tensor
from worlds import SCHEDULES, f64, gaussian

from gendi.exact import GaussianDenoiser, MixtureDenoiser
from gendi.samplers import get_sampler, make_grid
from gendi.schedule import Schedule, make_schedule

ORDER = {"ddim": 1, "dpmpp-2m": 2}
WEIGHTS, MEANS, SPREAD = np.array([0.3, 0.7]), np.array([-1.0, 1.0]), 0.4
START = np.array([-1.5, -0.2, 0.1, 0.4, 2.0])


def grid(schedule: Schedule, n: int) -> Tensor:
    """Return n + 1 times even in log-SNR between two interior times."""
    ends = schedule.log_snr(f64(0.8, 0.05)).tolist()
    return schedule.time(torch.linspace(*ends, n + 1, dtype=torch.float64))


def level(schedule: Schedule, t: Tensor) -> tuple[float, float]:
    alpha, sigma = schedule(t)
    return alpha.item(), (sigma / alpha).item()


def observed(sampler: str, denoiser: MixtureDenoiser, start: Tensor, answer: Tensor) -> list[float]:
    errors = []
    for n in (32, 64, 128):
        *_, last = get_sampler(sampler).run(denoiser, start, grid(denoiser.schedule, n), lambda k: start)
        errors.append((last.x - answer).abs().max().item())
    return [math.log2(a / b) for a, b in pairwise(errors)]


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("sampler", sorted(ORDER))
def test_order_on_a_gaussian(sampler: str, name: str) -> None:
    schedule, m, c = make_schedule(name), 0.7, 0.5
    times = grid(schedule, 1)
    (a_0, l_0), (a_1, l_1) = (level(schedule, t) for t in times)
    start = a_0 * torch.from_numpy(START)[:, None]
    answer = a_1 * (m + math.sqrt((c + l_1**2) / (c + l_0**2)) * (start / a_0 - m))
    denoiser = GaussianDenoiser(schedule, f64(m), f64(c)[:, None])
    assert observed(sampler, denoiser, start, answer) == pytest.approx([ORDER[sampler]] * 2, abs=0.15)


def slope(at: float, y: NDArray[np.float64]) -> NDArray[np.float64]:
    variance = SPREAD**2 + at**2
    log_share = np.log(WEIGHTS)[:, None] - 0.5 * (y - MEANS[:, None]) ** 2 / variance
    share = np.exp(log_share - log_share.max(0))
    x_0 = (share * (MEANS[:, None] + SPREAD**2 / variance * (y - MEANS[:, None]))).sum(0) / share.sum(0)
    return np.asarray((y - x_0) / at)


@pytest.mark.parametrize("name", ["linear", "cosine"])
@pytest.mark.parametrize("sampler", sorted(ORDER))
def test_order_on_a_mixture(sampler: str, name: str) -> None:
    schedule = make_schedule(name)
    times = grid(schedule, 1)
    (a_0, l_0), (a_1, l_1) = (level(schedule, t) for t in times)
    solution = solve_ivp(slope, (l_0, l_1), START / a_0, method="DOP853", rtol=1e-12, atol=1e-12)
    denoiser = MixtureDenoiser(
        schedule, torch.from_numpy(WEIGHTS), torch.from_numpy(MEANS)[:, None], torch.full((2, 1, 1), SPREAD**2).double()
    )
    start, answer = torch.from_numpy(START)[:, None], a_1 * torch.from_numpy(solution.y[:, -1:])
    assert observed(sampler, denoiser, start, answer) == pytest.approx([ORDER[sampler]] * 2, abs=0.25)


def test_second_order_pays_at_twenty_steps() -> None:
    """From noise to data: 20 steps err by less than 10% of the data's deviation, and by a third of DDIM's."""
    schedule, m, c = make_schedule("cosine"), 0.7, 0.5
    denoiser = GaussianDenoiser(schedule, f64(m), f64(c)[:, None])
    errors = {}
    for sampler in ORDER:
        info = get_sampler(sampler)
        times = make_grid(schedule, 20, "karras", (0.01, 80.0))
        alpha, at = level(schedule, times[0])
        start = torch.from_numpy(START)[:, None]
        exact = m + math.sqrt(c / (c + at**2)) * (start / alpha - m)
        *_, last = info.run(denoiser, start, times, gaussian)
        errors[sampler] = (last.x - exact).abs().max().item()
    assert errors["dpmpp-2m"] < min(errors["ddim"] / 3, 0.1 * math.sqrt(c))
