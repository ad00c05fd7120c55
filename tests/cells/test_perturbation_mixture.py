"""The mixture of normal priors against SciPy's densities and the formula of a conditional normal distribution."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from gendi.data.cells.perturbation.mixture import (
    Measured,
    fit_shares,
    learn_covariance,
    posterior,
    root_of,
    weights_of,
)

SEEN = np.array([0, 2, 3])


def measured(genes: int = 6) -> Measured:
    rng = np.random.default_rng(0)
    part = rng.normal(size=(genes, 3, 3))
    return Measured(rng.normal(size=(genes, 3)), part @ part.swapaxes(1, 2) + 0.3 * np.eye(3), SEEN)


def covariance(rank: int = 4) -> np.ndarray:
    root = np.random.default_rng(1).normal(size=(4, rank))
    return root @ root.T


@pytest.mark.parametrize("rank", [1, 2, 4])
def test_the_evidence_is_a_ratio_of_normal_densities(rank: int) -> None:
    m, c = measured(), covariance(rank)
    root = root_of(c)
    assert root.shape == (4, rank) and root @ root.T == pytest.approx(c)
    found = m.evidence(root, [0.3, 2.0])
    for i, t in enumerate((0.3, 2.0)):
        for g in range(6):
            own = t**2 * c[np.ix_(SEEN, SEEN)] + m.noise[g]
            wanted = multivariate_normal(cov=own).logpdf(m.y[g]) - multivariate_normal(cov=m.noise[g]).logpdf(m.y[g])
            assert found[i, g] == pytest.approx(wanted)


def test_the_posterior_is_that_of_a_mixture_of_conditional_normals() -> None:
    m, both = measured(), [covariance(), 0.2 * np.eye(4)]
    weights = np.random.default_rng(2).dirichlet([1, 1, 1], 6).T
    mean, error = posterior(m, 4, both, weights[1:])
    for g in range(6):
        means, variances = [np.zeros(4)], [np.zeros(4)]
        for c in both:
            gain = c[:, SEEN] @ np.linalg.inv(c[np.ix_(SEEN, SEEN)] + m.noise[g])
            means.append(gain @ m.y[g])
            variances.append(np.diag(c - gain @ c[SEEN]))
        wanted = weights[:, g] @ np.array(means)
        assert mean[g] == pytest.approx(wanted)
        assert error[g] ** 2 == pytest.approx(weights[:, g] @ (np.array(variances) + np.square(means)) - wanted**2)


def test_without_components_nothing_changes() -> None:
    mean, error = posterior(measured(), 4, [], np.zeros((0, 6)))
    assert not mean.any() and not error.any()


def test_shares_stand_where_em_moves_them_no_more() -> None:
    rng = np.random.default_rng(3)
    evidence, prior = rng.normal(size=(3, 500)) * 3, np.array([1.0, 0.5, 0.5])
    shares = fit_shares(evidence, prior)
    total = weights_of(evidence, shares).sum(1) + prior
    assert shares == pytest.approx(total / total.sum(), abs=1e-4)
    assert weights_of(evidence, shares).sum(0) == pytest.approx(1)


@pytest.mark.statistical
def test_a_covariance_is_learned_and_what_was_not_seen_keeps_its_regression() -> None:
    rng = np.random.default_rng(4)
    truth = np.array([[1.0, -0.8, 0.0], [-0.8, 1.0, 0.0], [0.0, 0.0, 1.0]])
    start = np.array([[1.0, 0.5, 0.5], [0.5, 1.0, 0.5], [0.5, 0.5, 1.0]])
    beta = rng.multivariate_normal(np.zeros(3), truth, 3000)
    noise = np.tile(0.01 * np.eye(2), (3000, 1, 1))
    m = Measured(beta[:, :2] + 0.1 * rng.normal(size=(3000, 2)), noise, np.array([0, 1]))
    found = learn_covariance(m, start, [1.0], 20)
    # a correlation of 3000 draws has an error of 0.36 / sqrt(3000) = 0.007; the start counts as 40 genes: 1.3 of 80
    assert found[0, 1] / np.sqrt(found[0, 0] * found[1, 1]) == pytest.approx(-0.8, abs=0.05)
    gain = np.linalg.solve(found[:2, :2], found[:2, 2])
    assert gain == pytest.approx(np.linalg.solve(start[:2, :2], start[:2, 2]), abs=0.1)
