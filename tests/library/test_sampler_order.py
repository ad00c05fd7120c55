"""Observed order of convergence: with half the step the error is 2^-order of what it was.

The probability-flow ODE in y = x / alpha and level = sigma / alpha is dy / d level = (y - x0_hat) / level  [Song et al.
2021 (DDIM), eq. 14]. For a Gaussian its solution is y - m = sqrt((c + level^2) / (c + level_0^2)) (y_0 - m); for a
mixture SciPy solves it, with the mixture's density written out here.
"""

import functools
import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.integrate import solve_ivp
from torch import Tensor
from worlds import SCHEDULES, f64, gaussian

from gendi.diffusion.gaussian.exact import GaussianDenoiser, MixtureDenoiser
from gendi.diffusion.gaussian.samplers import SAMPLERS, get_sampler, make_grid
from gendi.diffusion.gaussian.schedule import Schedule, make_schedule

CASES: list[tuple[str, dict[str, Any], int]] = [
    *(
        (name, {}, info.order)
        for name, info in SAMPLERS.items()
        if info.deterministic and not info.adaptive and info.takes == "mean"
    ),
    ("unipc", {"order": 1}, 2),
    ("unipc", {"order": 2}, 3),
    ("unipc", {"order": 3, "rule": "bh1"}, 3),
    ("lms", {"order": 1}, 1),
    ("lms", {"order": 2}, 2),
    ("deis", {"order": 1}, 1),
    ("deis", {"order": 2}, 2),
]
NAMES = ["-".join([name, *map(str, options.values())]) for name, options, _ in CASES]
every_sampler = pytest.mark.parametrize(("sampler", "options", "order"), CASES, ids=NAMES)
WEIGHTS, MEANS, SPREAD = np.array([0.3, 0.7]), np.array([-1.0, 1.0]), 0.4
START = np.array([-1.5, -0.2, 0.1, 0.4, 2.0])


def grid(schedule: Schedule, n: int) -> Tensor:
    """Return n + 1 times even in log-SNR from sigma / alpha = 2 to 0.15.

    They begin where the denoiser bends. From far above, the first step of UniPC, LMS and others, whose order is lower
    than that of the rest, would be hidden until hundreds of steps: UniPC of order 3 would seem to be of order 3.8.
    """
    ends = (-2 * f64(2.0, 0.15).log()).tolist()
    return schedule.time(torch.linspace(*ends, n + 1, dtype=torch.float64))


def level(schedule: Schedule, t: Tensor) -> tuple[float, float]:
    alpha, sigma = schedule(t)
    return alpha.item(), (sigma / alpha).item()


def observed(
    sampler: str, options: dict[str, Any], order: int, denoiser: MixtureDenoiser, start: Tensor, answer: Tensor
) -> list[float]:
    errors = []
    for n in (128, 256) if order == 3 else (64, 128):
        *_, last = get_sampler(sampler).run(denoiser, start, grid(denoiser.schedule, n), lambda k: start, **options)
        errors.append((last.x - answer).abs().max().item())
    return [math.log2(a / b) for a, b in pairwise(errors)]


def close(slopes: list[float], order: int, tolerance: float) -> bool:
    """Return whether the slopes are the order claimed, from below and from above."""
    return all(abs(slope - order) < tolerance for slope in slopes)


@pytest.mark.parametrize("name", SCHEDULES)
@every_sampler
def test_order_on_a_gaussian(sampler: str, options: dict[str, Any], order: int, name: str) -> None:
    schedule, m, c = make_schedule(name), f64(0.7, -0.3), f64(0.5, 0.05)  # two variances: errors cross 0 apart
    times = grid(schedule, 1)
    (a_0, l_0), (a_1, l_1) = (level(schedule, t) for t in times)
    start = a_0 * torch.from_numpy(START)[:, None].expand(-1, 2)
    answer = a_1 * (m + ((c + l_1**2) / (c + l_0**2)).sqrt() * (start / a_0 - m))
    denoiser = GaussianDenoiser(schedule, m, torch.diag(c))
    slopes = observed(sampler, options, order, denoiser, start, answer)
    assert close(slopes, order, 0.15), slopes


def slope(at: float, y: NDArray[np.float64]) -> NDArray[np.float64]:
    variance = SPREAD**2 + at**2
    log_share = np.log(WEIGHTS)[:, None] - 0.5 * (y - MEANS[:, None]) ** 2 / variance
    share = np.exp(log_share - log_share.max(0))
    x_0 = (share * (MEANS[:, None] + SPREAD**2 / variance * (y - MEANS[:, None]))).sum(0) / share.sum(0)
    return np.asarray((y - x_0) / at)


@functools.cache
def solved(l_0: float, l_1: float, start: tuple[float, ...]) -> NDArray[np.float64]:
    solution = solve_ivp(slope, (l_0, l_1), np.array(start), method="DOP853", rtol=1e-12, atol=1e-12)
    return np.asarray(solution.y[:, -1])


@pytest.mark.parametrize("name", ["linear", "cosine"])
@every_sampler
def test_order_on_a_mixture(sampler: str, options: dict[str, Any], order: int, name: str) -> None:
    schedule = make_schedule(name)
    times = grid(schedule, 1)
    (a_0, l_0), (a_1, l_1) = (level(schedule, t) for t in times)
    solution = solved(l_0, l_1, tuple(START / a_0))
    denoiser = MixtureDenoiser(
        schedule,
        torch.from_numpy(WEIGHTS),
        torch.from_numpy(MEANS)[:, None],
        torch.full((2, 1, 1), SPREAD**2, dtype=torch.float64),
    )
    start, answer = torch.from_numpy(START)[:, None], a_1 * torch.from_numpy(solution)[:, None]
    slopes = observed(sampler, options, order, denoiser, start, answer)
    assert close(slopes, order, 0.25), slopes


@pytest.mark.parametrize(("name", "power"), [("cosine", 2), ("sigmoid", 1)])
@pytest.mark.parametrize("sampler", ["dpmpp-3m", "deis"])
def test_order_from_pure_noise_is_that_of_alpha_squared(sampler: str, name: str, power: int) -> None:
    """On a grid even in t from 1, the log-SNR of the first steps does not shrink with n: alpha is nearly 0 at 1, and at
    the second time it is like h for cosine and sqrt(h) for sigmoid. One value of the denoiser, which moves by alpha,
    carries the first step, so it errs by alpha^2.
    """
    schedule, m, c = make_schedule(name), f64(0.7, -0.3), f64(0.5, 0.05)
    errors = []
    for n in (128, 256, 512):
        times = torch.linspace(1, 0.05, n + 1, dtype=torch.float64)
        (a_0, l_0), (a_1, l_1) = (level(schedule, t) for t in (times[0], times[-1]))
        start = torch.from_numpy(START)[:, None].expand(-1, 2)
        answer = a_1 * (m + ((c + l_1**2) / (c + l_0**2)).sqrt() * (start / a_0 - m))
        *_, last = get_sampler(sampler).run(GaussianDenoiser(schedule, m, torch.diag(c)), start, times, gaussian)
        errors.append((last.x - answer).abs().max().item())
    slopes = [math.log2(a / b) for a, b in pairwise(errors)]
    assert close(slopes, power, 0.25), slopes


def test_second_order_pays_at_twenty_steps() -> None:
    """From noise to data: 20 steps err by less than 10% of the data's deviation, and by a third of DDIM's."""
    schedule, m, c = make_schedule("cosine"), 0.7, 0.5
    denoiser = GaussianDenoiser(schedule, f64(m), f64(c)[:, None])
    errors = {}
    for sampler in ("ddim", "dpmpp-2m"):
        info = get_sampler(sampler)
        times = make_grid(schedule, 20, "karras", (0.01, 80.0))
        alpha, at = level(schedule, times[0])
        start = torch.from_numpy(START)[:, None]
        exact = m + math.sqrt(c / (c + at**2)) * (start / alpha - m)
        *_, last = info.run(denoiser, start, times, gaussian)
        errors[sampler] = (last.x - exact).abs().max().item()
    assert errors["dpmpp-2m"] < min(errors["ddim"] / 3, 0.1 * math.sqrt(c))
