"""The four variances of an ancestral step: learned lies between small and large, and the analytic one is exact where q
is Gaussian both ways.
"""

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from worlds import PRESERVING, SCHEDULES, covariance, f64, gaussian, scalar

from gendi.diffusion.gaussian.config import Parameterisation
from gendi.diffusion.gaussian.denoiser import make_denoiser
from gendi.diffusion.gaussian.exact import GaussianDenoiser, MixtureDenoiser
from gendi.diffusion.gaussian.process import Process
from gendi.diffusion.gaussian.samplers import get_sampler
from gendi.diffusion.gaussian.samplers.analytic import Moments, estimate_moments
from gendi.diffusion.gaussian.schedule import Schedule, make_schedule
from gendi.errors import UsageError


class Sure:
    """A Gaussian world whose denoiser also returns a given share of the variance, (d,); it counts its calls."""

    def __init__(self, schedule: Schedule, share: Tensor) -> None:
        self.schedule, self.share, self.calls = schedule, share, 0
        d = len(share)
        self.world = GaussianDenoiser(schedule, gaussian(d), covariance(d))

    def __call__(self, x_t: Tensor, t: Tensor, **_: Any) -> Tensor:
        self.calls += 1
        return self.world(x_t, t)

    def predict(self, x_t: Tensor, t: Tensor, **_: Any) -> tuple[Tensor, Tensor]:
        return self(x_t, t), self.share.expand_as(x_t)


class Plain:
    """A denoiser that hides what it knows beyond E[x_0 | x_t], as a network does."""

    def __init__(self, world: MixtureDenoiser) -> None:
        self.schedule, self.world = world.schedule, world

    def __call__(self, x_t: Tensor, t: Tensor, **_: Any) -> Tensor:
        return self.world(x_t, t)


def run(denoiser: Any, times: Tensor, x: Tensor, **options: Any) -> list[Tensor]:
    states = get_sampler("ancestral").run(
        denoiser, x, times, lambda k: gaussian(*x.shape, seed=10 + k).to(x.dtype), **options
    )
    return [state.x for state in states]


TIMES = f64(0.9, 0.6, 0.2, 0.1, 0)


@pytest.mark.parametrize("steps", [10, None])
@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize(("share", "variance"), [(0.0, "small"), (1.0, "large")])
def test_the_ends_of_the_learned_range(name: str, steps: int | None, share: float, variance: str) -> None:
    schedule = make_schedule(name, steps)
    denoiser = Sure(schedule, f64(share, share, share))
    learned = run(denoiser, TIMES, gaussian(4, 3), variance="learned")
    assert denoiser.calls == len(TIMES) - 1
    for one, other in zip(learned, run(denoiser, TIMES, gaussian(4, 3), variance=variance), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", SCHEDULES)
def test_each_dimension_interpolates_its_own_logs(name: str) -> None:
    """For a share v of any size it is exp(v log beta + (1 - v) log beta-tilde), with the paper's betas (eq. 15)."""
    share, t, s = f64(0, 1, 0.3, -0.2, 1.5), scalar(0.6), scalar(0.35)
    schedule = make_schedule(name)
    denoiser = Sure(schedule, share)
    (at, bt), (a, b) = ([c.item() for c in schedule(v)] for v in (t, s))
    beta = bt**2 - (at / a) ** 2 * b**2
    tilde = beta * b**2 / bt**2
    x = gaussian(2, 5)
    (got,) = run(denoiser, torch.stack([t, s]), x, variance="learned")
    mean = at / a * (b / bt) ** 2 * x + a * beta / bt**2 * denoiser(x, t)
    deviation = f64(*(math.sqrt(beta**v * tilde ** (1 - v)) for v in share.tolist()))
    torch.testing.assert_close(got, mean + deviation * gaussian(2, 5, seed=10), rtol=1e-9, atol=1e-9)


def test_learned_variance_keeps_the_dtype() -> None:
    x = run(Sure(make_schedule("linear"), torch.full((3,), 0.5)), TIMES, gaussian(4, 3).float(), variance="learned")
    assert all(one.dtype == torch.float32 for one in x)


def law(denoiser: GaussianDenoiser, times: Tensor, **options: Any) -> list[tuple[float, float]]:
    """Return mean and variance after each step from the exact marginal, by the responses to start and noises."""
    alpha, sigma = denoiser.schedule(times[0])
    rows, m, c = len(times) + 1, denoiser.means[0], denoiser.values[0]
    start = (alpha * m).expand(rows, 1).clone()
    start[1] += (alpha**2 * c + sigma**2).sqrt()

    def noise(k: int) -> Tensor:
        return torch.eye(rows, dtype=torch.float64)[:, 2 + k, None]

    states = get_sampler("ancestral").run(denoiser, start, times, noise, **options)
    return [(s.x[0].item(), (s.x[1:] - s.x[0]).square().sum().item()) for s in states]


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("times", [f64(1, 0.01), f64(1, 0.3, 0.02), f64(0.97, 0.9, 0.5, 0.4, 0.001)])
def test_the_analytic_variance_is_exact_on_a_gaussian(name: str, times: Tensor) -> None:
    """q(x_s | x_t) is N(posterior mean of x0_hat, beta-tilde + w_0^2 Cov[x_0 | x_t]): exact for any number of steps."""
    m, c = 0.8, 0.3
    world = GaussianDenoiser(make_schedule(name), f64(m), f64(c)[:, None])
    moments = estimate_moments(world, torch.zeros(1, 1, dtype=torch.float64), times[:-1].flip(0))
    for s, (mean, variance) in zip(times[1:], law(world, times, variance="analytic", moments=moments), strict=True):
        alpha, sigma = (v.item() for v in world.schedule(s))
        assert mean == pytest.approx(alpha * m, rel=1e-10)
        assert variance == pytest.approx(alpha**2 * c + sigma**2, rel=1e-10)


def test_moments_in_a_basis_are_exact_on_a_correlated_gaussian() -> None:
    """Cov[x_0 | x_t] has the eigenvectors of C, with sigma^2 c / (alpha^2 c + sigma^2) for the eigenvalue c.

    So with all but one of them as the basis every step draws from the true q(x_s | x_t), where the best isotropic
    variance does not. The covariance after each step comes from the responses to unit vectors, without statistics.
    """
    covariances, times = covariance(3), f64(1, 0.6, 0.3, 0.05)
    world = GaussianDenoiser(make_schedule("cosine"), f64(0, 0, 0), covariances)
    values, vectors = torch.linalg.eigh(covariances)
    alpha, sigma = world.schedule(times[:-1].flip(0))
    spread = sigma[:, None] ** 2 * values / (alpha[:, None] ** 2 * values + sigma[:, None] ** 2)
    directions = Moments(world.schedule, times[:-1].flip(0), spread[:, [1, 2, 0]], vectors[:, 1:])
    ball = Moments(world.schedule, times[:-1].flip(0), spread.mean(1))

    def covariance_at_the_end(moments: Moments) -> Tensor:
        units = torch.eye(3 * len(times), dtype=torch.float64)
        start = torch.sqrt(alpha[-1] ** 2 * values + sigma[-1] ** 2) * vectors  # columns: the exact start
        rows = torch.cat([start @ units[:3], torch.zeros(3, 0)], 1)

        def noise(k: int) -> Tensor:
            return units[3 * k + 3 : 3 * k + 6].T.contiguous()

        *_, last = get_sampler("ancestral").run(
            world, rows.T.contiguous(), times, noise, variance="analytic", moments=moments
        )
        return last.x.T @ last.x

    alpha_s, sigma_s = world.schedule(times[-1])
    truth = alpha_s**2 * covariances + sigma_s**2 * torch.eye(3, dtype=torch.float64)
    torch.testing.assert_close(covariance_at_the_end(directions), truth, rtol=1e-8, atol=1e-8)
    assert float((covariance_at_the_end(ball) - truth).norm() / truth.norm()) > 0.01


@pytest.mark.statistical
def test_the_error_in_a_basis_adds_up_to_the_whole_error() -> None:
    """The spreads of r directions and of the d - r others are the mean error in other words, and the first are larger.

    For a Gaussian each of them is sigma^2 c / (alpha^2 c + sigma^2); 4000 rows give it to 5 sqrt(2 / 4000) = 11%.
    """
    world = GaussianDenoiser(make_schedule("cosine"), f64(0, 0, 0), torch.diag(f64(4.0, 1.0, 0.09)))
    x_0, times = gaussian(4000, 3) * f64(2.0, 1.0, 0.3), f64(0.2, 0.5)
    found = estimate_moments(Plain(world), x_0, times, rank=1)
    whole = estimate_moments(Plain(world), x_0, times)
    torch.testing.assert_close((found.spread[:, 0] + 2 * found.spread[:, 1]) / 3, whole.spread, rtol=1e-9, atol=1e-12)
    alpha, sigma = world.schedule(times)
    assert found.spread[:, 0] == pytest.approx(4 * sigma**2 / (4 * alpha**2 + sigma**2), rel=0.11)
    with pytest.raises(UsageError, match="rank = 3"):
        estimate_moments(Plain(world), x_0, times, rank=3)


def test_the_last_step_to_the_data_adds_no_noise() -> None:
    """It returns E[x_0 | x_t], which lacks Cov[x_0 | x_t] = c sigma^2 / (alpha^2 c + sigma^2) of the variance."""
    c, times = 0.3, f64(1, 0.5, 0.2, 0)
    world = GaussianDenoiser(make_schedule("cosine"), f64(0.8), f64(c)[:, None])
    moments = estimate_moments(world, torch.zeros(1, 1, dtype=torch.float64), f64(0.2, 0.5, 1))
    alpha, sigma = (v.item() for v in world.schedule(times[-2]))
    mean, variance = law(world, times, variance="analytic", moments=moments)[-1]
    assert mean == pytest.approx(0.8, rel=1e-10)
    assert variance == pytest.approx(c - c * sigma**2 / (alpha**2 * c + sigma**2), rel=1e-10)


@pytest.mark.parametrize("name", PRESERVING)
@pytest.mark.parametrize(("c", "variance"), [(1.0, "large"), (0.0, "small")])
def test_it_is_large_for_unit_data_and_small_for_a_point(name: str, c: float, variance: str) -> None:
    """The two extremes of Ho et al. 2020, section 3.2."""
    world = GaussianDenoiser(make_schedule(name), f64(0, 0), c * torch.eye(2, dtype=torch.float64))
    moments = estimate_moments(world, torch.zeros(1, 2, dtype=torch.float64), f64(0.1, 0.2, 0.6, 0.9))
    analytic = run(world, TIMES, gaussian(3, 2), variance="analytic", moments=moments)
    for one, other in zip(analytic, run(world, TIMES, gaussian(3, 2), variance=variance), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


@pytest.mark.statistical
@pytest.mark.parametrize("name", ["cosine", "variance-exploding"])
def test_the_error_on_data_measures_what_the_oracle_knows(name: str) -> None:
    """Mean of |x_0 - x0_hat|^2 / d over n data against that of tr Cov / d over the same: 5 standard errors, of which
    the kurtosis of a squared error, at most 3 + 12 for these two bumps, makes sqrt(14 / n) of the value.
    """
    n = 2000
    world = MixtureDenoiser(
        make_schedule(name), f64(0.3, 0.7), gaussian(2, 3), torch.stack([covariance(3), 0.2 * covariance(3, seed=1)])
    )
    uniform = torch.rand(n, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x_0, times = world.sample_data(uniform, gaussian(n, 3, seed=2)), f64(0.01, 0.2, 0.7, 1)
    known = estimate_moments(world, x_0, times)
    measured = estimate_moments(Plain(world), x_0, times, batch_size=300)
    assert bool(((measured.spread / known.spread - 1).abs() < 5 * math.sqrt(14 / n)).all())
    again = estimate_moments(Plain(world), x_0, times, batch_size=7)
    torch.testing.assert_close(again.spread, measured.spread, rtol=1e-12, atol=0)
    assert not torch.equal(estimate_moments(Plain(world), x_0, times, seed=1).spread, measured.spread)


@pytest.mark.parametrize("name", SCHEDULES)
def test_moments_between_their_times(name: str) -> None:
    """Log spread is a smooth curve in log-SNR, so 40 times leave 1%; beyond them the bound is sigma^2 / alpha^2."""
    c, schedule = 0.3, make_schedule(name)
    world = GaussianDenoiser(schedule, f64(0), f64(c)[:, None])
    times = schedule.time(torch.linspace(8, -6, 40, dtype=torch.float64))
    moments = estimate_moments(world, torch.zeros(1, 1, dtype=torch.float64), times)
    torch.testing.assert_close(moments(times), moments.spread, rtol=1e-12, atol=0)
    between = (times[1:] + times[:-1]) / 2
    alpha, sigma = schedule(between)
    torch.testing.assert_close(moments(between), c * sigma**2 / (alpha**2 * c + sigma**2), rtol=0.01, atol=0)
    alpha, sigma = schedule(times[0] / 1000)
    assert moments(times[0] / 1000).item() == pytest.approx((sigma / alpha).item() ** 2, rel=1e-9)
    assert moments(scalar(0)).item() == 0


def test_an_overestimate_is_cut_at_the_bound() -> None:
    schedule = make_schedule("cosine")
    moments = Moments(schedule, f64(0.1, 0.9), f64(100, 100))
    alpha, sigma = schedule(f64(0.1, 0.5))
    torch.testing.assert_close(moments(f64(0.1, 0.5)), (sigma / alpha) ** 2, rtol=1e-12, atol=0)
    optimal = Process(schedule)  # theorem 2: with the bound for spread, the variance is beta / abar_ts of the step
    w_t, w_0, small = optimal.posterior_weights(scalar(0.5), scalar(0.3))
    a, beta = optimal.transition(scalar(0.5), scalar(0.3))
    alpha, sigma = schedule(scalar(0.5))
    assert (small + w_0**2 * (sigma / alpha) ** 2).item() == pytest.approx((beta / a**2).item(), rel=1e-9)
    assert w_t > 0


@pytest.mark.statistical
def test_the_analytic_variance_serves_a_mixture_best() -> None:
    """With ten steps on two distant bumps its deviation is the nearest of three to that of the data, in 4000 draws."""
    n, times = 4000, f64(1, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.01)
    world = MixtureDenoiser(make_schedule("cosine"), f64(0.5, 0.5), f64(-1, 1)[:, None], torch.full((2, 1, 1), 0.04))
    data = world.sample_data(torch.arange(n) / n, gaussian(n, 1, seed=3))
    moments = estimate_moments(world, data, times[:-1].flip(0))
    alpha, sigma = (c.item() for c in world.schedule(times[-1]))
    exact = math.sqrt(0.04 * alpha**2 + sigma**2)
    errors = {}
    for variance in ("small", "large", "analytic"):
        options = {"moments": moments} if variance == "analytic" else {}
        x = run(world, times, gaussian(n, 1, seed=4), variance=variance, **options)[-1]
        errors[variance] = abs((x - alpha * x.sign()).std().item() / exact - 1)
    assert errors["analytic"] < min(errors["small"], errors["large"])


WORLD = GaussianDenoiser(make_schedule("cosine"), f64(0), f64(1)[:, None])


@pytest.mark.parametrize(
    ("variance", "message"),
    [("learned", "a denoiser that learned one"), ("analytic", "estimate_moments"), ("analitic", "'analytic'")],
)
def test_variances_that_cannot_be_had(variance: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        run(WORLD, f64(1, 0), gaussian(1, 1), variance=variance)


@pytest.mark.parametrize("times", [f64(0, 0.5), f64(0.5, 0.5), f64(0.5, 0.2), f64(0.5, 1.1)])
def test_moments_at_times_that_cannot_be(times: Tensor) -> None:
    with pytest.raises(UsageError, match="increasing times above 0 and up to 1"):
        estimate_moments(WORLD, gaussian(2, 1), times)


def test_moments_of_a_network_are_its_error_on_data() -> None:
    """A network's denoiser knows no variance by itself, whatever attributes it has: the error on data is measured."""

    class Zero(torch.nn.Module):
        def forward(self, x: Tensor, time: Tensor) -> Tensor:
            return torch.zeros_like(x)

    denoiser = make_denoiser(Zero(), make_schedule("cosine"), Parameterisation("x0"))
    x_0 = gaussian(6, 2).float()
    found = estimate_moments(denoiser, x_0, f64(0.3, 0.6))
    most = torch.exp(-denoiser.schedule.log_snr(f64(0.3, 0.6)))
    torch.testing.assert_close(found.spread, x_0.double().square().mean().expand(2), rtol=1e-6, atol=0)
    torch.testing.assert_close(found(f64(0.3, 0.6)), found.spread.minimum(most), rtol=1e-6, atol=0)
