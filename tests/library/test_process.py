import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from worlds import PRESERVING, SCHEDULES, abar_of, f64, gaussian, linear_betas, scalar

from gendi.diffusion.gaussian import process as p
from gendi.diffusion.gaussian.process import Process
from gendi.diffusion.gaussian.schedule import VarianceExploding, make_schedule


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("steps", [1, 7, 1000])
def test_transitions_compose_to_the_marginal(name: str, steps: int) -> None:
    """x_i = a_i x_{i-1} + sqrt(v_i) noise: the signal is multiplied by a_i, the variance becomes a_i^2 v + v_i."""
    schedule = make_schedule(name, steps)
    grid = schedule.grid()
    factors, variances = Process(schedule).transition(grid[1:], grid[:-1])
    signal, variance, path = 1.0, 0.0, []
    for a, v in zip(factors.tolist(), variances.tolist()):
        signal, variance = a * signal, a * a * variance + v
        path.append((signal, variance))
    alpha, sigma = schedule(grid[1:])
    torch.testing.assert_close(
        torch.stack([alpha, sigma**2], 1), torch.tensor(path, dtype=torch.float64), rtol=1e-9, atol=0
    )


def test_a_sample_of_the_marginal_is_the_papers_equation_4() -> None:
    """x_t = sqrt(abar) x_0 + sqrt(1 - abar) eps, with abar the product of the paper's betas."""
    abar = f64(*abar_of(linear_betas(1000)))[[1, 2, 40, 500, 1000]][:, None]
    x_0, eps = gaussian(5, 3), gaussian(5, 3, seed=1)
    x_t = Process(make_schedule("linear", 1000)).sample(x_0, f64(1, 2, 40, 500, 1000) / 1000, eps)
    torch.testing.assert_close(x_t, abar.sqrt() * x_0 + (1 - abar).sqrt() * eps, rtol=1e-10, atol=1e-12)


def test_one_step_of_the_chain_has_the_papers_beta() -> None:
    process = Process(make_schedule("linear", 1000))
    grid = process.schedule.grid()
    factor, variance = process.transition(grid[1:], grid[:-1])
    betas = f64(*linear_betas(1000))
    torch.testing.assert_close(variance, betas, rtol=1e-9, atol=0)
    torch.testing.assert_close(factor, (1 - betas).sqrt(), rtol=1e-12, atol=0)


def test_one_step_of_the_exploding_chain_adds_beta() -> None:
    process = Process(VarianceExploding(50, variance=10.0))
    grid = process.schedule.grid()
    factor, variance = process.transition(grid[1:], grid[:-1])
    torch.testing.assert_close(factor, torch.ones_like(factor))
    torch.testing.assert_close(variance, torch.full_like(variance, 0.2), rtol=1e-10, atol=0)


@given(st.sampled_from(SCHEDULES), st.sampled_from((None, 10, 1000)), st.integers(0, 998), st.integers(1, 999))
def test_any_transition_carries_marginal_to_marginal(name: str, steps: int | None, low: int, gap: int) -> None:
    s, t = scalar(low / 999), scalar(min(1.0, (low + gap) / 999))
    schedule = make_schedule(name, steps)
    (alpha_t, sigma_t), (alpha_s, sigma_s) = schedule(t), schedule(s)
    factor, variance = Process(schedule).transition(t, s)
    assert (factor * alpha_s).item() == pytest.approx(alpha_t.item(), rel=1e-12)
    assert (factor**2 * sigma_s**2 + variance).item() == pytest.approx(sigma_t.item() ** 2, rel=1e-9)


@pytest.mark.statistical
@pytest.mark.parametrize("name", SCHEDULES)
def test_simulated_chain_has_the_closed_form_marginals(name: str) -> None:
    """Mean and variance of n chains err by sigma / sqrt(n) and sigma^2 sqrt(2 / n); 5 of those fail once in 10^6."""
    n, steps, x_0 = 20_000, 40, 0.7
    process = Process(make_schedule(name, steps))
    grid, noise = process.schedule.grid(), gaussian(steps, n, seed=1)
    x = torch.full((n,), x_0, dtype=torch.float64)
    for i in range(1, steps + 1):
        factor, variance = process.transition(grid[i], grid[i - 1])
        x = factor * x + variance.sqrt() * noise[i - 1]
        if i in (1, 10, 39, 40):
            alpha, sigma = (c.item() for c in process.schedule(grid[i]))
            assert abs(x.mean().item() - alpha * x_0) < 5 * sigma / math.sqrt(n)
            assert abs(x.var().item() - sigma**2) < 5 * sigma**2 * math.sqrt(2 / n)


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize(("s", "t"), [(0.01, 1.0), (0.2, 0.25), (0.5, 0.9), (0.98, 1.0)])
def test_posterior_by_bayes_rule_on_a_grid(name: str, s: float, t: float) -> None:
    """q(x_s | x_t, x_0) is proportional to q(x_t | x_s) q(x_s | x_0); sums are exact to float64 for Gaussians."""
    process, x_0 = Process(make_schedule(name)), -0.4
    (alpha_s, sigma_s), (alpha_t, sigma_t) = ([c.item() for c in process.schedule(scalar(v))] for v in (s, t))
    x_t = alpha_t * x_0 + 1.3 * sigma_t
    factor = alpha_t / alpha_s
    spread = sigma_t**2 - factor**2 * sigma_s**2
    x_s = alpha_s * x_0 + sigma_s * torch.linspace(-14, 14, 40_001, dtype=torch.float64)
    log_density = -0.5 * (x_t - factor * x_s) ** 2 / spread - 0.5 * ((x_s - alpha_s * x_0) / sigma_s) ** 2
    weight = log_density.softmax(0)
    mean = (weight * x_s).sum()
    variance = (weight * (x_s - mean) ** 2).sum()
    got_mean, got_variance = process.posterior(f64(x_t), f64(x_0), scalar(t), scalar(s))
    assert got_mean.item() == pytest.approx(mean.item(), rel=1e-7, abs=1e-9)
    assert got_variance.item() == pytest.approx(variance.item(), rel=1e-7)


def test_posterior_of_one_step_is_the_papers_equation_7() -> None:
    betas, abar = linear_betas(1000), abar_of(linear_betas(1000))
    process = Process(make_schedule("linear", 1000))
    grid = process.schedule.grid()
    w_t, w_0, variance = process.posterior_weights(grid[2:], grid[1:-1])
    x_t, x_0 = gaussian(999, 2), gaussian(999, 2, seed=1)
    mean, spread = process.posterior(x_t, x_0, grid[2:], grid[1:-1])
    for i in (2, 3, 10, 500, 1000):
        beta, now, before = betas[i - 1], 1 - abar[i], 1 - abar[i - 1]
        # 1 - abar_i by hand loses 1e-12 of itself at i = 2, where it is 2e-4
        assert w_t[i - 2].item() == pytest.approx(math.sqrt(1 - beta) * before / now, rel=1e-11)
        assert w_0[i - 2].item() == pytest.approx(math.sqrt(abar[i - 1]) * beta / now, rel=1e-11)
        assert variance[i - 2].item() == pytest.approx(before / now * beta, rel=1e-11)
        by_hand = (math.sqrt(abar[i - 1]) * beta * x_0 + math.sqrt(1 - beta) * before * x_t)[i - 2] / now
        torch.testing.assert_close(mean[i - 2], by_hand, rtol=1e-10, atol=1e-12)
        assert spread[i - 2].item() == pytest.approx(before / now * beta, rel=1e-11)
    assert round(math.log(variance[0].item()), 2) == -9.82


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("steps", [None, 10])
def test_posterior_at_the_data_is_the_data(name: str, steps: int | None) -> None:
    w_t, w_0, variance = Process(make_schedule(name, steps)).posterior_weights(f64(0.1, 0.5, 1), f64(0, 0, 0))
    assert w_t.tolist() == [0, 0, 0]
    torch.testing.assert_close(w_0, torch.ones(3, dtype=torch.float64), rtol=1e-12, atol=0)
    assert variance.tolist() == [0, 0, 0]


@given(st.sampled_from(SCHEDULES), st.lists(st.floats(1e-3, 1), min_size=3, max_size=3), st.integers(0, 99))
def test_the_four_names_of_one_prediction(name: str, times: list[float], seed: int) -> None:
    """alpha is 3e-5 at the end of the sigmoid, where float64 keeps 1e-16 / 3e-5 of x_0."""
    t, x_0, eps = f64(*times), gaussian(3, 2, 4, seed=seed), gaussian(3, 2, 4, seed=seed + 1000)
    process = Process(make_schedule(name))
    alpha, sigma = process.schedule(t)
    a, b = alpha[:, None, None], sigma[:, None, None]
    x_t = process.sample(x_0, t, eps)

    def close(got: torch.Tensor, expected: torch.Tensor) -> None:
        torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-9)

    close(x_t, a * x_0 + b * eps)
    close(p.eps_from_x0(x_t, x_0, alpha, sigma), eps)
    close(p.x0_from_eps(x_t, eps, alpha, sigma), x_0)
    close(p.v_from_x0(x_t, x_0, alpha, sigma), a * eps - b * x_0)
    close(p.x0_from_v(x_t, a * eps - b * x_0, alpha, sigma), x_0)
    close(p.score_from_x0(x_t, x_0, alpha, sigma), -eps / b)
    close(p.x0_from_score(x_t, -eps / b, alpha, sigma), x_0)


@pytest.mark.parametrize("name", PRESERVING)
def test_v_is_the_velocity_on_the_circle(name: str) -> None:
    """With alpha = cos phi and sigma = sin phi, v = d x_t / d phi (Salimans & Ho 2022, appendix D)."""
    x_0, eps, h = gaussian(1, 5), gaussian(1, 5, seed=1), 1e-5
    alpha, sigma = make_schedule(name)(scalar(0.6))
    phi = torch.atan2(sigma, alpha)
    ahead, behind = (torch.cos(phi + d) * x_0 + torch.sin(phi + d) * eps for d in (h, -h))
    got = p.v_from_x0(alpha * x_0 + sigma * eps, x_0, alpha, sigma)
    torch.testing.assert_close(got, (ahead - behind) / (2 * h), rtol=1e-8, atol=1e-9)


def test_one_time_for_all_is_the_same_time_for_each() -> None:
    process, x_0, eps = Process(make_schedule("cosine")), gaussian(4, 3).float(), gaussian(4, 3, seed=1).float()
    t, s = scalar(0.7), scalar(0.3)
    each = process.sample(x_0, t.expand(4), eps)
    assert each.dtype == torch.float32
    assert torch.equal(process.sample(x_0, t, eps), each)
    assert torch.equal(process.posterior(eps, x_0, t, s)[0], process.posterior(eps, x_0, t.expand(4), s.expand(4))[0])
