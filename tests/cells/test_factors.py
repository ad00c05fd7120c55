"""Factors behind bounded scores: cut normals against scipy, loadings of a world whose factors are known."""

import numpy as np
import pytest
from scipy import stats

from gendi.data.cells.factors import Factors, bounded, cut_normal, fit_factors
from gendi.data.cells.negative_binomial import normal_scores, quantile, score_bounds


def cut(mean: float, std: float, lower: float, upper: float, e: np.ndarray) -> np.ndarray:
    """The numbers that standard normal ones become, for one gene."""
    one = np.ones((len(e), 1), np.float32)
    found = cut_normal(mean * one, np.full(1, std, np.float32), lower * one, upper * one, e[:, None].astype(np.float32))
    return np.asarray(found[:, 0], np.float64)


@pytest.mark.statistical
@pytest.mark.parametrize(
    ("mean", "std", "lower", "upper"),
    [(0.3, 0.7, -8, 0.5), (0.0, 1.0, -8, 2.5), (1.0, 0.5, -0.2, 0.4), (-2, 0.9, 2, 2.3), (0, 1, -0.5, 3), (0, 1, 4, 8)],
)
def test_cut_normal_is_scipys(mean: float, std: float, lower: float, upper: float) -> None:
    """Kolmogorov-Smirnov of 20,000 draws: each of six p-values is below 1e-4 once in 10,000 seeds."""
    z = cut(mean, std, lower, upper, np.random.default_rng(0).standard_normal(20_000))
    law = stats.truncnorm((lower - mean) / std, (upper - mean) / std, mean, std)
    assert stats.kstest(z, law.cdf).pvalue > 1e-4


def test_cut_normal_is_continuous_and_the_identity_between_the_bounds() -> None:
    """Inside it is mean + std e, with the errors of float32. Just below the lower bound, at a = -1.5, the slope in e is
    std (Phi(b) - Phi(a)) / Phi(a) = 19 (above the upper one 4), so a step of 1e-5 moves the result by 2e-4."""
    e = np.array([-1.50001, -1.49999, 0.2, 0.49999, 0.50001])
    z = cut(1.0, 2.0, -2.0, 2.0, e)
    np.testing.assert_allclose(z[[1, 2, 3]], 1 + 2 * e[[1, 2, 3]], atol=1e-6)
    np.testing.assert_allclose(z[[0, 4]], [-2, 2], atol=3e-4)


def test_cut_normal_stays_between_its_bounds_however_far_they_are():
    lower, upper = (np.array([row], np.float32) for row in ([50.0, -51.0, -60.0], [51.0, -50.0, 60.0]))
    for e in (-3.0, 0.0, 3.0):
        found = cut_normal(
            np.zeros((1, 3), np.float32), np.ones(3, np.float32), lower, upper, np.full((1, 3), e, np.float32)
        )
        assert ((lower <= found) & (found <= upper)).all()


def test_posterior_is_that_of_the_joint_gaussian():
    """f | z from the covariance of (f, z), by the textbook's formula for conditioning."""
    rng = np.random.default_rng(1)
    factors = bounded(rng.normal(0, 0.4, (6, 2)))
    weights, covariance = factors.posterior()
    of_z = factors.loadings @ factors.loadings.T + np.diag(factors.residual)
    gain = factors.loadings.T @ np.linalg.inv(of_z)
    np.testing.assert_allclose(weights.T, gain, atol=1e-12)
    np.testing.assert_allclose(covariance, np.eye(2) - gain @ factors.loadings, atol=1e-12)


def test_scores_keep_their_unit_variance():
    factors = bounded(np.array([[3.0, 4.0], [0.1, 0.0]]))
    assert factors.residual[0] == pytest.approx(0.02)
    np.testing.assert_allclose(np.square(factors.loadings).sum(1) + factors.residual, 1)


def latent_world(n: int, mu: float, seed: int = 0) -> tuple[np.ndarray, Factors]:
    rng = np.random.default_rng(seed)
    true = bounded(np.c_[np.repeat([0.8, -0.6, 0.0], 8), np.repeat([0.0, 0.5, 0.7], 8)])
    z = rng.standard_normal((n, 2)) @ true.loadings.T + rng.standard_normal((n, 24)) * np.sqrt(true.residual)
    return quantile(z, mu, 0.3), true


@pytest.mark.statistical
@pytest.mark.parametrize("mu", [0.3, 3.0])
def test_correlations_of_scores_are_found_behind_counts(mu):
    """Correlations behind counts, three in four of them 0 at mu = 0.3, where those of the randomised transform are less
    than half as large. Over 24 * 23 / 2 pairs of 3000 cells a correlation's error is about 1 / sqrt(3000 i), with i the
    share of information that such counts leave, at least a third: 0.03; the mean absolute one 0.025.
    """
    k, true = latent_world(3000, mu)
    lower, upper = score_bounds(k, mu, 0.3)
    found = fit_factors(lower, upper, 2, np.random.default_rng(1))
    pairs = np.triu_indices(24, 1)
    expected, got = ((f.loadings @ f.loadings.T)[pairs] for f in (true, found))
    assert np.abs(got - expected).mean() < 0.025
    plain = np.corrcoef(normal_scores(k, mu, 0.3, np.random.default_rng(2).random(k.shape)).T)[pairs]
    if mu < 1:
        assert (np.abs(plain) < np.abs(expected) / 2)[expected != 0].mean() > 0.9
    assert np.abs(plain - expected).mean() > np.abs(got - expected).mean()


@pytest.mark.parametrize(("n", "k"), [(1, 1), (2, 3), (5, 24)])
def test_fewer_cells_than_factors(n, k):
    counts, _ = latent_world(n, 3.0)
    lower, upper = score_bounds(counts, 3.0, 0.3)
    found = fit_factors(lower, upper, k, np.random.default_rng(0), sweeps=5)
    assert found.loadings.shape == (24, k)
    assert np.isfinite(found.loadings).all() and (found.residual > 0.019).all()
