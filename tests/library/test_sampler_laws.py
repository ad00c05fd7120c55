"""Samplers in the Gaussian world, where every step is an affine map that can be written down.

For x_0 ~ N(m, c) on the line, x0_hat = m + k (x - alpha m) with k = alpha c / (alpha^2 c + sigma^2). A sampler is then
affine in its start and in each of its noises. A batch of the unit vectors of (start, noise_0, noise_1, ...) and the
origin gives that map without statistics: the law of the result is N(origin, sum of squared responses).
"""

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor
from worlds import PRESERVING, SCHEDULES, covariance, f64, gaussian

from gendi.diffusion.gaussian.exact import GaussianDenoiser, MixtureDenoiser
from gendi.diffusion.gaussian.samplers import get_sampler, make_grid, sample
from gendi.diffusion.gaussian.samplers.draw import SampleNoise
from gendi.diffusion.gaussian.schedule import Schedule, make_schedule


def law(name: str, denoiser: GaussianDenoiser, times: Tensor, **options: float) -> list[tuple[float, float]]:
    """Return mean and variance of x after each step, for a start from N(0, sigma^2)."""
    rows = len(times) + 1
    start = torch.zeros(rows, 1, dtype=torch.float64)
    start[1] = denoiser.schedule(times[0])[1]

    def noise(k: int) -> Tensor:
        unit = torch.zeros(rows, 1, dtype=torch.float64)
        unit[2 + k] = 1
        return unit

    states = get_sampler(name).run(denoiser, start, times, noise, **options)
    return [(s.x[0].item(), (s.x[1:] - s.x[0]).square().sum().item()) for s in states]


def line(schedule: Schedule, mean: float, variance: float) -> GaussianDenoiser:
    return GaussianDenoiser(schedule, f64(mean), f64(variance)[:, None])


def levels(schedule: Schedule, times: Tensor) -> list[tuple[float, float]]:
    """Return (alpha, sigma) at each time."""
    return [(a, s) for a, s in zip(*(c.tolist() for c in schedule(times)))]


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize(
    ("sampler", "options"),
    [("ancestral", {}), ("ancestral-large", {}), ("ddim", {"eta": 1.0}), ("ddim", {"eta": 0.5}), ("ddim", {})],
)
def test_mean_and_variance_follow_the_recursion(name: str, sampler: str, options: dict[str, float]) -> None:
    """x_s = A x_0_hat + B x_t + sqrt(V) noise, with A, B, V as the papers print them for that sampler."""
    m, c = 0.8, 0.3
    schedule = make_schedule(name, 100)
    times = make_grid(schedule, 8)
    grid = levels(schedule, times)
    mean, variance, expected = 0.0, grid[0][1] ** 2, []
    for (at, bt), (a, b) in pairwise(grid):
        beta = bt**2 - (at / a) ** 2 * b**2  # variance of q(x_t | x_s)
        tilde = beta * b**2 / bt**2
        if sampler == "ddim":
            v = options.get("eta", 0.0) ** 2 * tilde
            of_eps = math.sqrt(b**2 - v)  # of eps_hat = (x_t - at x0_hat) / bt
            of_x0, of_xt = a - of_eps * at / bt, of_eps / bt
        else:
            v = tilde if sampler == "ancestral" else beta
            of_x0, of_xt = a * beta / bt**2, at / a * b**2 / bt**2
        k = at * c / (at**2 * c + bt**2)
        gain = of_xt + of_x0 * k
        mean = gain * mean + of_x0 * (m - k * at * m)
        variance = gain**2 * variance + (v if b > 0 else 0)
        expected += [mean, variance]
    got = [number for pair in law(sampler, line(schedule, m, c), times, **options) for number in pair]
    assert got == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("eta", [0.0, 0.4, 1.0])
def test_second_order_follows_its_recursion(name: str, eta: float) -> None:
    """x_s = p x_t + (alpha_s - p alpha_t) D + sqrt(sigma_s^2 - p^2 sigma_t^2) noise: right for a point, whatever p is.

    p = sigma_s / sigma_t e^(-eta h) goes from DDIM's (eta = 0) to the posterior's (eta = 1), with D extrapolated.
    """
    m, c, n = 0.8, 0.3, 8
    schedule = make_schedule(name, 100)
    times = make_grid(schedule, n)
    grid = levels(schedule, times)
    eye = torch.eye(n + 2, dtype=torch.float64)  # responses to: 1, the start, each noise
    x, before, h_before, expected = grid[0][1] * eye[1], None, math.nan, []
    for k, ((at, bt), (a, b)) in enumerate(pairwise(grid)):
        gain = at * c / (at**2 * c + bt**2)
        x_0 = gain * x + (m - gain * at * m) * eye[0]
        ratio = b * at / (a * bt)  # e^-h
        p = b / bt * ratio**eta
        d = x_0
        if before is not None and b > 0:
            h = -math.log(ratio)
            d, h_before = x_0 + (x_0 - before) * h / (2 * h_before), h
        elif b > 0:
            h_before = -math.log(ratio)
        x = p * x + (a - p * at) * d + math.sqrt(max(0.0, b**2 - (p * bt) ** 2)) * eye[2 + k]
        before = x_0
        expected += [x[0].item(), x[1:].square().sum().item()]
    got = [number for pair in law("dpmpp-2m", line(schedule, m, c), times, eta=eta) for number in pair]
    assert got == pytest.approx(expected, rel=1e-7)


@pytest.mark.parametrize("name", PRESERVING)
def test_large_variance_is_exact_for_standard_normal_data(name: str) -> None:
    """Every x_s ~ N(0, 1) (Ho et al. 2020, section 3.2), up to the last step, which returns E[x_0 | x_1]."""
    schedule = make_schedule(name, 100)
    times = make_grid(schedule, 10)
    *states, last = law("ancestral-large", line(schedule, 0.0, 1.0), times)
    start = schedule(times[0])[1].item() ** 2
    assert start == pytest.approx(1, abs=1e-3)
    for mean, variance in states:
        assert mean == 0
        assert variance == pytest.approx(1, abs=1 - start + 1e-9)
    assert last[1] == pytest.approx(schedule(times[-2])[0].item() ** 2, abs=1 - start + 1e-9)


@pytest.mark.parametrize("sampler", ["ancestral", "dpmpp-2m-sde"])
@pytest.mark.parametrize("name", SCHEDULES)
def test_small_variance_is_exact_for_a_point(name: str, sampler: str) -> None:
    """Data at m alone: x_s given x_t is the posterior of q, so x_s ~ N(alpha m, sigma^2) if x_1 is (section 3.2)."""
    m, schedule = 1.5, make_schedule(name, 100)
    times = make_grid(schedule, 10)
    alpha_1 = schedule(times[0])[0].item()
    for k, (mean, variance) in enumerate(law(sampler, line(schedule, m, 0.0), times)):
        alpha, sigma = (c.item() for c in schedule(times[k + 1]))
        assert variance == pytest.approx(sigma**2, rel=1e-8, abs=1e-12)
        # the start forgets alpha_1 m, of which the chain keeps a share sigma_s^2 alpha_1 / (sigma_1^2 alpha_s)
        missing = (sigma / schedule(times[0])[1].item()) ** 2 * alpha_1 / alpha
        assert mean == pytest.approx(alpha * m - missing * alpha_1 * m, rel=1e-8, abs=1e-12)


def test_many_ancestral_steps_find_the_data() -> None:
    """The variance errs as 1 / n: halved steps, doubled error, and less than 4% at n = 200."""
    schedule = make_schedule("cosine")
    errors = []
    for n in (50, 100, 200):
        mean, variance = law("ancestral", line(schedule, 0.8, 0.3), make_grid(schedule, n))[-1]
        assert mean == pytest.approx(0.8, abs=0.02)
        errors.append(abs(variance - 0.3) / 0.3)
    assert errors[2] < 0.04
    assert errors[0] / errors[1] == pytest.approx(2, abs=0.3)
    assert errors[1] / errors[2] == pytest.approx(2, abs=0.3)


@pytest.mark.parametrize("sampler", ["ddim", "dpmpp-2m"])
@pytest.mark.parametrize("steps", [1000, None])
def test_samples_are_the_affine_image_of_their_noise(sampler: str, steps: int | None) -> None:
    """The whole of `sample`, in the plane: matrices by hand, and the noise of each sample's own stream."""
    m, c = f64(1, -0.5), covariance(2, seed=1)
    schedule, eye, n = make_schedule("linear", steps), torch.eye(2, dtype=torch.float64), 9
    times = make_grid(schedule, n, get_sampler(sampler).grid)
    grid = levels(schedule, times)
    state = (torch.zeros(2, dtype=torch.float64), grid[0][1] * eye)  # x = offset + matrix z
    previous, h_previous = None, math.nan
    for (at, bt), (a, b) in pairwise(grid):
        k = at * c @ torch.linalg.inv(at**2 * c + bt**2 * eye)
        x_0 = (m - k @ (at * m) + k @ state[0], k @ state[1])
        h = math.log(a / b * bt / at) if b > 0 else math.inf
        guess = x_0
        if sampler == "dpmpp-2m" and previous is not None and b > 0:
            guess = tuple(now + (now - then) * h / (2 * h_previous) for now, then in zip(x_0, previous))
        state = tuple(b / bt * x + (a - b / bt * at) * g for x, g in zip(state, guess))
        previous, h_previous = x_0, h
    z = SampleNoise(4, range(6), (2,), "cpu")(0).double()
    got = sample(GaussianDenoiser(schedule, m, c), (2,), 6, steps=n, sampler=sampler, seed=4)
    # float32 states: each of 9 steps rounds to 6e-8 of values up to 10
    torch.testing.assert_close(got.double(), state[0] + z @ state[1].T, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", SCHEDULES)
def test_ddim_with_eta_1_is_ancestral_sampling(name: str) -> None:
    schedule = make_schedule(name, 100)
    denoiser = GaussianDenoiser(schedule, f64(1, 2), covariance(2))
    start, times = gaussian(3, 2), make_grid(schedule, 9)
    runs = [
        get_sampler(sampler).run(denoiser, start, times, lambda k: gaussian(3, 2, seed=k), **options)
        for sampler, options in (("ddim", {"eta": 1.0}), ("ancestral", {}))
    ]
    for one, other in zip(*runs, strict=True):
        torch.testing.assert_close(one.x, other.x, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", SCHEDULES)
def test_ddim_with_eta_0_is_first_order_dpm_solver(name: str) -> None:
    """x_s = sigma_s / sigma_t x_t - alpha_s (e^-h - 1) x0_hat, e^-h = sigma_s alpha_t / (alpha_s sigma_t)."""
    schedule = make_schedule(name)
    denoiser = GaussianDenoiser(schedule, f64(1, 2), covariance(2))
    x, times = gaussian(3, 2), f64(0.9, 0.6, 0.3, 0.2)
    grid = levels(schedule, times)
    states = list(get_sampler("ddim").run(denoiser, x, times, lambda k: x))
    for k, ((at, bt), (a, b)) in enumerate(pairwise(grid)):
        x = b / bt * x - a * (b * at / (a * bt) - 1) * denoiser(x, times[k])
        torch.testing.assert_close(states[k].x, x, rtol=1e-9, atol=1e-9)
    (first,) = get_sampler("dpmpp-2m").run(denoiser, gaussian(3, 2), times[:2], lambda k: x)
    torch.testing.assert_close(first.x, states[0].x, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_first_step_of_the_sde_solver_is_ancestral(name: str) -> None:
    denoiser = GaussianDenoiser(make_schedule(name), f64(1, 2), covariance(2))
    firsts = [
        next(get_sampler(sampler).run(denoiser, gaussian(3, 2), f64(0.9, 0.6, 0), lambda k: gaussian(3, 2, seed=1)))
        for sampler in ("dpmpp-2m-sde", "ancestral")
    ]
    torch.testing.assert_close(firsts[0].x, firsts[1].x, rtol=1e-9, atol=1e-9)


@pytest.mark.statistical
def test_a_mixture_gets_its_weights() -> None:
    """A share of n samples errs by sqrt(p (1 - p) / n): 5 of those, and 0.01 for the bias of the steps."""
    n = 1500
    denoiser = MixtureDenoiser(make_schedule("cosine"), f64(0.3, 0.7), f64(-2, 2)[:, None], torch.full((2, 1, 1), 0.09))
    for sampler, steps in (("ancestral", 100), ("dpmpp-2m", 20), ("dpmpp-2m-sde", 40), ("ddim", 50)):
        x = sample(denoiser, (1,), n, steps=steps, sampler=sampler, batch_size=n)
        assert abs((x > 0).double().mean().item() - 0.7) < 5 * math.sqrt(0.21 / n) + 0.01
        near = torch.where(x > 0, x - 2, x + 2)
        assert near.std().item() == pytest.approx(0.3, abs=0.05)
        assert near.abs().max() < 6 * 0.3
