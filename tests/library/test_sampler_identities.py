"""Solvers that are the same method in another form, and worlds in which a solver is exact."""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from torch import Tensor
from worlds import SCHEDULES, covariance, f64, gaussian, scalar

from gendi.diffusion.gaussian.denoiser import Denoiser
from gendi.diffusion.gaussian.exact import GaussianDenoiser, MixtureDenoiser
from gendi.diffusion.gaussian.process import (
    eps_from_x0,
    score_from_x0,
    v_from_x0,
    x0_from_eps,
    x0_from_score,
    x0_from_v,
)
from gendi.diffusion.gaussian.samplers import SAMPLERS, get_sampler, trajectory
from gendi.diffusion.gaussian.samplers.exponential import weights
from gendi.diffusion.gaussian.schedule import Schedule, make_schedule
from gendi.errors import UsageError

TIMES = f64(0.9, 0.7, 0.6, 0.35, 0.2, 0.12)

EXACT_FOR_A_POINT = sorted(
    {n for n, i in SAMPLERS.items() if i.deterministic and i.takes == "mean"} - {"angular", "euler"}
)


def run(
    sampler: str,
    denoiser: Denoiser,
    x: Tensor,
    times: Tensor,
    noise: Callable[[int], Tensor] = gaussian,
    **options: Any,
) -> list[Tensor]:
    return [state.x for state in get_sampler(sampler).run(denoiser, x, times, noise, **options)]


def mixture(schedule: Schedule) -> MixtureDenoiser:
    return MixtureDenoiser(schedule, f64(0.3, 0.7), gaussian(2, 2), torch.stack([covariance(2), covariance(2, seed=1)]))


def levels(schedule: Schedule, times: Tensor) -> list[tuple[float, float]]:
    """Return alpha and sigma / alpha at each time."""
    return [(a, b / a) for a, b in zip(*(c.tolist() for c in schedule(times)))]


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize(
    ("sampler", "options"), [("ddim", {}), ("dpmpp-1s", {}), ("deis", {"order": 1}), ("dpmpp-2m", {})]
)
def test_ddim_by_its_other_names(name: str, sampler: str, options: dict[str, Any]) -> None:
    """DDIM is the first step of 2M, and Euler's step in the level:

    y_s = y + (l_s - l) (y - x0_hat) / l with y = x / alpha.
    """
    denoiser = mixture(make_schedule(name))
    x = gaussian(5, 2, seed=3)
    times = TIMES[:2] if sampler == "dpmpp-2m" else TIMES
    got = run(sampler, denoiser, x, times, **options)
    for k, ((alpha, level), (alpha_s, level_s)) in enumerate(pairwise(levels(denoiser.schedule, times))):
        y = x / alpha
        x = alpha_s * (y + (level_s - level) * (y - denoiser(x, times[k])) / level)
        torch.testing.assert_close(got[k], x, rtol=1e-10, atol=1e-10)


def test_in_t_euler_is_ddim_on_the_straight_path_alone() -> None:
    for name in ("rectified-flow", "cosine"):
        denoiser, x = mixture(make_schedule(name)), gaussian(5, 2, seed=3)
        apart = (run("euler", denoiser, x, TIMES)[-1] - run("ddim", denoiser, x, TIMES)[-1]).abs().max()
        assert apart < 1e-10 if name == "rectified-flow" else apart > 1e-2


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("sampler", ["dpmpp-2s", "dpmpp-3m", "unipc", "deis", "heun"])
def test_every_solver_begins_with_a_step_of_ddim(name: str, sampler: str) -> None:
    denoiser, x = mixture(make_schedule(name)), gaussian(5, 2, seed=3)
    options = {"calls": 9} if sampler == "heun" else {}
    first = run(sampler, denoiser, x, TIMES, **options)[0]
    torch.testing.assert_close(first, run("ddim", denoiser, x, TIMES)[0], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("prediction", "rate"), [("x0", 1), ("eps", -1)])
@pytest.mark.parametrize("nodes", [[0.0], [0.0, -0.4], [0.0, -0.3, -1.1], [0.0, -0.3, -1.1, 0.7], [0.7, 0.0]])
def test_weights_integrate_polynomials(prediction: Any, rate: int, nodes: list[float]) -> None:
    h = 0.7
    w = weights(nodes, h, prediction)
    for k in range(len(nodes)):
        exact, _ = quad(lambda tau, k=k: math.exp(rate * (tau - h)) * tau**k, 0, h, epsabs=1e-13)
        assert sum(v * node**k for v, node in zip(w, nodes)) == pytest.approx(exact, rel=1e-11, abs=1e-13)


def test_second_order_of_unipc_predicts_as_dpm_solver_does() -> None:
    """With B(h) = 1 - e^-h: (1 - e^-h) (x0_hat + (x0_hat - previous) h / (2 h_before))."""
    h, before = 0.6, 0.25
    w = weights([0.0, -before], h, "x0", "bh2")
    assert w == pytest.approx([(1 - math.exp(-h)) * v for v in (1 + h / (2 * before), -h / (2 * before))], rel=1e-12)


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_predictor_of_unipc_1_is_ddim_and_its_corrector_trapezoidal(name: str) -> None:
    """UniC-1 with bh2 averages x0_hat at both ends; the next prediction is DDIM's from the corrected point."""
    denoiser, x = mixture(make_schedule(name)), gaussian(5, 2, seed=3)
    first, second, *_ = run("unipc", denoiser, x, TIMES, order=1)
    (alpha, level), (alpha_s, level_s) = levels(denoiser.schedule, TIMES[:2])
    x_0, x0_s = denoiser(x, TIMES[0]), denoiser(first, TIMES[1])
    corrected = alpha_s * (level_s / level * x / alpha + (1 - level_s / level) * (x_0 + x0_s) / 2)
    alpha_r, level_r = levels(denoiser.schedule, TIMES[2:3])[0]
    expected = alpha_r * (level_r / level_s * corrected / alpha_s + (1 - level_r / level_s) * x0_s)
    torch.testing.assert_close(second, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", ["linear", "cosine", "variance-exploding"])
@pytest.mark.parametrize(("churn", "s_noise"), [(0.0, 1.01), (1.5, 0.9), (40.0, 1.01)])
def test_heun_is_algorithm_2(name: str, churn: float, s_noise: float) -> None:
    """Written as in Karras et al. 2022, in y = x / alpha and the level; algorithm 1 for churn 0."""
    schedule, low, high = make_schedule(name), 0.5, 8.0
    denoiser = mixture(schedule)

    def d(y: Tensor, level: float) -> Tensor:
        t = schedule.time(scalar(-2 * math.log(level)))
        return (y - denoiser(schedule(t)[0] * y, t)) / level

    times = torch.cat([TIMES, f64(0)])
    gamma = min(churn / 6, math.sqrt(2) - 1)
    x = gaussian(5, 2, seed=3)
    options = {"churn": churn, "churn_noise": s_noise, "churn_from": low, "churn_to": high}
    got = run("heun", denoiser, x, times, lambda k: gaussian(5, 2, seed=k), **options)
    y = x / schedule(times[0])[0]
    for k, ((_, level), (alpha_s, level_s)) in enumerate(pairwise(levels(schedule, times))):
        raised = level * (1 + gamma) if low <= level <= high else level
        y = y + math.sqrt(raised**2 - level**2) * s_noise * gaussian(5, 2, seed=k)
        slope = d(y, raised)
        end = y + (level_s - raised) * slope
        y = end if level_s == 0 else y + (level_s - raised) * (slope + d(end, level_s)) / 2
        torch.testing.assert_close(got[k], alpha_s * y, rtol=1e-8, atol=1e-8)


def test_churn_near_pure_noise_is_cut_at_the_last_level_with_matching_noise() -> None:
    """The level is raised to that of t = 1 and no further: from 0.9 of it by 1.11 for the 1.4 asked, from it by 1."""
    schedule = make_schedule("variance-exploding")
    times = torch.cat([f64(1), schedule.time(-2 * f64(18.0, 4.0).log()), f64(0)])
    seen: list[tuple[float, Tensor]] = []

    class Watched(GaussianDenoiser):
        def __call__(self, x_t: Tensor, t: Tensor, **_: Any) -> Tensor:
            seen.append((t.item(), x_t))
            return super().__call__(x_t, t)

    x, noises = gaussian(5, 1, seed=3), [gaussian(5, 1, seed=k) for k in range(3)]
    options = {"churn": 40.0, "churn_to": 50.0, "churn_noise": 1.0, "calls": 3}
    got = run("heun", Watched(schedule, f64(0.0), f64(1.0)[:, None]), x, times, noises.__getitem__, **options)
    (first, x_first), (second, x_second), (third, x_third) = seen
    assert (first, second) == (1.0, pytest.approx(1.0))
    torch.testing.assert_close(x_first, x)
    torch.testing.assert_close(x_second, got[0] + math.sqrt(20.0**2 - 18.0**2) * noises[1], rtol=1e-5, atol=1e-5)
    assert third == pytest.approx(schedule.time(-2 * f64(4 * math.sqrt(2)).log()).item())
    torch.testing.assert_close(x_third, got[1] + 4 * noises[2], rtol=1e-5, atol=1e-5)


def test_churn_on_a_chain_keeps_to_its_times() -> None:
    times: list[float] = []

    class Watched(GaussianDenoiser):
        def __call__(self, x_t: Tensor, t: Tensor, **_: Any) -> Tensor:
            times.append(t.item() * 100)
            return super().__call__(x_t, t)

    denoiser = Watched(make_schedule("cosine", 100), f64(0.0), f64(1.0)[:, None])
    grid = f64(*(k / 10 for k in range(10, -1, -1)))
    run("heun", denoiser, gaussian(3, 1), grid, lambda k: gaussian(3, 1, seed=k), churn=4.0)
    assert times == pytest.approx([round(t) for t in times], abs=1e-9)
    assert not set(map(round, times)) <= set(range(0, 101, 10))


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("times", [f64(0.9, 0.1), f64(0.9, 0.5, 0.02), f64(1.0, 0.3, 0.0)])
def test_in_the_angle_a_gaussian_is_exact_in_any_number_of_steps(name: str, times: Tensor) -> None:
    """N(m, s^2 I) in y = x / alpha and the level: y_s - m = sqrt((s^2 + l_s^2) / (s^2 + l^2)) (y - m)."""
    schedule, m, s = make_schedule(name), f64(0.7, -1.2), 0.6
    x = gaussian(4, 2, seed=1)
    got = run("angular", GaussianDenoiser(schedule, m, s**2 * torch.eye(2).double()), x, times, spread=s)
    (alpha, level), (alpha_s, level_s) = (levels(schedule, times)[i] for i in (0, -1))
    exact = alpha_s * (m + math.sqrt((s**2 + level_s**2) / (s**2 + level**2)) * (x / alpha - m))
    torch.testing.assert_close(got[-1], exact, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("sampler", EXACT_FOR_A_POINT)
def test_a_point_is_exact_in_any_number_of_steps(name: str, sampler: str) -> None:
    """x0_hat = m whatever x: x_s = alpha_s m + sigma_s eps with the eps that x_t has."""
    schedule, m = make_schedule(name), f64(0.7, -1.2)
    x = gaussian(4, 2, seed=1)
    got = run(sampler, GaussianDenoiser(schedule, m, torch.zeros(2, 2).double()), x, f64(0.9, 0.5, 0.1))
    (alpha, sigma), (alpha_s, sigma_s) = (schedule(scalar(t)) for t in (0.9, 0.1))
    tolerance = 2e-3 if SAMPLERS[sampler].adaptive else 1e-9
    torch.testing.assert_close(got[-1], alpha_s * m + sigma_s * (x - alpha * m) / sigma, rtol=0, atol=tolerance)


class Through:
    """The same denoiser, by way of another prediction of a network."""

    def __init__(self, inner: Denoiser, there: Callable[..., Tensor], back: Callable[..., Tensor]) -> None:
        self.inner, self.schedule, self.there, self.back = inner, inner.schedule, there, back

    def __call__(self, x_t: Tensor, t: Tensor, **cond: Any) -> Tensor:
        alpha, sigma = self.schedule(t)
        return self.back(x_t, self.there(x_t, self.inner(x_t, t), alpha, sigma), alpha, sigma)


@pytest.mark.parametrize("sampler", sorted(n for n, i in SAMPLERS.items() if i.takes != "map"))
@pytest.mark.parametrize(
    ("there", "back"), [(eps_from_x0, x0_from_eps), (v_from_x0, x0_from_v), (score_from_x0, x0_from_score)]
)
def test_what_a_network_predicts_makes_no_difference(
    sampler: str, there: Callable[..., Tensor], back: Callable[..., Tensor]
) -> None:
    denoiser = mixture(make_schedule("linear", 100))
    options = {"steps": 500} if SAMPLERS[sampler].adaptive else {"steps": 8}
    runs = [
        list(trajectory(d, (2,), range(4), sampler=sampler, **options))[-1].x.double()
        for d in (denoiser, Through(denoiser, there, back))
    ]
    # states are float32 here; at t = 1 a conversion divides by alpha = 0.006 and loses 160 times 6e-8 of |x| ~ 3
    torch.testing.assert_close(*runs, rtol=0, atol=1e-3)


@settings(max_examples=60)
@given(
    st.sampled_from(sorted(n for n, i in SAMPLERS.items() if not i.adaptive and i.takes != "map")),
    st.sampled_from(SCHEDULES),
    st.sampled_from([None, 17]),
    st.integers(1, 17),
    st.sampled_from(["uniform", "quadratic", "log-snr", "karras", "linspace", "leading", "angle"]),
)
def test_any_schedule_grid_and_number_of_calls(sampler: str, name: str, chain: int | None, n: int, grid: str) -> None:
    inner, calls = mixture(make_schedule(name, chain)), 0

    def count() -> None:
        nonlocal calls
        calls += 1

    *_, last = trajectory(inner, (2,), range(3), steps=n, sampler=sampler, grid=grid, poll=count)
    assert calls == n
    assert last.s == 0
    assert bool(last.x.isfinite().all())


@pytest.mark.parametrize(
    ("sampler", "options", "message"),
    [
        ("unipc", {"order": 4}, "orders 1, 2 and 3"),
        ("unipc", {"rule": "bh3"}, "'bh2'|'bh1'"),
        ("deis", {"order": 0}, "orders 1, 2 and 3"),
        ("dpmpp-2s", {"order": 3}, "orders 1 and 2"),
        ("heun", {"churn": -1.0}, "churn = -1"),
        ("heun", {"churn": math.nan}, "churn = nan"),
        ("heun", {"churn": math.inf}, "churn = inf"),
        ("heun", {"churn_from": 3.0, "churn_to": 1.0}, "3 and 1"),
        ("heun", {"churn_noise": -0.1}, "churn_noise = -0.1"),
        ("heun", {"calls": 11}, "5 to 10 calls"),
        ("heun", {"calls": 4}, "5 to 10 calls"),
        ("angular", {"spread": 0.0}, "spread = 0"),
        ("angular", {"spread": math.inf}, "spread = inf"),
        ("dopri5", {"rtol": 0.0}, "rtol = 0"),
        ("dopri5", {"atol": math.nan}, "atol = nan"),
        ("dopri5", {"spread": -1.0}, "spread = -1"),
    ],
)
def test_options_out_of_range(sampler: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        run(sampler, mixture(make_schedule("cosine")), gaussian(1, 2), TIMES, **options)
