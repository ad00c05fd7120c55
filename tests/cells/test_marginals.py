"""Negative binomials and their normal scores against scipy; marginals fitted to worlds whose parameters are known."""

import numpy as np
import pytest
from scipy import stats
from scipy.special import log_ndtr

from gendi.data.cells.marginals import LEAST, fit_marginals
from gendi.data.cells.negative_binomial import log_cdf, log_probability, log_sf, normal_scores, quantile, score_bounds


def nbinom(mu, dispersion):
    return stats.nbinom(1 / dispersion, 1 / (1 + dispersion * mu))


def world(n: int, seed: int = 0):
    """Counts over eight decades of means and five of dispersions."""
    rng = np.random.default_rng(seed)
    mu, dispersion = 10 ** rng.uniform(-4, 4, n), 10 ** rng.uniform(-4, 1, n)
    k = nbinom(mu, dispersion).rvs(random_state=rng)
    return k, mu, dispersion, rng.random(n)


def test_probabilities_are_scipys():
    k, mu, dispersion, _ = world(5000)
    law = nbinom(mu, dispersion)
    # scipy and we both lose about 1e-16 k ln k to cancellation of log-gammas
    np.testing.assert_allclose(log_probability(k, mu, dispersion), law.logpmf(k), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(log_cdf(k, mu, dispersion), law.logcdf(k), rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(log_sf(k, mu, dispersion), law.logsf(k), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize(("k", "mu", "dispersion"), [(5000, 3.0, 0.01), (40, 1e-9, 2.0), (100_000, 10.0, 0.1)])
def test_upper_tail_beyond_the_range_of_floats(k, mu, dispersion):
    """P(X > k) lies between P(k + 1) and the geometric series of its first two terms' ratio, which falls towards q."""
    first = log_probability(k + 1, mu, dispersion)
    ratio = (k + 1 + 1 / dispersion) / (k + 2) * dispersion * mu / (1 + dispersion * mu)
    found = log_sf(k, mu, dispersion)
    assert first <= found <= first - np.log1p(-ratio) + 1e-9
    assert first < -300


def test_lower_tail_beyond_the_range_of_floats():
    mu, dispersion = 50_000.0, 1e-3
    terms = log_probability(np.arange(11.0), mu, dispersion)
    assert terms[0] < -745  # exp of it is 0
    np.testing.assert_allclose(log_cdf(10, mu, dispersion), np.logaddexp.reduce(terms), rtol=1e-12)


@pytest.mark.statistical
@pytest.mark.parametrize(("mu", "dispersion"), [(0.05, 1.0), (2.0, 0.3), (300.0, 0.05), (5.0, 30.0)])
def test_transform_of_counts_is_standard_normal(mu, dispersion):
    """Kolmogorov-Smirnov: at a fixed seed, p > 1e-3 in all four cases but once in 250 seeds."""
    rng = np.random.default_rng(2)
    k = nbinom(mu, dispersion).rvs(20_000, random_state=rng)
    z = normal_scores(k, mu, np.float64(dispersion), rng.random(20_000))
    assert stats.kstest(z, "norm").pvalue > 1e-3


def test_bounds_of_scores_are_scipys():
    """Phi^-1(F(k - 1)) and Phi^-1(F(k)), each from its smaller tail, as exact as float32 and the edge of v allow."""
    k, mu, dispersion, _ = world(5000)
    law = nbinom(mu, dispersion)
    for found, at in zip(score_bounds(k, mu, dispersion), (k - 1, k), strict=True):
        assert found.dtype == np.float32
        expected = np.where(law.cdf(at) < 0.5, stats.norm.ppf(law.cdf(at)), stats.norm.isf(law.sf(at)))
        np.testing.assert_allclose(found.clip(-8, 8), expected.clip(-8, 8), rtol=1e-5, atol=1e-5)


def test_quantile_gives_every_count_back():
    k, mu, dispersion, v = world(20_000)
    assert np.array_equal(quantile(normal_scores(k, mu, dispersion, v), mu, dispersion), k)


def test_quantile_gives_absurd_counts_back():
    """Counts far out in either tail, huge counts, and counts of genes hardly ever seen."""
    k = np.array([0, 1, 7, 100_000, 0, 10, 1_000_000, 990_000])
    mu = np.array([1e-3, 1e-3, 1e-9, 1e-3, 1e5, 1e5, 1e6, 1e6])
    dispersion = np.array([1e-3, 1e-3, 1.0, 1e-3, 1e-3, 1e-3, 0.5, 1e-4])
    z = normal_scores(k, mu, dispersion, np.full(8, 0.5))
    assert np.isfinite(z).all()
    assert np.array_equal(quantile(z, mu, dispersion), k)


def test_quantile_is_scipys_and_its_zeros_are_the_formulas():
    rng = np.random.default_rng(3)
    mu, dispersion = 10 ** rng.uniform(-2, 3, 4000), 10 ** rng.uniform(-3, 1, 4000)
    z = rng.standard_normal(4000)
    found = quantile(z, mu, dispersion)
    assert np.array_equal(found, nbinom(mu, dispersion).ppf(stats.norm.cdf(z)))
    assert np.array_equal(found == 0, log_ndtr(z) <= -np.log1p(dispersion * mu) / dispersion)


def test_a_gene_that_is_never_seen():
    nothing, one = np.zeros(3), np.ones(3)
    z = normal_scores(nothing, nothing, one, np.array([0.25, 0.5, 0.75]))
    np.testing.assert_allclose(z, stats.norm.ppf([0.25, 0.5, 0.75]), atol=1e-12)
    assert not quantile(np.array([-3.0, 0.0, 9.0]), nothing, one).any()


def drawn(n: int, seed: int = 0):
    """Counts of two classes and 40 genes at depths of several hundred, with rates and dispersions."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, n)
    rates = rng.dirichlet(np.full(40, 2.0), 2)
    dispersion = rng.uniform(0.1, 1.0, 40)
    depth = rng.lognormal(6.5, 0.3, n)
    counts = nbinom(rates[labels] * depth[:, None], dispersion).rvs(random_state=rng)
    return counts, labels, rates, dispersion


@pytest.mark.statistical
def test_fit_finds_rates_and_dispersions():
    """With n = 4000 of each class a rate has a relative error of sqrt((1/mu + a) / n) < 0.02 for mu > 3 and a < 1; a
    dispersion's is about sqrt(2 / n) (1 + 1 / (a mu)) < 0.1, and its tail heavier: four of the former, three of these.
    The depth known to the fit is the sum of the counts, whose own noise adds a share 1 / 40 of a to nothing: within.
    """
    counts, labels, rates, dispersion = drawn(8000)
    found = fit_marginals([(counts[:3000], labels[:3000]), (counts[3000:], labels[3000:])], 2, 40)
    seen = rates * 700 > 3
    np.testing.assert_allclose(found.rates[:2][seen], rates[seen], rtol=0.08)
    both = np.broadcast_to(dispersion, (2, 40))[seen]
    np.testing.assert_allclose(found.dispersions[:2][seen], both, rtol=0.3, atol=0.03)


def test_chunks_make_no_difference():
    counts, labels, _, _ = drawn(300)
    whole = fit_marginals([(counts, labels)], 2, 40)
    parts = fit_marginals([(counts[i : i + 7], labels[i : i + 7]) for i in range(0, 300, 7)], 2, 40)
    np.testing.assert_allclose(parts.rates, whole.rates, rtol=1e-12)
    np.testing.assert_allclose(parts.dispersions, whole.dispersions, rtol=1e-9)


def test_a_class_unseen_or_untold_is_all_cells_together():
    counts, labels, _, _ = drawn(300)
    found = fit_marginals([(counts, labels)], 3, 40)  # nothing of class 2
    pooled = counts.sum(0) / counts.sum()
    np.testing.assert_allclose(found.rates[-1], pooled, rtol=1e-12)
    np.testing.assert_allclose(found.rates[2], pooled, rtol=1e-12)
    mu, _ = found.of(np.array([-1, 7]), np.array([10.0, 20.0]))
    np.testing.assert_allclose(mu, np.outer([10.0, 20.0], pooled), rtol=1e-12)


def test_a_class_of_one_cell_borrows_dispersions():
    """Its own squared deviations say nothing: its dispersions lie near those within the large class."""
    counts, _, _, _ = drawn(2001)
    found = fit_marginals([(counts, np.r_[np.zeros(2000, np.int64), 1])], 2, 40)
    assert np.isfinite(found.rates).all() and (found.rates > 0).all()
    busy = counts.mean(0) > 5
    share = found.dispersions[1, busy] / found.dispersions[0, busy]
    assert (share > 0.2).all() and (share < 5).all()


@pytest.mark.parametrize("n", [0, 1, 2])
def test_hardly_any_cells(n):
    counts = np.arange(6).reshape(2, 3)[:n]
    found = fit_marginals([(counts, np.zeros(n, np.int64))], 1, 3)
    assert np.isfinite(found.rates).all() and (found.dispersions >= LEAST).all()


def test_genes_of_zeros_and_huge_counts():
    counts = np.array([[0, 10**7, 3], [0, 2 * 10**7, 5], [0, 3 * 10**7, 2]])
    found = fit_marginals([(counts, None)], 0, 3)
    assert found.rates[0, 0] * 1e4 < 1e-6  # nobody will see it
    assert found.rates[0, 1] == pytest.approx(1, rel=1e-6)
