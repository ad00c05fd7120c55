import math

import pytest
import torch
from torch import Tensor
from worlds import SCHEDULES, covariance, f64, gaussian, scalar

from gendi.diffusion.gaussian.exact import ConditionalMixture, GaussianDenoiser, MixtureDenoiser
from gendi.diffusion.gaussian.process import Process, score_from_x0
from gendi.diffusion.gaussian.schedule import make_schedule
from gendi.errors import UsageError

MEAN, COVARIANCE = f64(1.0, -2.0, 0.5), covariance(3)


def mixture(name: str = "cosine") -> MixtureDenoiser:
    """Return three Gaussians in the plane, of different shapes."""
    covariances = torch.stack([covariance(2, seed) for seed in (1, 2, 3)]) * 0.3
    return MixtureDenoiser(make_schedule(name), f64(0.2, 0.5, 0.3), gaussian(3, 2, seed=4) * 2, covariances)


def line(name: str) -> tuple[MixtureDenoiser, Tensor, Tensor]:
    """Return a mixture on the line, a fine grid of x_0, and q(x_0) on it."""
    weights, means, deviations = f64(0.3, 0.6, 0.1), f64(-1.0, 0.5, 2.0), f64(0.2, 0.4, 0.1)
    x_0 = torch.linspace(-6, 6, 60_001, dtype=torch.float64)
    density = (-0.5 * ((x_0[:, None] - means) / deviations) ** 2).exp() / deviations / math.sqrt(2 * math.pi) * weights
    denoiser = MixtureDenoiser(make_schedule(name), weights, means[:, None], deviations[:, None, None] ** 2)
    return denoiser, x_0, density.sum(1)


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("t", [0.01, 0.3, 0.8, 1.0])
def test_gaussian_is_linear_regression(name: str, t: float) -> None:
    """E[x_0 | x_t] = m + Cov(x_0, x_t) Cov(x_t)^-1 (x_t - E x_t), and the covariance left is C - Cov Cov^-1 Cov^T."""
    denoiser = GaussianDenoiser(make_schedule(name), MEAN, COVARIANCE)
    alpha, sigma = denoiser.schedule(scalar(t))
    gain = alpha * COVARIANCE @ torch.linalg.inv(alpha**2 * COVARIANCE + sigma**2 * torch.eye(3).double())
    x_t = 2 * gaussian(5, 3, seed=1)
    expected = MEAN + (x_t - alpha * MEAN) @ gain.T
    torch.testing.assert_close(denoiser(x_t, scalar(t)), expected, rtol=1e-9, atol=1e-10)
    left = torch.trace(COVARIANCE - alpha * gain @ COVARIANCE)
    torch.testing.assert_close(denoiser.variance(x_t, scalar(t)), left.expand(5), rtol=1e-8, atol=0)
    law = torch.distributions.MultivariateNormal(alpha * MEAN, alpha**2 * COVARIANCE + sigma**2 * torch.eye(3).double())
    torch.testing.assert_close(denoiser.log_density(x_t, scalar(t)), law.log_prob(x_t), rtol=1e-9, atol=1e-9)


@pytest.mark.statistical
@pytest.mark.parametrize("name", SCHEDULES)
def test_gaussian_is_what_least_squares_finds(name: str) -> None:
    """A fitted plane errs at z by sqrt(V_jj (1 + |z|^2) / n), z the whitened x_t, V the covariance left: 5 of those."""
    n, t = 100_000, scalar(0.4)
    denoiser = GaussianDenoiser(make_schedule(name), MEAN, COVARIANCE)
    x_0 = denoiser.sample_data(torch.zeros(n), gaussian(n, 3))
    x_t = Process(denoiser.schedule).sample(x_0, t, gaussian(n, 3, seed=1))
    ones = torch.ones(n, 1, dtype=torch.float64)
    plane = torch.linalg.lstsq(torch.cat([ones, x_t], 1), x_0).solution
    residual = (x_0 - torch.cat([ones, x_t], 1) @ plane).var(0)
    z_2 = ((x_t[:9] - x_t.mean(0)) @ torch.linalg.inv(x_t.T.cov()) * (x_t[:9] - x_t.mean(0))).sum(1)
    tolerance = 5 * (residual * (1 + z_2[:, None]) / n).sqrt()
    assert bool(((denoiser(x_t[:9], t) - torch.cat([ones, x_t], 1)[:9] @ plane).abs() < tolerance).all())


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("t", [0.02, 0.3, 0.7, 1.0])
def test_mixture_by_integration(name: str, t: float) -> None:
    """Mean, variance and evidence of q(x_0 | x_t) as sums over a grid 1 / 5000 apart."""
    denoiser, x_0, prior = line(name)
    alpha, sigma = denoiser.schedule(scalar(t))
    for x_t in (-2.0, 0.1, 1.5):
        likelihood = torch.distributions.Normal(alpha * x_0, sigma).log_prob(scalar(x_t)).exp()
        joint = prior * likelihood * (x_0[1] - x_0[0])
        mean = (joint * x_0).sum() / joint.sum()
        variance = (joint * (x_0 - mean) ** 2).sum() / joint.sum()
        at = (f64(x_t)[:, None], scalar(t))
        assert denoiser(*at).item() == pytest.approx(mean.item(), rel=1e-8, abs=1e-9)
        assert denoiser.variance(*at).item() == pytest.approx(variance.item(), rel=1e-7)
        assert denoiser.log_density(*at).item() == pytest.approx(joint.sum().log().item(), rel=1e-8, abs=1e-8)


@pytest.mark.parametrize("t", [0.05, 0.5, 1.0])
def test_two_points_give_the_hyperbolic_tangent(t: float) -> None:
    """For x_0 = +1 or -1 with equal odds, E[x_0 | x_t] = tanh(alpha x_t / sigma^2)."""
    schedule = make_schedule("linear", 1000)
    denoiser = MixtureDenoiser(schedule, f64(0.5, 0.5), f64(1, -1)[:, None], torch.zeros(2, 1, 1))
    alpha, sigma = schedule(scalar(t))
    x_t = torch.linspace(-2, 2, 9, dtype=torch.float64)[:, None]
    torch.testing.assert_close(denoiser(x_t, scalar(t)), (alpha * x_t / sigma**2).tanh(), rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("name", SCHEDULES)
def test_score_is_the_gradient_of_the_log_density(name: str) -> None:
    denoiser, x_t, t = mixture(name), gaussian(6, 2, seed=5), torch.linspace(0.05, 1, 6, dtype=torch.float64)
    x_t.requires_grad_()
    (gradient,) = torch.autograd.grad(denoiser.log_density(x_t, t).sum(), x_t)
    score = score_from_x0(x_t, denoiser(x_t, t), *denoiser.schedule(t))
    torch.testing.assert_close(score, gradient, rtol=1e-8, atol=1e-9)


def test_variance_is_sigma2_over_alpha_times_the_divergence() -> None:
    """Cov[x_0 | x_t] = sigma^2 / alpha times the Jacobian of E[x_0 | x_t] (Tweedie's second formula)."""
    denoiser, t = mixture(), scalar(0.4)
    alpha, sigma = denoiser.schedule(t)
    for x_t in gaussian(3, 1, 2, seed=6):
        jacobian = torch.autograd.functional.jacobian(lambda x: denoiser(x, t)[0], x_t)[:, 0]
        expected = (sigma**2 / alpha * torch.trace(jacobian)).item()
        assert denoiser.variance(x_t, t).item() == pytest.approx(expected, rel=1e-9)


def test_times_of_their_own_and_a_shared_time_agree() -> None:
    denoiser, x_t, t = mixture(), gaussian(3, 2), f64(0.1, 0.5, 0.9)
    for function in (denoiser, denoiser.log_density, denoiser.variance):
        rows = [function(x_t[i : i + 1], t[i]) for i in range(3)]
        torch.testing.assert_close(function(x_t, t), torch.cat(rows), rtol=1e-12, atol=1e-12)
    assert denoiser(x_t.float(), t).dtype == torch.float32


@pytest.mark.statistical
def test_data_have_the_mixtures_moments() -> None:
    """A mean of n draws errs by sqrt(variance / n): 5 of those, for the first two moments and each weight."""
    n, denoiser = 40_000, mixture()
    generator = torch.Generator().manual_seed(0)
    x = denoiser.sample_data(torch.rand(n, generator=generator), gaussian(n, 2, seed=7))
    covariances = torch.stack([covariance(2, seed) for seed in (1, 2, 3)]) * 0.3
    mean = denoiser.weights @ denoiser.means
    outer = torch.einsum("ki,kj->kij", denoiser.means, denoiser.means)
    second = torch.einsum("k,kij->ij", denoiser.weights, covariances + outer)
    moments = torch.cat([x, torch.einsum("bi,bj->bij", x, x).flatten(1)], 1)
    error = (moments.mean(0) - torch.cat([mean, second.flatten()])).abs()
    assert bool((error < 5 * (moments.var(0) / n).sqrt()).all())


@pytest.mark.statistical
@pytest.mark.parametrize("name", ["linear", "variance-exploding"])
def test_no_denoiser_beats_the_exact_one_and_its_loss_is_the_closed_form(name: str) -> None:
    """The error is N(0, V), so its square has mean tr V and variance 2 tr V^2: 5 standard errors.

    For eigenvalues c of C, V has the eigenvalues c sigma^2 / (alpha^2 c + sigma^2).
    """
    n = 50_000
    denoiser = GaussianDenoiser(make_schedule(name), MEAN, COVARIANCE)
    for t in (scalar(0.1), scalar(0.6)):
        alpha, sigma = denoiser.schedule(t)
        x_0 = denoiser.sample_data(torch.zeros(n), gaussian(n, 3, seed=8))
        x_t = alpha * x_0 + sigma * gaussian(n, 3, seed=9)
        answer = denoiser(x_t, t)
        loss = (answer - x_0).square().sum(1).mean().item()
        c = torch.linalg.eigvalsh(COVARIANCE)
        v = c * sigma**2 / (alpha**2 * c + sigma**2)
        assert abs(loss - v.sum().item()) < 5 * (2 * v.square().sum() / n).sqrt().item()
        for worse in (1.1 * answer, answer + 0.1):
            assert (worse - x_0).square().sum(1).mean().item() > loss


CARRIED = {"class": torch.tensor([0, 1, 1]), "dose": f64(0.5, 0.5, 2.0)}


def conditional() -> ConditionalMixture:
    """Return `mixture` with two conditions on its components."""
    covariances = torch.stack([covariance(2, seed) for seed in (1, 2, 3)]) * 0.3
    means = gaussian(3, 2, seed=4) * 2
    return ConditionalMixture(make_schedule("cosine"), f64(0.2, 0.5, 0.3), means, covariances, CARRIED)


@pytest.mark.parametrize("t", [scalar(0.4), f64(0.1, 0.5, 0.9)])
def test_a_conditional_mixture_is_the_mixture_of_the_components_that_carry_the_condition(t: Tensor) -> None:
    exact, x_t = conditional(), gaussian(3, 2, seed=8)
    for cond, parts in (({"class": torch.tensor(1)}, [1, 2]), ({"dose": scalar(0.5)}, [0, 1]), ({}, [0, 1, 2])):
        covariances = torch.stack([covariance(2, seed) for seed in (1, 2, 3)])[parts] * 0.3
        weights = exact.weights[parts] / exact.weights[parts].sum()
        alone = MixtureDenoiser(exact.schedule, weights, exact.means[parts], covariances)
        given = {name: value.expand(3) for name, value in cond.items()}
        torch.testing.assert_close(exact(x_t, t, **given), alone(x_t, t), rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(exact.log_density(x_t, t, **given), alone.log_density(x_t, t))
    both = {"class": torch.tensor([1, -1, 0]), "dose": f64(2.0, math.nan, 0.5)}
    rows = [
        exact(x_t[i : i + 1], t if t.ndim == 0 else t[i], **c)
        for i, c in enumerate(({"class": torch.tensor([1]), "dose": f64(2.0)}, {}, {"class": torch.tensor([0])}))
    ]
    torch.testing.assert_close(exact(x_t, t, **both), torch.cat(rows), rtol=1e-10, atol=1e-10)


def test_the_posterior_of_a_class_is_bayes_rule() -> None:
    exact, x_t, t = conditional(), gaussian(3, 2, seed=8), f64(0.1, 0.5, 0.9)
    prior = f64(0.2, 0.8)
    likelihood = torch.stack([exact.log_density(x_t, t, **{"class": torch.full((3,), c)}) for c in (0, 1)], 1).exp()
    joint = likelihood * prior
    torch.testing.assert_close(exact.log_posterior(x_t, t).exp(), joint / joint.sum(1, keepdim=True))


def test_a_conditional_mixture_refuses_what_no_component_carries() -> None:
    exact, x_t = conditional(), gaussian(2, 2)
    with pytest.raises(UsageError, match="no component"):
        exact(x_t, scalar(0.5), **{"class": torch.tensor([0, 2])})
    with pytest.raises(UsageError, match="Perhaps you meant 'dose'"):
        exact(x_t, scalar(0.5), doze=f64(0.5, 0.5))
    with pytest.raises(UsageError, match=r"shape \(2,\) for 3 components"):
        ConditionalMixture(exact.schedule, exact.weights, exact.means, torch.ones(3, 2, 2), {"class": torch.arange(2)})


def test_data_on_a_line_stay_on_it_though_round_off_makes_a_variance_negative() -> None:
    """Of a covariance u u^T, eigh returns eigenvalues near -1e-17, whose square roots are no numbers."""
    for seed in range(20):
        u = gaussian(4, seed=seed)
        line = GaussianDenoiser(make_schedule("cosine"), torch.zeros(4, dtype=torch.float64), torch.outer(u, u))
        data = line.sample_data(torch.zeros(5), gaussian(5, 4, seed=1))
        along = (data @ u)[:, None] / u.square().sum() * u
        torch.testing.assert_close(data, along, rtol=0, atol=1e-6)


def test_exact_denoisers_answer_in_the_dtype_they_are_asked_in() -> None:
    x_t, t = gaussian(3, 2), scalar(0.4)
    for exact in (mixture(), conditional()):
        assert exact(x_t.float(), t).dtype == torch.float32
        torch.testing.assert_close(exact(x_t.float(), t).double(), exact(x_t, t), rtol=1e-5, atol=1e-6)
