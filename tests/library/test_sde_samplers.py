"""Euler-Maruyama, predictor-corrector and SA-Solver against recursions, closed forms, SciPy and each other.

On x_0 ~ N(m, c) each sampler is affine in its start and its noises, so a batch of unit vectors gives its law without
statistics (as in test_sampler_laws). With half the step the error is 2^-order of what it was.
"""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from sde_worlds import MIXTURE, RATED, C, M, RatedLinear, even, law, line, marginal, orders
from torch import Tensor
from worlds import SCHEDULES, f64, gaussian, scalar

from gendi.diffusion.gaussian.exact import MixtureDenoiser
from gendi.diffusion.gaussian.samplers.ancestral import ancestral
from gendi.diffusion.gaussian.samplers.brownian import BrownianNoise
from gendi.diffusion.gaussian.samplers.draw import SampleNoise
from gendi.diffusion.gaussian.samplers.euler_maruyama import euler_maruyama
from gendi.diffusion.gaussian.samplers.grid import make_grid
from gendi.diffusion.gaussian.samplers.predictor_corrector import intervals, predictor_corrector
from gendi.diffusion.gaussian.samplers.sa_solver import sa_solver
from gendi.diffusion.gaussian.samplers.sde_registry import SDE_SAMPLERS
from gendi.diffusion.gaussian.schedule import VarianceExploding, make_schedule
from gendi.errors import UsageError

# ---- Euler-Maruyama


@pytest.mark.parametrize("name", RATED)
def test_euler_maruyama_follows_its_recursion(name: str) -> None:
    """x_s = x_t - (t - s) (f x_t - g2 score) + sqrt(g2 (t - s)) noise; the score is that of the marginal."""
    schedule = RATED[name]
    times = f64(1, 0.9, 0.7, 0.5, 0.4, 0.3, 0.2, 0.1)
    mean, variance = marginal(schedule, times[0])
    expected = []
    for t, s in pairwise(times):
        (centre, spread), (f, g2) = marginal(schedule, t), (v.item() for v in schedule.rates(t))
        h = (t - s).item()
        gain = 1 - h * (f + g2 / spread)
        mean, variance = gain * mean + h * g2 / spread * centre, gain**2 * variance + g2 * h
        expected += [mean, variance]
    got = [v for pair in law(euler_maruyama, line(schedule), times) for v in pair]
    assert got == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("name", RATED)
def test_euler_maruyama_converges_to_the_marginal(name: str) -> None:
    """Mean and variance at s = 0.1, from the exact marginal at 0.9: weak order 1."""
    schedule, s = RATED[name], scalar(0.1)
    mean, variance = marginal(schedule, s)
    errors = []
    for n in (100, 200, 400):
        got = law(euler_maruyama, line(schedule), torch.linspace(0.9, 0.1, n + 1, dtype=torch.float64))[-1]
        errors.append((abs(got[0] - mean), abs(got[1] - variance)))
    assert errors[-1][1] < 0.04 * variance
    assert orders([e for _, e in errors]) == pytest.approx([1, 1], abs=0.15)
    if errors[0][0] > 1e-9:  # variance-exploding steps keep the mean
        assert orders([e for e, _ in errors]) == pytest.approx([1, 1], abs=0.15)


def heun(denoiser: MixtureDenoiser, x: Tensor, times: Tensor, noise: BrownianNoise) -> Tensor:
    """Solve the reverse SDE by the stochastic trapezoid rule, the drift by its log-density's gradient."""

    def drift(x: Tensor, t: Tensor) -> Tensor:
        x = x.detach().requires_grad_(True)
        (score,) = torch.autograd.grad(denoiser.log_density(x, t).sum(), x)
        f, g2 = denoiser.schedule.rates(t)
        return (f * x - g2 * score).detach()

    for k, (t, s) in enumerate(pairwise(times)):
        g_t, g_s = (denoiser.schedule.rates(v)[1].sqrt() for v in (t, s))
        kick = (g_t + g_s) / 2 * (t - s).sqrt() * noise(k)
        slope = drift(x, t)
        guess = x - (t - s) * slope + kick
        x = x - (t - s) * (slope + drift(guess, s)) / 2 + kick
    return x


@pytest.mark.parametrize("name", RATED)
def test_euler_maruyama_has_strong_order_one(name: str) -> None:
    """The diffusion depends on t alone, so Milstein's correction vanishes: order 1, not 1/2, path by path.

    Each grid is given its own noise, and it is the same Brownian path: against the trapezoid rule on the finest.
    """
    denoiser = MixtureDenoiser(RATED[name], **MIXTURE)
    alpha, sigma = (v.item() for v in denoiser.schedule(scalar(0.875)))
    start = alpha * 0.5 + sigma * gaussian(30, 20).reshape(-1, 1)
    ends: dict[int, Tensor] = {}
    for n in (32, 64, 128, 512):
        times = torch.linspace(0.875, 0.125, n + 1, dtype=torch.float64)
        noise = BrownianNoise(3, range(30), (20,), times, "cpu")
        rows = [noise(k).reshape(-1, 1) for k in range(n)]
        if n == 512:
            ends[n] = heun(denoiser, start, times, lambda k, rows=rows: rows[k])  # type: ignore[arg-type]
        else:
            *_, last = euler_maruyama(denoiser, start, times, lambda k, rows=rows: rows[k])
            ends[n] = last.x
    errors = [(ends[n] - ends[512]).square().mean().sqrt().item() for n in (32, 64, 128)]
    # single halvings scatter: a few of the 600 paths, those between the modes, carry the error
    assert sum(orders(errors)) / 2 == pytest.approx(1, abs=0.15)
    assert errors[-1] < 0.05 * ends[512].std().item()


def test_a_step_to_the_data_returns_what_the_denoiser_says() -> None:
    for run in (euler_maruyama, predictor_corrector, sa_solver):
        *_, last = run(line(RATED["RatedLinear"]), gaussian(4, 1), f64(0.9, 0.3, 0), lambda k: gaussian(4, 1, seed=k))
        assert torch.equal(last.x, last.x_0)


# ---- predictor-corrector


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("predictor", ["ancestral", "reverse-diffusion"])
@pytest.mark.parametrize("calls", [11, 9, 6])
def test_predictor_and_corrector_follow_their_recursions(name: str, predictor: str, calls: int) -> None:
    """a, v of q(x_t | x_s); then x + step score + sqrt(2 step) noise at s, for the last calls - 6 interior times.

    The step is 2 alpha_i (snr |z| / |score|)^2 [Song et al. 2021, algorithms 3 and 5], alpha_i = 1 - beta_i of the step
    of this grid that comes next; 1 for the exploding chain [algorithm 4].
    """
    schedule, snr = make_schedule(name, 100), 0.3
    times = f64(1, 0.9, 0.7, 0.5, 0.3, 0.2, 0.1)
    mean, variance = marginal(schedule, times[0])
    expected = []
    for k, (t, s) in enumerate(pairwise(times)):
        (at, bt), (a_s, b_s) = ([c.item() for c in schedule(v)] for v in (t, s))
        a, v = at / a_s, bt**2 - (at / a_s) ** 2 * b_s**2
        centre, spread = marginal(schedule, t)
        if predictor == "ancestral":
            of_x, of_score, fresh = 1 / a, v / a, v * (b_s / bt) ** 2
        else:
            of_x, of_score, fresh = 2 - a, v, v
        gain = of_x - of_score / spread
        mean, variance = gain * mean + of_score / spread * centre, gain**2 * variance + fresh
        if 5 - (calls - 6) <= k < 5:
            centre, spread = marginal(schedule, s)
            after = schedule(times[k + 2])[0].item()
            alpha_i = 1.0 if name == "variance-exploding" else (a_s / after) ** 2
            step = 2 * alpha_i * snr**2 * b_s**2
            gain = 1 - step / spread
            mean, variance = gain * mean + step / spread * centre, gain**2 * variance + 2 * step
        expected += [mean, variance]
    pairs = law(predictor_corrector, line(schedule), times, predictor=predictor, snr=snr, calls=calls)
    assert [v for pair in pairs for v in pair] == pytest.approx(expected, rel=1e-7)


def test_reverse_diffusion_of_the_exploding_chain_is_song_et_als() -> None:
    """x + (sigma_t^2 - sigma_s^2) score + sqrt(sigma_t^2 - sigma_s^2) noise (their algorithm 2)."""
    world, x, z = line(VarianceExploding(variance=9.0)), gaussian(4, 1), gaussian(4, 1, seed=1)
    t, s = scalar(0.64), scalar(0.25)
    score = -(x - M) / (C + 9 * 0.64)
    expected = x + 9 * 0.39 * score + math.sqrt(9 * 0.39) * z
    (state,) = predictor_corrector(world, x, torch.stack([t, s]), lambda k: z, predictor="reverse-diffusion")
    torch.testing.assert_close(state.x, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("options", [{"snr": 0.0}, {"calls": 4}])
def test_without_corrections_it_is_ancestral_sampling(options: dict[str, Any]) -> None:
    world, times = line(make_schedule("cosine")), f64(0.9, 0.6, 0.3, 0.2, 0)
    noises = [gaussian(4, 1, seed=k) for k in range(10)]
    *_, one = predictor_corrector(world, noises[9], times, lambda k: noises[k], **options)
    *_, other = ancestral(world, noises[9], times, lambda k: noises[2 * k])
    assert torch.equal(one.x, other.x)


def test_langevin_steps_mend_a_wrong_law() -> None:
    """From a start with the variance of the noise alone, on wide data, more correctors come nearer to the marginal."""
    schedule = make_schedule("linear")
    times = even(schedule, 12, (0.3, 0.1))
    world = line(schedule, 0.0, 0.0)
    wide = line(schedule, 0.0, 4.0)
    start = gaussian(1, 1) * 0
    exact = marginal(schedule, times[-1], 0.0, 4.0)[1]

    def variance(calls: int) -> float:
        unit = torch.eye(26, dtype=torch.float64)
        *_, last = predictor_corrector(
            wide, start.expand(26, 1), times, lambda k: unit[:, 1 + k, None], snr=0.5, calls=calls
        )
        return float(last.x.square().sum())

    assert world.values.item() == 0
    assert abs(variance(23) - exact) < abs(variance(17) - exact) < abs(variance(12) - exact)


# ---- all of them

RUNS: list[tuple[Callable[..., Any], dict[str, Any]]] = [
    (euler_maruyama, {}),
    (predictor_corrector, {}),
    (predictor_corrector, {"predictor": "reverse-diffusion"}),
    (sa_solver, {}),
    (sa_solver, {"tau": 0.4, "order": 3}),
]


class Elementwise:
    """A denoiser of sums, products and quotients alone, which round the same in any batch; it counts its calls."""

    def __init__(self) -> None:
        self.schedule, self.calls = RatedLinear(), 0

    def __call__(self, x_t: Tensor, t: Tensor) -> Tensor:
        self.calls += 1
        return x_t / (1 + x_t * x_t)


@pytest.mark.parametrize(("run", "options"), RUNS)
def test_a_sample_does_not_know_its_neighbours(run: Callable[..., Any], options: dict[str, Any]) -> None:
    times = f64(1, 0.8, 0.5, 0.3, 0.1, 0)

    def draw(indices: list[int]) -> Tensor:
        start = SampleNoise(5, indices, (2, 3), "cpu")
        noise = BrownianNoise(5, indices, (2, 3), times, "cpu") if run is euler_maruyama else start
        *_, last = run(Elementwise(), start(0), times, noise, **options)
        assert last.x.dtype == torch.float32
        return last.x

    whole = draw(list(range(6)))
    assert torch.equal(draw([4, 0, 5]), whole[[4, 0, 5]])


@pytest.mark.parametrize("name", sorted(SDE_SAMPLERS))
@pytest.mark.parametrize("n", range(1, 13))
def test_n_calls_requested_are_n_calls_made(name: str, n: int) -> None:
    info, denoiser = SDE_SAMPLERS[name], Elementwise()
    times = make_grid(denoiser.schedule, info.intervals(n), info.grid)
    options = {"calls": n} if info.calls_per_step > 1 else {}
    states = list(info.run(denoiser, gaussian(2, 3), times, lambda k: gaussian(2, 3, seed=k), **options))
    assert denoiser.calls == n
    assert [s.t.item() for s in states] == times[:-1].tolist()
    assert [s.s.item() for s in states] == times[1:].tolist()
    assert all(bool(s.x.isfinite().all()) for s in states)


@pytest.mark.statistical
@pytest.mark.parametrize(
    ("run", "options", "n"),
    [
        (euler_maruyama, {}, 200),
        (predictor_corrector, {}, 60),
        (predictor_corrector, {"predictor": "reverse-diffusion"}, 60),
        (sa_solver, {}, 40),
        (sa_solver, {"tau": 0.5, "order": 3}, 40),
    ],
)
def test_a_mixture_gets_its_weights(run: Callable[..., Any], options: dict[str, Any], n: int) -> None:
    """A share of 2000 draws errs by sqrt(p (1 - p) / 2000): 5 of those, and 0.01 for the bias of the steps."""
    schedule = RatedLinear()
    world = MixtureDenoiser(schedule, f64(0.3, 0.7), f64(-2, 2)[:, None], torch.full((2, 1, 1), 0.09).double())
    times = make_grid(schedule, n, "uniform" if run is euler_maruyama else "karras")
    noise = SampleNoise(1, range(20), (100,), "cpu")
    *_, last = run(world, noise(0).reshape(-1, 1).double(), times, lambda k: noise(k).reshape(-1, 1), **options)
    assert abs((last.x > 0).double().mean().item() - 0.7) < 5 * math.sqrt(0.21 / 2000) + 0.01
    near = torch.where(last.x > 0, last.x - 2, last.x + 2)
    assert near.std().item() == pytest.approx(0.3, abs=0.05)


def run_on(run: Callable[..., Any], **options: Any) -> None:
    list(run(Elementwise(), gaussian(2, 3), f64(0.9, 0.5, 0.1), lambda k: gaussian(2, 3), **options))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: run_on(sa_solver, order=4), "order = 4 .* 1, 2 and 3"),
        (lambda: run_on(sa_solver, order=0), "order = 0"),
        (lambda: run_on(sa_solver, tau=-0.1), "tau = -0.1 is out of range"),
        (lambda: run_on(sa_solver, tau=math.nan), "tau = nan"),
        (lambda: run_on(sa_solver, tau=math.inf), "tau = inf"),
        (lambda: run_on(predictor_corrector, snr=-0.1), "snr = -0.1 is out of range"),
        (lambda: run_on(predictor_corrector, snr=1.0), "snr = 1"),
        (lambda: run_on(predictor_corrector, snr=math.nan), "snr = nan"),
        (lambda: run_on(predictor_corrector, calls=4), "2 steps cannot make 4 calls: they make 2 to 3"),
        (lambda: run_on(predictor_corrector, calls=1), "1 calls"),
        (lambda: run_on(predictor_corrector, predictor="ancestrall"), "'ancestral'"),
        (lambda: list(euler_maruyama(Elementwise(), gaussian(1), f64(0.5, 0.5), gaussian)), "strictly decreasing"),
    ],
)
def test_what_cannot_be_is_refused(call: Callable[[], object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        call()


def test_intervals_of_a_number_of_calls() -> None:
    """K steps take K to 2 K - 1 calls: the fewest steps that n calls fill."""
    for n in range(1, 50):
        k = intervals(n)
        assert k <= n <= 2 * k - 1
        assert k == 1 or n > 2 * (k - 1) - 1
