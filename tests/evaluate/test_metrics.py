"""Expectations come from closed forms (Gaussians), enumeration (unbiasedness) and loops over the definitions."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import sqrtm

from gendi.errors import UsageError
from gendi.evaluate import metrics
from gendi.evaluate.metrics import (
    FeatureStatistics,
    density_coverage,
    frechet_distance,
    frechet_from_features,
    kernel_distance,
    kth_neighbour,
    precision_recall,
)

rng = np.random.default_rng(7)


def orthogonal(d: int) -> np.ndarray:
    return np.linalg.qr(rng.standard_normal((d, d)))[0]


def covariance(d: int) -> np.ndarray:
    root = rng.standard_normal((d, d + 3))
    return root @ root.T


# --- Fréchet ---------------------------------------------------------------------------------------------------------


def test_frechet_of_diagonal_gaussians_is_a_sum_over_axes() -> None:
    m1, m2, s1, s2 = rng.uniform(0.1, 3, (4, 6))
    expected = np.sum((m1 - m2) ** 2) + np.sum((s1 - s2) ** 2)
    assert frechet_distance(m1, np.diag(s1**2), m2, np.diag(s2**2)) == pytest.approx(expected, rel=1e-12)


def test_frechet_of_commuting_covariances_differs_by_their_roots() -> None:
    q, (s1, s2) = orthogonal(8), rng.uniform(0.1, 3, (2, 8))
    c1, c2 = q @ np.diag(s1**2) @ q.T, q @ np.diag(s2**2) @ q.T
    expected = np.linalg.norm(q @ np.diag(s1 - s2) @ q.T) ** 2
    assert frechet_distance(np.zeros(8), c1, np.zeros(8), c2) == pytest.approx(expected, rel=1e-10)


def test_frechet_of_general_gaussians_agrees_with_the_matrix_root() -> None:
    m1, m2, c1, c2 = rng.standard_normal(10), rng.standard_normal(10), covariance(10), covariance(10)
    expected = np.sum((m1 - m2) ** 2) + np.trace(c1 + c2 - 2 * sqrtm(c1 @ c2).real)
    assert frechet_distance(m1, c1, m2, c2) == pytest.approx(expected, rel=1e-10)
    assert frechet_distance(m2, c2, m1, c1) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize(("n", "d"), [(50, 6), (12, 40)])
def test_frechet_of_identical_and_shifted_sets(n: int, d: int) -> None:
    x = rng.standard_normal((n, d))
    shift = rng.standard_normal(d)
    scale = np.sum(x**2) / n  # both traces; the distance is a difference of such numbers
    assert frechet_from_features(x, x) == pytest.approx(0, abs=1e-12 * scale)
    assert frechet_from_features(x, x + shift) == pytest.approx(shift @ shift, rel=1e-10)


@pytest.mark.parametrize(("n", "m", "d"), [(60, 80, 5), (20, 30, 70), (20, 300, 70)])
def test_frechet_from_features_is_the_distance_of_their_statistics(n: int, m: int, d: int) -> None:
    """Fewer rows than dimensions included: there the covariances have no full rank."""
    x, y = rng.standard_normal((n, d)), 2 * rng.standard_normal((m, d)) + 0.3
    a, b = FeatureStatistics.from_features(x), FeatureStatistics.from_features(y)
    by_statistics = frechet_distance(a.mean, a.covariance, b.mean, b.covariance)
    assert frechet_from_features(x, y) == pytest.approx(by_statistics, rel=1e-9)


def test_frechet_of_rank_one_covariances() -> None:
    """N(0, uu') and N(0, vv'): the cross term is 2|u.v|."""
    u, v = rng.standard_normal((2, 30))
    expected = u @ u + v @ v - 2 * abs(u @ v)
    assert frechet_distance(np.zeros(30), np.outer(u, u), np.zeros(30), np.outer(v, v)) == pytest.approx(expected)


def test_frechet_to_a_point_is_the_trace() -> None:
    c = covariance(4)
    assert frechet_distance(np.zeros(4), c, np.ones(4), np.zeros((4, 4))) == pytest.approx(4 + np.trace(c))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 8), st.integers(3, 12))
def test_frechet_does_not_see_a_rotation(seed: int, d: int, n: int) -> None:
    own = np.random.default_rng(seed)
    x, y, q = own.standard_normal((n, d)), own.standard_normal((n + 2, d)), np.linalg.qr(own.standard_normal((d, d)))[0]
    assert frechet_from_features(x @ q, y @ q) == pytest.approx(frechet_from_features(x, y), rel=1e-9, abs=1e-9)


def test_statistics_are_the_unbiased_ones_and_merge_exactly() -> None:
    x = rng.standard_normal((31, 4)) + 1e3  # an offset that a sum of squares would not survive
    whole = FeatureStatistics.from_features(x)
    np.testing.assert_allclose(whole.covariance, np.cov(x.T), rtol=1e-9)
    parts = [FeatureStatistics.from_features(x[a:b]) for a, b in ((0, 5), (5, 22), (22, 31))]
    merged = parts[2].merge(parts[0]).merge(parts[1])
    assert merged.n == 31
    np.testing.assert_allclose(merged.mean, whole.mean, rtol=1e-13)
    np.testing.assert_allclose(merged.covariance, whole.covariance, rtol=1e-9, atol=1e-12)


# --- kernel distance -------------------------------------------------------------------------------------------------


def kernel(a: np.ndarray, b: np.ndarray) -> float:
    return float((a @ b / len(a) + 1) ** 3)


def brute_mmd(x: np.ndarray, y: np.ndarray) -> float:
    n, m = len(x), len(y)
    xx = sum(kernel(x[i], x[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    yy = sum(kernel(y[i], y[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    return xx + yy - 2 * sum(kernel(a, b) for a in x for b in y) / (n * m)


def test_kernel_distance_is_the_sum_over_pairs() -> None:
    x, y = rng.standard_normal((7, 3)), rng.standard_normal((9, 3)) + 0.5
    assert kernel_distance(x, y).value == pytest.approx(brute_mmd(x, y), rel=1e-12)


def test_kernel_distance_is_unbiased() -> None:
    """Every possible draw from two three-point distributions, two points each: the mean is the distance of the two."""
    p, q = rng.standard_normal((2, 3, 2))
    draws = itertools.product(range(3), repeat=4)
    mean = np.mean([kernel_distance(p[[i, j]], q[[k, m]]).value for i, j, k, m in draws])

    def expectation(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.mean([kernel(u, v) for u in a for v in b]))

    assert mean == pytest.approx(expectation(p, p) + expectation(q, q) - 2 * expectation(p, q), rel=1e-10)


def test_kernel_distance_error_is_the_jackknife() -> None:
    x, y = rng.standard_normal((6, 3)), rng.standard_normal((8, 3))
    without_x = [brute_mmd(np.delete(x, i, 0), y) for i in range(6)]
    without_y = [brute_mmd(x, np.delete(y, i, 0)) for i in range(8)]
    expected = np.sqrt(5 * np.var(without_x) + 7 * np.var(without_y))
    assert kernel_distance(x, y).standard_error == pytest.approx(expected, rel=1e-9)


@pytest.mark.statistical
def test_kernel_distance_error_matches_the_spread_of_repeated_draws() -> None:
    """The spread of 60 draws has a relative error of 1/sqrt(118) = 9%; the tolerance is nearly four of these."""
    own = np.random.default_rng(3)
    found = [kernel_distance(own.standard_normal((60, 4)), own.standard_normal((60, 4)) + 1) for _ in range(60)]
    spread = np.std([f.value for f in found], ddof=1)
    assert np.mean([f.standard_error for f in found]) == pytest.approx(spread, rel=0.35)


# --- precision, recall, density, coverage ----------------------------------------------------------------------------


def brute_radius(x: np.ndarray, k: int) -> np.ndarray:
    return np.array([sorted(np.linalg.norm(np.delete(x, i, 0) - x[i], axis=1))[k - 1] for i in range(len(x))])


def brute_inside(centres: np.ndarray, points: np.ndarray, k: int) -> np.ndarray:
    """Return whether ball i holds point j: the closed balls of Kynkäänniemi et al. 2019, eq. 1."""
    radius = brute_radius(centres, k)
    return np.array([[np.linalg.norm(p - c) <= r for p in points] for c, r in zip(centres, radius, strict=True)])


def squared_in_integers(x: list[list[int]], y: list[list[int]]) -> list[list[int]]:
    return [[sum((a - b) ** 2 for a, b in zip(p, q, strict=True)) for q in y] for p in x]


@pytest.mark.parametrize("offset", [0.0, 0.3, 1000.7])
@pytest.mark.parametrize("d", [2, 60])
def test_ties_of_integer_features_follow_the_definitions(offset: float, d: int) -> None:
    """The definitions in Python's whole numbers, which are exact: closed balls for precision and recall, open ones for
    density and coverage. An offset that no binary fraction holds must not break a tie.
    """
    own = np.random.default_rng(d)
    real, fake = (own.poisson(3.0, (40, d)) for _ in range(2))
    fake[:5] = real[:5]
    between = np.array(squared_in_integers(real.tolist(), fake.tolist()))

    def radius(x: np.ndarray, k: int) -> np.ndarray:
        own_distances = squared_in_integers(x.tolist(), x.tolist())
        return np.array([sorted(row[:i] + row[i + 1 :])[k - 1] for i, row in enumerate(own_distances)])

    closed_real, closed_fake = between <= radius(real, 3)[:, None], between <= radius(fake, 3)[None, :]
    inside = between < radius(real, 5)[:, None]
    assert (between == radius(real, 5)[:, None]).any()  # there are ties
    found = precision_recall(real + offset, fake + offset)
    assert found == (closed_real.any(axis=0).mean(), closed_fake.any(axis=1).mean())
    density, coverage = density_coverage(real + offset, fake + offset)
    assert density == pytest.approx(inside.sum() / (5 * 40))
    assert coverage == inside.any(axis=1).mean()


@pytest.mark.parametrize("block", [1, 40, 1 << 23])
def test_neighbourhood_metrics_are_their_definitions(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "_BLOCK_ELEMENTS", block)
    real, fake = rng.standard_normal((23, 3)), rng.standard_normal((17, 3)) * 1.3 + 0.4
    in_real, in_fake = brute_inside(real, fake, 3), brute_inside(fake, real, 3)
    assert precision_recall(real, fake) == (in_real.any(axis=0).mean(), in_fake.any(axis=0).mean())
    inside = brute_inside(real, fake, 5)
    density, coverage = density_coverage(real, fake)
    assert density == pytest.approx(inside.sum() / (5 * 17))
    assert coverage == inside.any(axis=1).mean()
    np.testing.assert_allclose(np.sqrt(kth_neighbour(real, 2)), brute_radius(real, 2), rtol=1e-12)
    assert kernel_distance(real, fake).value == pytest.approx(brute_mmd(real, fake), rel=1e-10)


def test_the_real_set_itself_has_full_precision_recall_and_coverage() -> None:
    x = rng.standard_normal((30, 2))
    assert precision_recall(x, x) == (1, 1)
    assert density_coverage(x, x)[1] == 1


def test_disjoint_sets_have_none() -> None:
    x = rng.standard_normal((30, 2))
    assert precision_recall(x, x + 100) == (0, 0)
    assert density_coverage(x, x + 100) == (0, 0)


def test_a_collapsed_set_keeps_its_precision_and_loses_its_recall() -> None:
    real = rng.standard_normal((200, 2))
    collapsed = real[:1] + 1e-3 * rng.standard_normal((200, 2))
    precision, recall = precision_recall(real, collapsed)
    assert precision > 0.9
    assert recall < 0.05
    assert density_coverage(real, collapsed)[1] < 0.1


def test_distances_survive_a_large_offset() -> None:
    """Subtracting squares of 1e6 would leave nothing of distances of 1e-2; the centring does."""
    x = 1e-2 * rng.standard_normal((40, 3))
    assert precision_recall(x + 1e6, x[:20] + 1e6) == pytest.approx(precision_recall(x, x[:20]), abs=0.06)


# --- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("measure", [frechet_from_features, kernel_distance, precision_recall, density_coverage])
def test_impossible_sets_are_refused(measure: metrics.Features) -> None:
    x = rng.standard_normal((10, 3))
    with pytest.raises(UsageError, match="3 and 2 dimensions"):
        measure(x, x[:, :2])
    with pytest.raises(UsageError, match="at least 2"):
        measure(x, x[:1])
    broken = x.copy()
    broken[3, 1] = np.nan
    with pytest.raises(UsageError, match="NaN"):
        measure(x, broken)


def test_too_few_neighbours_are_refused() -> None:
    x = rng.standard_normal((3, 2))
    with pytest.raises(UsageError, match="at least 4"):
        precision_recall(x, x)
    with pytest.raises(UsageError, match="at least 6"):
        density_coverage(x, x)
