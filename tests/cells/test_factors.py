"""Factors behind bounded scores: cut normals against scipy, loadings of a world whose factors are known."""

import numpy as np
import pytest
from scipy import stats

from gendi.data.cells.factors import Factors, bounded, cut_normal, fit_factors
from gendi.data.cells.negative_binomial import normal_scores, quantile


def test_cut_normal_is_scipys():
    rng = np.random.default_rng(0)
    mean, v = rng.normal(0, 2, (50, 4)), rng.random((50, 4))
    std = np.array([0.3, 0.7, 1.0, 0.9])
    lower = rng.normal(0, 2, (50, 4))
    upper = lower + rng.exponential(1.0, (50, 4))
    a, b = (lower - mean) / std, (upper - mean) / std
    near = np.minimum(np.abs(a), np.abs(b)) < 6  # beyond, scipy's inverse is rougher than ours
    expected = stats.truncnorm.ppf(v, a, b, mean, np.broadcast_to(std, mean.shape))
    np.testing.assert_allclose(cut_normal(mean, std, lower, upper, v)[near], expected[near], rtol=1e-6, atol=1e-6)


def test_cut_normal_stays_between_its_bounds_however_far_they_are():
    lower, upper = np.array([[50.0, -51.0, -60.0]]), np.array([[51.0, -50.0, 60.0]])
    found = cut_normal(np.zeros((1, 3)), np.ones(3), lower, upper, np.full((1, 3), 0.5))
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
    lower, upper = (normal_scores(k, mu, 0.3, v) for v in (0, 1))
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
    lower, upper = (normal_scores(counts, 3, 0.3, v) for v in (0, 1))
    found = fit_factors(lower, upper, k, np.random.default_rng(0), sweeps=5)
    assert found.loadings.shape == (24, k)
    assert np.isfinite(found.loadings).all() and (found.residual > 0.019).all()
