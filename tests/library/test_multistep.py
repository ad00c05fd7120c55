"""LMS, DPM-2, PNDM and the rest: as their papers write them, by quadrature, and as steps of the methods in them."""

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from torch import Tensor
from worlds import PRESERVING, SCHEDULES, covariance, f64, gaussian, scalar

from gendi.diffusion.gaussian.denoiser import Denoiser
from gendi.diffusion.gaussian.exact import MixtureDenoiser
from gendi.diffusion.gaussian.samplers import get_sampler
from gendi.diffusion.gaussian.samplers.dpm2 import middle
from gendi.diffusion.gaussian.samplers.pndm import _simpson, intervals
from gendi.diffusion.gaussian.schedule import RectifiedFlow, Schedule, make_schedule
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
def test_angular_integrates_the_line_through_two_slopes_in_the_cosine(name: str) -> None:
    """u = cos y and du / dcos = mu, which x0_hat = cos^2 y + sin^2 mu defines; tan is the level over the spread.

    The integral of a line is its middle times the length. The first step, and that to the data, take mu as it is.
    """
    denoiser, x, spread = world(name), gaussian(5, 2, seed=3), 0.7
    times = torch.cat([TIMES, f64(0)])
    got = run("angular", denoiser, x, times, spread=spread)
    before: tuple[float, Tensor] | None = None
    for k, (t, s) in enumerate(pairwise(times)):
        (alpha, at), (alpha_s, end) = level(denoiser.schedule, t), level(denoiser.schedule, s)
        cos, cos_s = math.cos(math.atan(at / spread)), math.cos(math.atan(end / spread))
        y = x / alpha
        mu = (denoiser(x, t) - cos**2 * y) / math.sin(math.atan(at / spread)) ** 2
        half = mu
        if before is not None and end > 0:
            half = mu + (mu - before[1]) / (cos - before[0]) * ((cos + cos_s) / 2 - cos)
        x = alpha_s * (cos * y + (cos_s - cos) * half) / cos_s
        torch.testing.assert_close(got[k], x, rtol=1e-8, atol=1e-8)
        before = cos, mu


@pytest.mark.parametrize("name", PRESERVING)
@pytest.mark.parametrize(("first", "second"), [(0.7, 0.7), (0.7, 1.4), (1.2, 0.5)])
def test_dpmpp_3m_corrects_its_first_step_unless_that_is_long(name: str, first: float, second: float) -> None:
    """x_s = sigma_s / sigma_t x_t + alpha_s int_0^h e^(tau - h) line(tau) dtau, in lambda, by SciPy.

    The line of the correction goes through x0_hat at both ends of the first step, if the step is shorter than 1; that
    of the second step through the same two values.
    """
    denoiser, x = world(name), gaussian(5, 2, seed=3)
    schedule, lams = denoiser.schedule, [-1.0, -1.0 + first, -1.0 + first + second]
    times = schedule.time(2 * f64(*lams))
    got = run("dpmpp-3m", denoiser, x, times)
    (_, sigma), (alpha_1, sigma_1), (alpha_2, sigma_2) = ([c.item() for c in schedule(t)] for t in times)

    def line(h: float, slope_at: float) -> tuple[float, float]:
        """Return the weights of the value at 0 and the value at `slope_at` in the integral from 0 to h."""
        other = quad(lambda tau: math.exp(tau - h) * tau / slope_at, 0, h, epsabs=1e-13)[0]
        return -math.expm1(-h) - other, other

    x_0 = denoiser(x, times[0])
    reached = sigma_1 / sigma * x - alpha_1 * math.expm1(-first) * x_0
    torch.testing.assert_close(got[0], reached, rtol=1e-9, atol=1e-9)
    x0_1 = denoiser(reached, times[1])
    if first < 1:
        a, b = line(first, first)
        reached = sigma_1 / sigma * x + alpha_1 * (a * x_0 + b * x0_1)
    a, b = line(second, -first)
    expected = sigma_2 / sigma_1 * reached + alpha_2 * (a * x0_1 + b * x_0)
    torch.testing.assert_close(got[1], expected, rtol=1e-8, atol=1e-8)


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


@pytest.mark.parametrize("name", SCHEDULES)
def test_dpm_2_with_fewer_calls_begins_with_steps_of_ddim(name: str) -> None:
    denoiser, x = world(name), gaussian(5, 2, seed=3)
    got = run("dpm-2", denoiser, x, TIMES, calls=8)
    for one, other in zip(got[:2], run("ddim", denoiser, x, TIMES[:3]), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(got[2:], run("dpm-2", denoiser, got[1], TIMES[2:]), rtol=0, atol=0)


@pytest.mark.parametrize("name", [*SCHEDULES, "rectified-flow"])
def test_the_middle_on_a_chain_is_the_nearest_of_its_times(name: str) -> None:
    """Between neighbours it is the lower one; its place is that on the way from ln l_t to ln l_m."""
    chain, n = make_schedule(name, 20), 20
    lam = [chain.log_snr(scalar(i / n)).item() for i in range(1, n + 1)]
    for i in range(2, n + 1):
        for j in range(1, i):
            m, share = middle(chain, scalar(i / n), scalar(j / n))
            half = (lam[i - 1] + lam[j - 1]) / 2
            nearest = round(chain.time(scalar(half)).item() * n)
            k = round(m.item() * n)
            assert m.item() == pytest.approx(k / n, abs=1e-12) and j <= k < i
            assert k == nearest or nearest == i
            assert share.item() == pytest.approx((half - lam[i - 1]) / (lam[k - 1] - lam[i - 1]), rel=1e-9)


def test_dpm_2_on_a_chain_without_a_time_between_is_heun() -> None:
    """Of two neighbours on a chain the middle is the lower one, and eps at the middle is the mean of both ends: Heun's.

    Here the line is through ln l, whose middle is half way.
    """
    denoiser, x = world("cosine", 20), gaussian(5, 2, seed=3)
    times = f64(0.6, 0.55, 0.5)
    torch.testing.assert_close(
        run("dpm-2", denoiser, x, times)[-1], run("heun", denoiser, x, times)[-1], rtol=1e-10, atol=1e-10
    )


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


@pytest.mark.parametrize("name", PRESERVING)
def test_pndm_on_a_chain_weighs_its_calls_by_where_they_are(name: str) -> None:
    """The first of three steps of the chain is a third of the way, and the parabola through the values at 0, 1/3 and 1
    has the mean 3/4 of the second and 1/4 of the third.
    """
    denoiser, x = world(name, 20), gaussian(5, 2, seed=3)
    times = [i / 20 for i in (16, 13, 10, 7, 4)]
    got = run("pndm", denoiser, x, f64(*times))

    def eps(x: Tensor, t: float) -> Tensor:
        alpha, sigma = denoiser.schedule(scalar(t))
        return (x - alpha * denoiser(x, scalar(t))) / sigma

    for k, (t, s) in enumerate(pairwise(times[:4])):
        m = t - 1 / 20
        e_2 = eps(phi(denoiser.schedule, x, eps(x, t), t, m), m)
        e_3 = eps(phi(denoiser.schedule, x, e_2, t, m), m)
        e_4 = eps(phi(denoiser.schedule, x, e_3, t, s), s)
        x = phi(denoiser.schedule, x, 3 / 8 * (e_2 + e_3) + e_4 / 4, t, s)
        torch.testing.assert_close(got[k], x, rtol=1e-8, atol=1e-8)


def test_pndms_weights_integrate_a_parabola() -> None:
    """Values at 0, r and 1 have the mean of every parabola over [0, 1]; with r = 1 that of the line through two."""
    for r in (0.2, 1 / 3, 0.5, 0.9):
        start, middle, end = _simpson(r)
        assert [start + middle + end, middle * r + end, middle * r**2 + end] == pytest.approx([1, 1 / 2, 1 / 3])
    start, *rest = _simpson(1.0)
    assert (start, sum(rest)) == pytest.approx((1 / 2, 1 / 2))


def test_pndm_without_further_calls_begins_with_a_step_of_ddim() -> None:
    denoiser, x = world("cosine"), gaussian(5, 2, seed=3)
    first, second, *_ = run("pndm", denoiser, x, TIMES, calls=5)
    torch.testing.assert_close(first, run("ddim", denoiser, x, TIMES)[0], rtol=1e-9, atol=1e-9)
    (t, s, r), schedule = TIMES.tolist()[:3], denoiser.schedule
    values = []
    for at, place in ((t, x), (s, first)):
        alpha, sigma = schedule(scalar(at))
        values.append((place - alpha * denoiser(place, scalar(at))) / sigma)
    expected = phi(schedule, first, (3 * values[1] - values[0]) / 2, s, r)
    torch.testing.assert_close(second, expected, rtol=1e-9, atol=1e-9)


def test_pndm_averages_eps_where_alpha_grows_tenfold_and_no_more() -> None:
    """On the straight path alpha = 1 - t: from t = 15/16 it grows tenfold to 3/8, and more below that."""

    class Straight(RectifiedFlow):
        end = 1.0

    denoiser, x, t = world("rectified-flow"), gaussian(5, 2, seed=3), 15 / 16
    denoiser.schedule = Straight()
    for s, by_eps in ((3 / 8, True), (3 / 8 - 1e-6, False)):
        (got,) = run("pndm", denoiser, x, f64(t, s), calls=2)
        x_0 = denoiser(x, scalar(t))
        eps = (x - (1 - t) * x_0) / t
        end = (1 - s) * x_0 + s * eps
        x0_s = denoiser(end, scalar(s))
        if by_eps:
            mean = (eps + (end - (1 - s) * x0_s) / s) / 2
            expected = (1 - s) * (x - t * mean) / (1 - t) + s * mean
        else:
            mean = (x_0 + x0_s) / 2
            expected = (1 - s) * mean + s * (x - (1 - t) * mean) / t
        torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-9)


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
    with pytest.raises(UsageError, match="makes one of 3, 4 calls, and cannot make 12"):
        run("pndm", world("cosine"), gaussian(2, 2), grid[2:], calls=12)
    with pytest.raises(UsageError, match="makes one of 1 calls, and cannot make 2"):
        run("pndm", world("cosine"), gaussian(2, 2), f64(1, 0), calls=2)
    with pytest.raises(UsageError, match="dpm-2 makes 5 to 9 calls .* cannot make 10"):
        run("dpm-2", world("cosine"), gaussian(2, 2), grid, calls=10)
    with pytest.raises(UsageError, match="order = 5 is out of range: lms has the orders 1 to 4"):
        run("lms", world("cosine"), gaussian(2, 2), grid, order=5)
