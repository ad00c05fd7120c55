"""The densities of whole paths, against the joint Gaussians that linear chains have."""

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal, Normal, kl_divergence
from worlds import f64, gaussian, scalar

from gendi.diffusion import GaussianDenoiser, make_schedule
from gendi.diffusion.gaussian.chain import (
    draw_path,
    log_likelihood,
    log_p_path,
    log_q_path,
    mean_from_eps,
    noise_weight,
    path_terms,
    product_of_gaussians,
)
from gendi.diffusion.gaussian.likelihood.elbo import prior_kl, step_kl
from gendi.diffusion.gaussian.process import Process, x0_from_eps
from gendi.diffusion.gaussian.schedule import Tabulated, VarianceExploding
from gendi.errors import UsageError

SCHEDULE = make_schedule("cosine", 5)
TIMES = SCHEDULE.grid()
MEAN, VARIANCE = 0.4, 0.25
WORLD = GaussianDenoiser(SCHEDULE, f64(MEAN), f64(VARIANCE)[:, None])


class Wrong:
    """A denoiser that is far from right: half of x_t."""

    schedule = SCHEDULE

    def __call__(self, x_t: Tensor, t: Tensor, /, **_: object) -> Tensor:
        return x_t / 2


def joint_of_p(variance: str = "small") -> MultivariateNormal:
    """Return the law of (x_0, ..., x_T) under p in one dimension, built by hand from x_T down to x_0.

    x_s = A x_t + b + sqrt(v) n with the posterior's weights and x0_hat = mean + alpha V / S (x_t - alpha mean).
    """
    alpha, sigma = SCHEDULE(TIMES)
    steps = len(TIMES) - 1
    mean, covariance = torch.zeros(steps + 1).double(), torch.zeros(steps + 1, steps + 1).double()
    covariance[steps, steps] = sigma[steps] ** 2
    for i in range(steps, 0, -1):
        w_t, w_0, v = Process(SCHEDULE).posterior_weights(TIMES[i], TIMES[i - 1])
        gain = alpha[i] * VARIANCE / (alpha[i] ** 2 * VARIANCE + sigma[i] ** 2)
        a, b = w_t + w_0 * gain, w_0 * (1 - gain * alpha[i]) * MEAN
        if i == 1:  # the posterior's variance is 0: that of step 2 is taken
            v = Process(SCHEDULE).posterior_weights(TIMES[2], TIMES[1])[2]
        elif variance == "large":
            v = SCHEDULE.betas[i - 1]
        mean[i - 1] = a * mean[i] + b
        covariance[i - 1, i:] = covariance[i:, i - 1] = a * covariance[i, i:]
        covariance[i - 1, i - 1] = a**2 * covariance[i, i] + v
    return MultivariateNormal(mean, covariance)


def law_of_q(x_0: float) -> MultivariateNormal:
    """Return the law of (x_1, ..., x_T) given x_0: Cov(x_s, x_t) = alpha_t / alpha_s sigma_s^2 for s < t."""
    alpha, sigma = SCHEDULE(TIMES[1:])
    i, j = torch.meshgrid(torch.arange(5), torch.arange(5), indexing="ij")
    low, high = torch.minimum(i, j), torch.maximum(i, j)
    return MultivariateNormal(alpha * x_0, alpha[high] / alpha[low] * sigma[low] ** 2)


def paths(x_0: Tensor, seed: int = 0) -> list[Tensor]:
    return draw_path(SCHEDULE, x_0, TIMES, lambda k: gaussian(*x_0.shape, seed=100 * seed + k))


def test_a_path_of_q_has_the_density_of_its_joint_gaussian() -> None:
    x_0 = f64(0.3).expand(7)[:, None]
    path = paths(x_0)
    expected = law_of_q(0.3).log_prob(torch.cat(path, 1))
    torch.testing.assert_close(log_q_path(SCHEDULE, x_0, path, TIMES), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("variance", ["small", "large"])
def test_a_path_of_p_has_the_density_of_its_joint_gaussian(variance: str) -> None:
    x_0 = gaussian(7, 1, seed=1)
    path = paths(x_0)
    expected = joint_of_p(variance).log_prob(torch.cat([x_0, *path], 1))
    torch.testing.assert_close(log_p_path(WORLD, x_0, path, TIMES, variance), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("variance", ["small", "large"])
@pytest.mark.parametrize("denoiser", [WORLD, Wrong()], ids=["exact", "wrong"])
def test_bayes_rule_and_the_telescoping_sum_change_no_path(variance: str, denoiser: object) -> None:
    """The terms after the rearrangement sum to log q - log p of the same path, exactly, whatever the model."""
    x_0 = gaussian(6, 3, seed=2)
    if denoiser is WORLD:
        denoiser = GaussianDenoiser(SCHEDULE, f64(0.4, 0, 1), torch.eye(3))
    path = paths(x_0)
    direct = log_q_path(SCHEDULE, x_0, path, TIMES) - log_p_path(denoiser, x_0, path, TIMES, variance)
    terms = path_terms(denoiser, x_0, path, TIMES, variance)
    torch.testing.assert_close(terms.total, direct, rtol=1e-10, atol=1e-10)
    assert terms.steps.shape == (4, 6)


@pytest.mark.statistical
def test_jensens_inequality_has_the_gap_of_a_divergence() -> None:
    """-log p(x_0) <= E[cost], and the gap is KL(q(path | x_0) || p(path | x_0)), a formula of two Gaussians.

    4000 paths, whose costs spread by 0.55; both estimates are allowed five of their standard errors.
    """
    value, n = 2.0, 4000
    x_0 = torch.full((n, 1), value).double()
    path = paths(x_0, seed=3)
    costs = log_q_path(SCHEDULE, x_0, path, TIMES) - log_p_path(WORLD, x_0, path, TIMES, "large")
    joint = joint_of_p("large")
    c = joint.covariance_matrix
    exact = Normal(joint.mean[0], c[0, 0].sqrt()).log_prob(scalar(value))
    gain = c[1:, 0] / c[0, 0]
    given = MultivariateNormal(joint.mean[1:] + gain * (value - joint.mean[0]), c[1:, 1:] - torch.outer(gain, c[0, 1:]))
    gap = kl_divergence(law_of_q(value), given)
    assert float(costs.mean()) == pytest.approx(float(gap - exact), abs=5 * 0.55 / math.sqrt(n))
    weights = (-costs).exp()
    error = float(weights.std() / weights.mean()) / math.sqrt(n)
    assert float(log_likelihood(costs[:, None])[0]) == pytest.approx(float(exact), abs=5 * error)
    assert float(gap) > 0.1  # the estimate is good to 0.04


def test_the_product_of_two_gaussians_is_a_gaussian() -> None:
    x = torch.linspace(-9, 9, 4001, dtype=torch.float64)
    product = Normal(f64(0.7), f64(1.1).sqrt()).log_prob(x).exp() * Normal(f64(-1.2), f64(0.4).sqrt()).log_prob(x).exp()
    mean, variance = product_of_gaussians(f64(0.7), f64(1.1), f64(-1.2), f64(0.4))
    normal = Normal(mean, variance.sqrt()).log_prob(x).exp()
    torch.testing.assert_close(product / torch.trapezoid(product, x), normal, rtol=0, atol=1e-9)


def test_it_is_how_the_posterior_comes_about() -> None:
    """q(x_t | x_s) as a function of x_s is a Gaussian about x_t / alpha_ts; the other factor is q(x_s | x_0)."""
    t, s, x_t, x_0 = TIMES[3], TIMES[2], gaussian(5, 2, seed=4), gaussian(5, 2, seed=5)
    factor, spread = Process(SCHEDULE).transition(t, s)
    alpha_s, sigma_s = SCHEDULE(s)
    mean, variance = product_of_gaussians(x_t / factor, spread / factor**2, alpha_s * x_0, sigma_s**2)
    expected, expected_variance = Process(SCHEDULE).posterior(x_t, x_0, t, s)
    torch.testing.assert_close(mean, expected)
    torch.testing.assert_close(variance, expected_variance)


def test_the_mean_by_the_noise_is_the_posteriors_mean() -> None:
    t, s, x_t, eps = TIMES[3], TIMES[2], gaussian(5, 2, seed=4), gaussian(5, 2, seed=5)
    x_0 = x0_from_eps(x_t, eps, *SCHEDULE(t))
    expected, _ = Process(SCHEDULE).posterior(x_t, x_0, t, s)
    torch.testing.assert_close(mean_from_eps(SCHEDULE, x_t, eps, t, s), expected)
    without = SCHEDULE.alphas[2].sqrt() * expected  # the report's, without 1 / sqrt(alpha_t)
    assert float((without - expected).abs().max()) > 0.05


@pytest.mark.parametrize("variance", ["small", "large"])
def test_the_weight_of_the_noise_is_that_of_the_divergence(variance: str) -> None:
    """`step_kl` of a denoiser that errs by a known noise; with `large`, what does not depend on it is taken off."""
    t, s, x_0, eps = TIMES[4], TIMES[3], gaussian(5, 2, seed=6), gaussian(5, 2, seed=7)
    guess = eps + gaussian(5, 2, seed=8)

    class Errs:
        schedule = SCHEDULE

        def __init__(self, noise: Tensor) -> None:
            self.noise = noise

        def __call__(self, x_t: Tensor, t: Tensor, /, **_: object) -> Tensor:
            return x0_from_eps(x_t, self.noise, *SCHEDULE(t))

    found = step_kl(Errs(guess), x_0, t, s, eps, variance) - step_kl(Errs(eps), x_0, t, s, eps, variance)
    expected = noise_weight(SCHEDULE, t, s, variance) * (eps - guess) ** 2
    torch.testing.assert_close(found, expected)


def test_variances_of_the_reports_steps_add_up() -> None:
    """x_1 = x_0 + sqrt(beta) eps, and each further step adds beta: the variance after i of them is i beta."""
    schedule = VarianceExploding(steps=1000, variance=20.0)
    beta = 0.02
    for i in (1, 2, 3, 700):
        factor, variance = Process(schedule).transition(scalar(i / 1000), scalar((i - 1) / 1000))
        assert float(factor) == 1 and float(variance) == pytest.approx(beta, rel=1e-9)
        factor, variance = Process(schedule).transition(scalar(i / 1000), scalar(0.0))
        assert float(factor) == 1 and float(variance) == pytest.approx(i * beta, rel=1e-9)


def test_a_constant_beta_leaves_powers_of_one_minus_beta() -> None:
    """The chain with abar_i = (1 - beta)^i has sqrt(1 - beta) and beta at every step, and no other has."""
    beta, steps = 0.05, 40
    abar = (1 - beta) ** torch.arange(1, steps + 1, dtype=torch.float64)
    schedule = Tabulated((abar / (1 - abar)).log())
    for i in (2, 3, 17, 40):
        factor, variance = Process(schedule).transition(scalar(i / steps), scalar((i - 1) / steps))
        assert float(factor) == pytest.approx(math.sqrt(1 - beta), rel=1e-9)
        assert float(variance) == pytest.approx(beta, rel=1e-9)


def test_a_path_has_no_density_for_a_learned_variance() -> None:
    x_0 = gaussian(2, 1)
    with pytest.raises(UsageError, match="'small'"):
        log_p_path(WORLD, x_0, paths(x_0), TIMES, "learned")


def test_the_term_of_the_prior_is_the_divergence_of_two_normals() -> None:
    """KL(q(x_T | x_0) || N(0, sigma_T^2)), with a schedule that keeps much of the signal, so that it is not small."""
    schedule, x_0 = VarianceExploding(variance=4.0), gaussian(5, 2, seed=9)
    expected = kl_divergence(Normal(x_0, 2.0), Normal(torch.zeros_like(x_0), 2.0))
    torch.testing.assert_close(prior_kl(schedule, x_0), expected)
