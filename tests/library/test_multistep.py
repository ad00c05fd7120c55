"""LMS, DPM-2 and PNDM: as their papers write them, by quadrature, and as steps of the methods that they contain."""

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from torch import Tensor
from worlds import SCHEDULES, covariance, f64, gaussian, scalar

from gendi.diffusion.gaussian.denoiser import Denoiser
from gendi.diffusion.gaussian.exact import MixtureDenoiser
from gendi.diffusion.gaussian.samplers import get_sampler
from gendi.diffusion.gaussian.samplers.dpm2 import middle
from gendi.diffusion.gaussian.samplers.pndm import intervals
from gendi.diffusion.gaussian.schedule import Schedule, make_schedule
from gendi.errors import UsageError

TIMES = f64(0.9, 0.7, 0.6, 0.35, 0.2, 0.12)


def run(sampler: str, denoiser: Denoiser, x: Tensor, times: Tensor, **options: Any) -> list[Tensor]:
    return [state.x for state in get_sampler(sampler).run(denoiser, x, times, gaussian, **options)]


def world(name: str, steps: int | None = None) -> MixtureDenoiser:
    covariances = torch.stack([covariance(2), covariance(2, seed=1)])
    return MixtureDenoiser(make_schedule(name, steps), f64(0.3, 0.7), gaussian(2, 2), covariances)


def level(schedule: Schedule, t: Tensor) -> tuple[float, float]:
    alpha, sigma = (c.item() for c in schedule(t))
    return alpha, sigma / alpha


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_lms_integrates_lagranges_polynomial_in_the_level(name: str, order: int) -> None:
    """y_s = y_t + the sum of eps_j times the integral of its polynomial, as products, by SciPy."""
    denoiser, x = world(name), gaussian(5, 2, seed=3)
    got = run("lms", denoiser, x, TIMES, order=order)
    known: list[tuple[float, Tensor]] = []
    for k, (t, s) in enumerate(pairwise(TIMES)):
        (alpha, at), (alpha_s, end) = level(denoiser.schedule, t), level(denoiser.schedule, s)
        y = x / alpha
        known = [(at, (y - denoiser(x, t)) / at), *known][:order]
        for j, (node, eps) in enumerate(known):
            others = [other for i, (other, _) in enumerate(known) if i != j]

            def polynomial(v: float, node: float = node, others: list[float] = others) -> float:
                return float(np.prod([(v - other) / (node - other) for other in others]))

            y = y + quad(polynomial, at, end, epsabs=1e-12)[0] * eps
        x = alpha_s * y
        torch.testing.assert_close(got[k], x, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("name", SCHEDULES)
def test_dpm_2_is_the_midpoint_method_of_log_sigma(name: str) -> None:
    denoiser, x = world(name), gaussian(5, 2, seed=3)
    got = run("dpm-2", denoiser, x, TIMES)
    for k, (t, s) in enumerate(pairwise(TIMES)):
        (alpha, at), (alpha_s, end) = level(denoiser.schedule, t), level(denoiser.schedule, s)
        half = math.sqrt(at * end)
        m = denoiser.schedule.time(scalar(-2 * math.log(half)))
        y = x / alpha
        y_m = y + (half - at) * (y - denoiser(x, t)) / at
        slope = (y_m - denoiser(denoiser.schedule(m)[0] * y_m, m)) / half
        x = alpha_s * (y + (end - at) * slope)
        torch.testing.assert_close(got[k], x, rtol=1e-8, atol=1e-8)


def test_dpm_2_on_a_chain_without_a_time_between_is_heun() -> None:
    """Of two neighbours on a chain the middle is the lower one, and eps at the middle is the mean of both ends: Heun's.

    Here the line is through ln l, whose middle is half way.
    """
    denoiser, x = world("cosine", 20), gaussian(5, 2, seed=3)
    times = f64(0.6, 0.55, 0.5)
    torch.testing.assert_close(
        run("dpm-2", denoiser, x, times)[-1], run("heun", denoiser, x, times)[-1], rtol=1e-10, atol=1e-10
    )


def test_the_middle_on_a_chain_is_one_of_its_times() -> None:
    schedule = make_schedule("linear", 50)
    for i in range(2, 51):
        for j in range(1, i):
            m, share = middle(schedule, scalar(i / 50), scalar(j / 50))
            assert j / 50 <= m.item() < i / 50
            assert m.item() * 50 == pytest.approx(round(m.item() * 50), abs=1e-9)
            high, low, at = (schedule.log_snr(v).item() for v in (scalar(i / 50), scalar(j / 50), m))
            assert high + share.item() * (at - high) == pytest.approx((high + low) / 2)


def phi(schedule: Schedule, x: Tensor, eps: Tensor, t: float, s: float) -> Tensor:
    """Return Liu et al.'s formula (9) in their letters, with abar for alpha^2; for variance-preserving schedules."""
    a, b = (schedule(scalar(v))[0].item() ** 2 for v in (t, s))
    below = math.sqrt(a) * (math.sqrt((1 - b) * a) + math.sqrt((1 - a) * b))
    return math.sqrt(b) / math.sqrt(a) * x - (b - a) / below * eps


@pytest.mark.parametrize("name", ["linear", "cosine", "sigmoid"])
def test_pndm_is_algorithm_2_of_the_paper(name: str) -> None:
    """Three steps by Runge and Kutta, then Adams and Bashforth of four values, from formula (9) alone."""
    denoiser, x, h = world(name), gaussian(5, 2, seed=3), 0.1
    times = torch.linspace(0.9, 0.2, 8, dtype=torch.float64)
    got = run("pndm", denoiser, x, times)

    def eps(x: Tensor, t: float) -> Tensor:
        alpha, sigma = denoiser.schedule(scalar(t))
        return (x - alpha * denoiser(x, scalar(t))) / sigma

    known: list[Tensor] = []
    for k, t in enumerate(times.tolist()[:-1]):
        known = [eps(x, t), *known]
        if k < 3:
            e_1, middle = known[0], t - h / 2
            e_2 = eps(phi(denoiser.schedule, x, e_1, t, middle), middle)
            e_3 = eps(phi(denoiser.schedule, x, e_2, t, middle), middle)
            e_4 = eps(phi(denoiser.schedule, x, e_3, t, t - h), t - h)
            mean = (e_1 + 2 * e_2 + 2 * e_3 + e_4) / 6
        else:
            mean = (55 * known[0] - 59 * known[1] + 37 * known[2] - 9 * known[3]) / 24
        x = phi(denoiser.schedule, x, mean, t, t - h)
        torch.testing.assert_close(got[k], x, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["cosine", "sigmoid"])
@pytest.mark.parametrize("calls", [12, 20, 50])
def test_pndm_from_pure_noise_with_a_denoiser_that_errs(name: str, calls: int) -> None:
    """At t = 1 alpha is 5e-5, and errors of eps_hat would grow 3000-fold: it ends nearer to the ODE's end than DDIM."""
    exact, x = world(name), gaussian(50, 2, seed=3)

    class Erring:
        schedule = exact.schedule

        def __call__(self, x: Tensor, t: Tensor) -> Tensor:
            return exact(x, t) + 0.1 * torch.sin(3 * x + 5 * t)

    def end(sampler: str, steps: int, **options: Any) -> Tensor:
        return run(sampler, Erring(), x, torch.linspace(1, 0.05, steps + 1, dtype=torch.float64), **options)[-1]

    ode = end("heun", 500)
    steps = intervals(calls)
    assert (end("pndm", steps, calls=calls) - ode).abs().mean() < (end("ddim", steps) - ode).abs().mean()


def test_pndm_makes_the_calls_asked() -> None:
    """K + 9 calls with the warm-up of Runge and Kutta, K + 1 with one corrected step, K without."""
    for n in range(1, 60):
        assert n - intervals(n) == (0 if n < 3 else 1 if n < 13 else 9)
    grid = torch.linspace(1, 0, 6, dtype=torch.float64)
    for calls in (5, 6, 14):
        run("pndm", world("cosine"), gaussian(2, 2), grid, calls=calls)
    with pytest.raises(UsageError, match="makes one of 5, 6, 14 calls, and cannot make 7"):
        run("pndm", world("cosine"), gaussian(2, 2), grid, calls=7)
    with pytest.raises(UsageError, match="dpm-2 makes 5 to 9 calls .* cannot make 10"):
        run("dpm-2", world("cosine"), gaussian(2, 2), grid, calls=10)
    with pytest.raises(UsageError, match="order = 5 is out of range: lms has the orders 1 to 4"):
        run("lms", world("cosine"), gaussian(2, 2), grid, order=5)
