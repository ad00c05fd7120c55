"""Expectations are closed forms for Gaussians, enumeration, scipy, and sets built so that the answer is known."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import gammaln
from scipy.stats import norm, wasserstein_distance

from gendi.errors import UsageError
from gendi.evaluate.metrics import energy_kernel
from gendi.evaluate.vectors import classes, controls, marginals, records, transport
from gendi.evaluate.vectors.distances import (
    discrepancy,
    energy_distance,
    gaussian_kernel,
    median_distance,
    squared_mmd,
)
from gendi.evaluate.vectors.two_sample import area, two_sample

rng = np.random.default_rng(11)

# --- energy distance and MMD -----------------------------------------------------------------------------------------


@pytest.mark.statistical
def test_energy_distance_of_two_gaussians_has_its_closed_form_as_mean() -> None:
    # In one dimension a - b is normal, and E|N(m, s^2)| = s sqrt(2 / pi) exp(-m^2 / 2 s^2) + m (1 - 2 Phi(-m / s)).
    def folded(m: float, s: float) -> float:
        return s * np.sqrt(2 / np.pi) * np.exp(-(m**2) / (2 * s**2)) + m * (1 - 2 * norm.cdf(-m / s))

    shift, scale = 0.7, 1.4
    expected = 2 * folded(shift, np.hypot(1, scale)) - folded(0, np.sqrt(2)) - folded(0, scale * np.sqrt(2))
    found = [energy_distance(rng.normal(size=(20, 1)), rng.normal(shift, scale, size=(30, 1))) for _ in range(2000)]
    # The mean of 2000 independent estimates lies within 4.5 of its own standard errors with probability 1 - 7e-6.
    assert abs(np.mean(found) - expected) < 4.5 * np.std(found) / np.sqrt(len(found))


@pytest.mark.statistical
def test_mmd_of_two_gaussians_has_its_closed_form_as_mean() -> None:
    # E exp(-|d|^2 / 2 s^2) for d ~ N(m, v I) in k dimensions is (s^2 / (s^2 + v))^(k/2) exp(-|m|^2 / 2 (s^2 + v)).
    d, sigma, shift, variance = 3, 1.3, 0.6, 2.0

    def kernel(m: float, v: float) -> float:
        return (sigma**2 / (sigma**2 + v)) ** (d / 2) * np.exp(-(m**2) * d / (2 * (sigma**2 + v)))

    expected = kernel(0, 2) + kernel(0, 2 * variance) - 2 * kernel(shift, 1 + variance)
    found = [
        squared_mmd(rng.normal(size=(20, d)), rng.normal(shift, np.sqrt(variance), (25, d)), sigma) for _ in range(2000)
    ]
    assert abs(np.mean(found) - expected) < 4.5 * np.std(found) / np.sqrt(len(found))


def test_discrepancy_is_its_definition_for_any_weights() -> None:
    x, y = rng.normal(size=(5, 2)), rng.normal(size=(4, 2))
    wx, wy = rng.integers(0, 3, (6, 5)).astype(float) + 0.0, rng.integers(1, 3, (6, 4)).astype(float)
    wx[:, :2] = 1  # no replicate is empty

    def k(a: np.ndarray, b: np.ndarray) -> float:
        return -float(np.linalg.norm(a - b))

    for b in range(6):
        parts = []
        for z, w in ((x, wx[b]), (y, wy[b])):
            pairs = [(w[i] * w[j], k(z[i], z[j])) for i in range(len(z)) for j in range(len(z)) if i != j]
            parts.append(sum(v * q for v, q in pairs) / sum(v for v, _ in pairs))
        cross = [(wx[b, i] * wy[b, j], k(x[i], y[j])) for i in range(5) for j in range(4)]
        parts.append(-2 * sum(v * q for v, q in cross) / sum(v for v, _ in cross))
        assert discrepancy(x, y, energy_kernel, wx, wy)[b] == pytest.approx(sum(parts), rel=1e-10, abs=1e-12)


def test_distances_do_not_depend_on_the_size_of_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = rng.normal(size=(70, 3)), rng.normal(size=(50, 3))
    whole = energy_distance(x, y), squared_mmd(x, y, 1.0)
    monkeypatch.setattr("gendi.evaluate.metrics._BLOCK_ELEMENTS", 64)
    assert (energy_distance(x, y), squared_mmd(x, y, 1.0)) == pytest.approx(whole, rel=1e-10)


def test_the_kernels_width_is_the_median_of_all_distances() -> None:
    x = rng.normal(size=(31, 2))
    every = [np.linalg.norm(x[i] - x[j]) for i in range(31) for j in range(i)]
    assert median_distance(x) == pytest.approx(np.median(every), rel=1e-10)
    with pytest.raises(UsageError, match="above 0"):
        gaussian_kernel(0.0)


# --- Wasserstein -----------------------------------------------------------------------------------------------------


def test_exact_wasserstein_agrees_with_scipy_on_a_line() -> None:
    x, y = rng.normal(size=(60, 1)), rng.exponential(size=(60, 1))
    expected = wasserstein_distance(x[:, 0], y[:, 0])
    assert transport.wasserstein(x, y) == pytest.approx(expected, rel=1e-10)
    assert transport.sliced_wasserstein(x, y, np.ones((1, 1))) == pytest.approx(expected, rel=1e-10)


def test_a_moved_set_is_as_far_as_it_was_moved() -> None:
    x, step = rng.normal(size=(40, 3)), np.array([0.3, -0.4, 1.2])
    assert transport.wasserstein(x, rng.permutation(x + step)) == pytest.approx(1.3, rel=1e-10)


def test_sliced_wasserstein_of_a_moved_set_is_the_mean_projection_of_the_move() -> None:
    # E|theta . m| = |m| Gamma(d / 2) / (sqrt(pi) Gamma((d + 1) / 2)) for theta uniform on the sphere.
    d, k = 5, 20000
    x, step = rng.normal(size=(30, d)), np.array([2.0, 0, 0, 0, 0])
    expected = 2 * np.exp(gammaln(d / 2) - gammaln((d + 1) / 2)) / np.sqrt(np.pi)
    # |theta . m| <= 2, with variance 4 / d - expected^2 = 0.24: 4.5 standard errors of 20,000 directions are 0.016.
    assert transport.sliced_wasserstein(x, x + step, transport.directions(d, 3, k)) == pytest.approx(
        expected, abs=0.016
    )


def test_sets_of_unequal_size_cannot_be_paired() -> None:
    with pytest.raises(UsageError, match="equally many"):
        transport.wasserstein(np.zeros((3, 2)), np.zeros((4, 2)))


# --- two-sample classifiers ------------------------------------------------------------------------------------------


@pytest.mark.statistical
@pytest.mark.parametrize("judge", ["forest", "logistic"])
def test_auc_of_shifted_gaussians_comes_near_the_best_there_is(judge: str) -> None:
    # The best judge of N(0, 1) against N(m, 1) has AUC Phi(m / sqrt 2). The standard error of an AUC of 2 x 400 rows
    # is below sqrt((n + n + 1) / 12 n^2) = 0.020; a forest on one noisy column loses up to 0.04 more to its variance.
    x, y = rng.normal(size=(400, 2)), rng.normal(size=(400, 2)) + np.array([1.5, 0])
    best, found = norm.cdf(1.5 / np.sqrt(2)), two_sample(x, y, judge).auc  # type: ignore[arg-type]
    assert best - 0.13 < found < best + 0.09


@pytest.mark.statistical
@pytest.mark.parametrize("judge", ["forest", "logistic"])
def test_auc_of_equal_distributions_is_one_half(judge: str) -> None:
    # 4.5 standard errors of 0.0289 / sqrt(2) for 2 x 300 rows: sqrt(601 / (12 * 90,000)) = 0.0236.
    found = two_sample(rng.normal(size=(300, 4)), rng.normal(size=(300, 4)), judge)  # type: ignore[arg-type]
    assert abs(found.auc - 0.5) < 4.5 * 0.0236
    spread = float(found.replicates(200, np.random.default_rng(0)).std())
    assert 0.6 * 0.0236 < spread < 1.6 * 0.0236


def test_repeats_do_not_teach_the_forest_anything() -> None:
    # Every fake is one of 40 rows, 10 times each. Without care a forest knows them again: AUC 1. They are from the
    # same distribution, and 2 x 40 rows have a standard error of sqrt(81 / (12 * 1600)) = 0.065.
    x, y = np.repeat(rng.normal(size=(40, 3)), 10, axis=0), rng.normal(size=(400, 3))
    assert two_sample(x, y, "forest").auc < 0.5 + 4.5 * 0.065


def test_rows_equal_across_the_sets_share_a_fold() -> None:
    x = rng.normal(size=(60, 3))
    verdict = two_sample(x, x[::-1].copy(), "forest")
    rows = np.unique(x, axis=0)
    assert len(verdict.fold) == 2 * len(rows)
    # Copies of the other set cannot be told from it: each pair has one score, so every fold's AUC is one half.
    assert verdict.auc == pytest.approx(0.5, abs=0.02)


def test_too_few_different_rows_cannot_be_judged() -> None:
    with pytest.raises(UsageError, match="at least 20 different rows"):
        two_sample(np.repeat(rng.normal(size=(4, 3)), 20, axis=0), rng.normal(size=(80, 3)), "logistic")


def test_area_counts_pairs() -> None:
    score, positive = rng.integers(0, 5, 30).astype(float), rng.random(30) < 0.4
    pairs = [(a > b) + 0.5 * (a == b) for a in score[positive] for b in score[~positive]]
    assert area(score, positive) == pytest.approx(np.mean(pairs))


# --- columns ---------------------------------------------------------------------------------------------------------


def test_profiles_of_known_columns() -> None:
    x = rng.normal(size=(50, 6))
    assert marginals.pearson(marginals.means(x), marginals.means(3 * x + 1)) == pytest.approx(1, abs=1e-12)
    assert marginals.pearson(marginals.means(x), marginals.means(-x)) == pytest.approx(-1, abs=1e-12)
    assert marginals.mean_error(marginals.means(x), marginals.means(x + 0.25)) == pytest.approx(0.25, abs=1e-12)
    assert marginals.variances(2 * x) == pytest.approx(4 * x.var(axis=0, ddof=1), rel=1e-10)
    assert marginals.pearson(np.ones(6), marginals.means(x)) is None


def test_correlations_agree_with_numpy_and_constant_columns_have_none() -> None:
    x = rng.normal(size=(80, 5))
    x[:, 1] += x[:, 0]
    assert marginals.correlations(x) == pytest.approx(np.corrcoef(x.T), abs=1e-10)
    x[:, 4] = 3
    found = marginals.correlations(x)
    assert np.all(found[4] == 0) and np.all(np.isfinite(found))
    assert marginals.correlation_error(x[:, :1], x[:, :1]) is None


@pytest.mark.statistical
def test_correlation_error_of_two_real_halves_is_that_of_independent_normals() -> None:
    # The difference of two sample correlations of independent columns is about N(0, 2 / n): mean |.| = 2 / sqrt(pi n).
    # 190 pairs average it with a relative error of about 0.76 / sqrt(190) = 0.055, pairs being uncorrelated.
    n = 400
    found = marginals.correlation_error(rng.normal(size=(n, 20)), rng.normal(size=(n, 20)))
    assert found == pytest.approx(2 / np.sqrt(np.pi * n), rel=4.5 * 0.055)


def test_shuffling_a_column_costs_its_correlation() -> None:
    x = np.repeat(rng.normal(size=(500, 1)), 2, axis=1)
    y = x.copy()
    y[:, 1] = rng.permutation(y[:, 1])
    left = abs(np.corrcoef(y.T)[0, 1])
    assert marginals.correlation_error(x, y) == pytest.approx(1 - left * np.sign(np.corrcoef(y.T)[0, 1]), abs=1e-10)


def test_depth_of_doubled_cells_is_as_far_as_can_be() -> None:
    x = rng.integers(1, 5, (30, 200))
    assert marginals.depth_distance(x, 4 * x) == 1.0
    assert marginals.depth_distance(x, x[::-1].copy()) == 0.0


def test_depth_of_few_cells_with_ties_is_a_number_and_no_warning() -> None:
    """SciPy has no exact p-value for these, and says so; the distance at 1 is 2/5 - 1/5. Warnings end this test."""
    x, y = np.array([[3, 1, 0, 3, 3]]).T, np.array([[0, 3, 2, 3, 3]]).T
    assert marginals.depth_distance(x, y) == pytest.approx(0.2)
    assert marginals.zeros(np.array([[0, 1], [0, 0]])) == pytest.approx([1.0, 0.5])


# --- classes ---------------------------------------------------------------------------------------------------------


def two_classes(n: int, gap: float, effect: float) -> tuple[np.ndarray, np.ndarray]:
    labels = np.arange(n) % 2
    x = rng.normal(size=(n, 8))
    x[:, :4] += gap * effect * labels[:, None]
    return x, labels.astype(np.int64)


def test_fold_changes_scaled_by_half_have_slope_one_half_without_noise() -> None:
    labels = np.repeat(np.arange(3), 4).astype(np.int64)
    real = np.repeat(rng.normal(size=(3, 10)), 4, axis=0)
    found = classes.compare_fold_changes(real.mean(axis=0) + 0.5 * (real - real.mean(axis=0)), labels, real, labels)
    assert found is not None
    assert found.slope == pytest.approx(0.5, rel=1e-10) and found.r == pytest.approx(1, rel=1e-10)


@pytest.mark.statistical
def test_the_slope_of_noisy_real_halves_is_not_pulled_below_one() -> None:
    # Effects of variance 1 / 4 under noise of variance 2 * 4 / n = 0.2 on both axes: ordinary least squares would give
    # 0.25 / 0.45 = 0.56. The orthogonal slope has median 1; its spread over 200 points is about
    # sqrt(2 * 0.2 * (2 * 0.25 + 0.2) / 2 / 200) / 0.25 = 0.11, and 100 repeats average it to 0.011.
    slopes = []
    for _ in range(100):
        effects = rng.normal(size=200) / 2
        halves = []
        for _ in range(2):
            labels = (np.arange(20) % 2).astype(np.int64)
            halves.append((rng.normal(size=(20, 200)) + labels[:, None] * effects, labels))
        found = classes.compare_fold_changes(*halves[0], *halves[1])
        assert found is not None
        slopes.append(found.slope)
    assert np.median(slopes) == pytest.approx(1, abs=4.5 * 0.011 * 1.25)


def test_a_single_class_or_none_shared_has_no_fold_changes() -> None:
    x, labels = two_classes(20, 1, 1)
    assert classes.compare_fold_changes(x, np.zeros(20, np.int64), x, labels) is None
    assert classes.recognised(x, np.zeros(20, np.int64), x, labels) is None


def test_a_classifier_trained_on_samples_knows_well_separated_classes() -> None:
    x, labels = two_classes(200, 3, 1)
    y, truth = two_classes(200, 3, 1)
    right = classes.recognised(x, labels, y, truth)
    wrong = classes.recognised(x, 1 - labels, y, truth)
    # The best rule errs with probability Phi(-3 * sqrt(4) / 2) = 0.0013.
    assert right is not None and right.mean() > 0.97
    assert wrong is not None and wrong.mean() < 0.03


# --- records ---------------------------------------------------------------------------------------------------------


def test_copies_are_found_whatever_their_dtype() -> None:
    train = rng.integers(0, 9, (50, 12))
    mixed = np.concatenate([train[:3].astype(np.float64), rng.integers(0, 9, (4, 12)) + 10.0])
    assert records.copies(records.row_digests(mixed), records.row_digests(train)).tolist() == [True] * 3 + [False] * 4


def test_closest_records() -> None:
    train, heldout = rng.normal(size=(40, 3)), rng.normal(size=(40, 3))
    assert records.closer(train, train, heldout).mean() == 1
    assert records.closer(heldout + 1e-3, train, heldout).mean() == 0
    assert records.closer(train, train, train[::-1].copy()).mean() == 0.5
    x = rng.normal(size=(7, 3))
    a, b = (np.linalg.norm(x[:, None] - z[None], axis=2).min(axis=1) for z in (train, heldout))
    assert records.closer(x, train, heldout) == pytest.approx((a < b).astype(float))
    with pytest.raises(UsageError, match="equally many"):
        records.closer(x, train, heldout[:5])


# --- controls --------------------------------------------------------------------------------------------------------


def test_controls_are_what_they_say() -> None:
    labels = (np.arange(60) % 3).astype(np.int64)
    rows = rng.poisson(2.0 + 3 * labels[:, None], (60, 5))
    chosen = np.arange(60)
    means = controls.class_means(rows, labels, chosen)
    assert means.dtype == rows.dtype
    assert np.array_equal(means[labels == 1], np.tile(np.rint(rows[labels == 1].mean(axis=0)), (20, 1)))
    mixed = controls.shuffled_within_class(rows, labels, chosen, np.random.default_rng(0))
    for c in range(3):
        assert np.array_equal(np.sort(mixed[labels == c], axis=0), np.sort(rows[labels == c], axis=0))
    assert not np.array_equal(mixed, rows)
    kept = controls.shuffled_within_class(rows, labels, chosen, np.random.default_rng(0), [slice(0, 5)])
    assert {tuple(row) for row in kept} == {tuple(row) for row in rows}
    assert np.array_equal(controls.copy_rows(rows, chosen[:7]), rows[:7])


@pytest.mark.statistical
def test_the_mixture_has_the_means_of_the_classes() -> None:
    labels = (np.arange(400) % 2).astype(np.int64)
    rows = rng.normal(size=(400, 6)) + 4 * labels[:, None]
    out = controls.principal_mixture(rows, labels, np.arange(400), 0, lambda r: r, lambda x, _: x)
    for c in range(2):
        # Both means are of 200 rows of unit variance: 4.5 standard errors of their difference are 0.45.
        assert np.abs(out[labels == c].mean(axis=0) - rows[labels == c].mean(axis=0)).max() < 0.45


def test_the_energy_of_uniforms_integrates_the_difference_of_their_cdfs() -> None:
    # On a line the energy distance is 2 times the integral of (F - G)^2 [Székely and Rizzo 2013, eq. 2.5]; here with
    # F and G of the points themselves, so the biased form of the same pairs is exact.
    x, y = rng.random((8, 1)), rng.random((6, 1)) * 1.5
    wx, wy = np.ones((1, 8)), np.ones((1, 6))
    inside = sum(np.abs(z - z.T).sum() / len(z) ** 2 / (len(z) - 1) for z in (x, y))
    biased = discrepancy(x, y, energy_kernel, wx, wy)[0] + inside

    def gap(t: float) -> float:
        return float(((x < t).mean() - (y < t).mean()) ** 2)

    knots = np.sort(np.concatenate([x, y])[:, 0])
    assert biased == pytest.approx(2 * quad(gap, -1, 3, points=knots.tolist(), limit=200)[0], rel=1e-6)
