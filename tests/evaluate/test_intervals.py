"""Intervals of metrics cover what they promise in Gaussian worlds, where the truth comes from thousands of fresh sets.

The nominal share is 95%. Over r independent sets the share covered has a standard deviation of sqrt(.05 * .95 / r), and
a test fails below 95% minus three of these, and three points less, which small sets and few splits may cost.
"""

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from gendi.evaluate import intervals
from gendi.evaluate.classes import class_estimates
from gendi.evaluate.feature_intervals import (
    crowding,
    design_effects,
    frechet_distances,
    frechet_error,
    kernel_error,
)
from gendi.evaluate.infinity import frechet_at_infinity, rows_needed
from gendi.evaluate.metrics import density_coverage, frechet_from_features, kernel_distance, precision_recall
from gendi.evaluate.result import Estimate

SETS = 100


def least(sets: int) -> float:
    return 0.95 - 3 * float(np.sqrt(0.05 * 0.95 / sets)) - 0.03


def world(shift: float, d: int = 8, n: int = 120, seed: int = 3) -> tuple[np.ndarray, Callable[[], np.ndarray]]:
    """Return a fixed reference (n, d) of a Gaussian, and how to draw sets of one whose mean lies `shift` away."""
    rng, scale = np.random.default_rng(seed), 1 / np.sqrt(np.arange(1, d + 1))
    return rng.standard_normal((n, d)) * scale, lambda: (rng.standard_normal((n, d)) + shift) * scale


def covered(measure: Callable[[np.ndarray], Estimate], draw: Callable[[], np.ndarray], truth: float) -> float:
    found = [measure(draw()).interval for _ in range(SETS)]
    return float(np.mean([i is not None and i[0] <= truth <= i[1] for i in found]))


@pytest.mark.statistical
@pytest.mark.parametrize("shift", [0.0, 0.4])
def test_the_frechet_distance_of_gaussian_samples_is_covered(shift: float) -> None:
    reference, draw = world(shift)
    values = [frechet_from_features(reference, draw()) for _ in range(1000)]

    def measure(x: np.ndarray) -> Estimate:
        return intervals.measured_distance(frechet_from_features(reference, x), frechet_error(x, reference))

    assert covered(measure, draw, float(np.mean(values))) >= least(SETS)
    errors = [measure(draw()).error for _ in range(SETS)]
    # the mean squared error is the variance: over 100 sets with 30% of scatter each, to 6%, and 5% for the 1000 values
    assert np.sqrt(np.mean(np.square(np.array(errors, float)))) == pytest.approx(np.std(values), rel=0.2)


@pytest.mark.statistical
def test_a_bootstrap_with_replacement_would_be_biased_upwards() -> None:
    """Why rows are drawn without replacement: repeated rows add to the distance as fewer rows do."""
    reference, draw = world(0.0)
    x, rng = draw(), np.random.default_rng(0)
    again = [frechet_from_features(reference, x[rng.integers(0, len(x), len(x))]) for _ in range(100)]
    assert np.mean(again) > 1.3 * frechet_from_features(reference, x)


@pytest.mark.statistical
@pytest.mark.parametrize("shift", [0.0, 0.4])
def test_the_kernel_distance_of_gaussian_samples_is_covered(shift: float) -> None:
    reference, draw = world(shift)
    truth = float(np.mean([kernel_distance(reference, draw()).value for _ in range(500)]))

    def measure(x: np.ndarray) -> Estimate:
        return intervals.measured(kernel_distance(reference, x).value, kernel_error(x, reference))

    assert covered(measure, draw, truth) >= least(SETS)


@pytest.mark.statistical
@pytest.mark.parametrize("shift", [0.0, 0.4])
def test_metrics_of_neighbours_are_covered(shift: float) -> None:
    """Recall and coverage count the chance in the reference too, so the reference is drawn anew for the truth."""
    reference, draw = world(shift)
    fresh = world(0.0, seed=4)[1]
    many = [(*precision_recall(reference, x := draw()), density_coverage(reference, x)[0]) for _ in range(300)]
    precision, _, density = np.mean(many, axis=0)
    pairs = [(precision_recall(r := fresh(), x := draw())[1], density_coverage(r, x)[1]) for _ in range(300)]
    recall, coverage = np.mean(pairs, axis=0)
    hits = []
    for _ in range(SETS):
        r, x = fresh(), draw()
        effects = design_effects(r, x, 3, 5)
        crowd = crowding(reference, x, 5)
        for truth, found in (
            (precision, intervals.of_share(precision_recall(reference, x)[0], len(x))),
            (density, intervals.of_mean(crowd)),
            (recall, intervals.of_dependent_share(precision_recall(r, x)[1], effects.recall, len(r))),
            (coverage, intervals.of_dependent_share(density_coverage(r, x)[1], effects.coverage, len(r))),
        ):
            assert found.interval is not None
            hits.append(found.interval[0] <= truth <= found.interval[1])
    assert (np.reshape(hits, (SETS, 4)).mean(axis=0) >= least(SETS)).all()


@pytest.mark.statistical
def test_metrics_of_classes_are_covered() -> None:
    """400 images of four classes, one of them twice as frequent as expected; and of four as expected."""
    rng, expected = np.random.default_rng(0), np.full(4, 0.25)

    def draw(p: np.ndarray) -> np.ndarray:
        sure = rng.beta(8, 2, 400)[:, None]
        return np.asarray(np.where(np.eye(4)[rng.choice(4, 400, p=p)] == 1, 0.5 + sure / 2, (0.5 - sure / 2) / 3))

    for p in (expected, np.array([0.4, 0.2, 0.2, 0.2])):
        many = [{k: e.value or 0.0 for k, e in class_estimates(draw(p), expected).items()} for _ in range(400)]
        for name in ("confidence", "entropy", "chi-square"):
            truth = float(np.mean([each[name] for each in many]))
            assert covered(lambda x, k=name: class_estimates(x, expected)[k], lambda q=p: draw(q), truth) >= least(SETS)


@pytest.mark.statistical
def test_shares_and_medians_are_covered() -> None:
    rng = np.random.default_rng(0)
    for p in (0.01, 0.5, 0.97):
        found = [intervals.of_share(k / 300, 300).interval or (0, 0) for k in rng.binomial(300, p, 1000)]
        assert np.mean([low <= p <= high for low, high in found]) >= least(1000)
    medians = [intervals.of_median(rng.exponential(size=51)).interval or (0, 0) for _ in range(1000)]
    assert np.mean([low <= np.log(2) <= high for low, high in medians]) >= least(1000)


def test_wilsons_interval_and_the_medians_ranks_are_the_textbooks() -> None:
    """Newcombe 1998, table I, method 3: 15 of 148 give 0.0624 to 0.1605, 0 of 20 give 0 to 0.1611. For 25 values the
    95% interval of the median runs from the 8th to the 18th (Conover 1999)."""
    assert intervals.of_share(15 / 148, 148).interval == pytest.approx((0.0624, 0.1605), abs=1e-4)
    assert intervals.of_share(0.0, 20).interval == pytest.approx((0, 0.1611), abs=1e-4)
    assert intervals.of_median(np.arange(1.0, 26)).interval == (8, 18)
    assert intervals.of_median(np.arange(5.0)) == Estimate(2.0)


def test_paired_halves_of_a_mean_have_its_textbook_error() -> None:
    """The mean is linear: averaged over splits, (mean A - mean B)^2 / 4 is the variance of the rows over n."""
    x = np.random.default_rng(0).exponential(size=200)
    pairs = np.array([[x[a].mean(), x[b].mean()] for a, b in intervals.halves(200, 4000, 0, "test")])
    expected = float(x.std(ddof=1) / np.sqrt(200))
    assert intervals.halves_error(pairs) == pytest.approx(expected, rel=0.04)  # 4000 splits: 1.1% of error


def test_paired_halves_of_a_square_are_right_where_a_jackknife_counts_twice() -> None:
    """The square of a mean of 0 in d = 64 dimensions is quadratic and nothing else, with a variance of 2 d / n^2. The
    first formula alone has twice that. No more than half of it is subtracted, which the noise of 30 splits turns into
    15% too much: 1 to 1.4 of the truth, averaged over 100 sets to a few percent."""
    rng, n, squared = np.random.default_rng(1), 50, []
    for seed in range(100):
        x = rng.standard_normal((n, 64))
        pairs = np.array([[np.sum(x[h].mean(axis=0) ** 2) for h in s] for s in intervals.halves(n, 30, seed, "test")])
        squared.append([(intervals.halves_error(pairs, quadratic=q) or 0) ** 2 for q in (True, False)])
    right, twice = np.mean(squared, axis=0) / (2 * 64 / n**2)
    assert 1.0 <= right <= 1.4
    assert twice == pytest.approx(2, rel=0.2)


@pytest.mark.statistical
@pytest.mark.parametrize("shift", [0.0, 0.3])
def test_the_distance_at_infinity_is_that_of_the_gaussians(shift: float) -> None:
    """For equal covariances the formula is |shift|^2. The plain distance of 200 samples lies far above it."""
    _, draw = world(shift, d=6, n=200)
    scale, (_, fresh) = 1 / np.sqrt(np.arange(1, 7)), world(0.0, d=6, n=200, seed=4)
    truth = float(np.sum((shift * scale) ** 2))
    found = [(frechet_at_infinity(draw(), fresh()), frechet_from_features(draw(), fresh())) for _ in range(60)]
    values, errors = (np.array([getattr(each, name) for each, _ in found]) for name in ("value", "error"))
    mean_error = values.std() / np.sqrt(60)
    assert values.mean() == pytest.approx(truth, abs=4 * mean_error + 0.006)  # about 2 d / n of the bias is left
    assert np.mean([plain for _, plain in found]) > truth + 0.04
    assert np.mean([e.interval is not None and e.interval[0] <= truth <= e.interval[1] for e, _ in found]) >= least(60)
    # The quadratic part counts twice, so the errors are up to sqrt(2) too large; 60 values have 9% of scatter.
    assert 0.75 <= np.sqrt(np.mean(errors**2)) / values.std() <= 1.8


def test_too_few_rows_are_not_extrapolated() -> None:
    assert frechet_at_infinity(np.eye(7), np.eye(7)) == Estimate(None)
    assert rows_needed(96) == 768


def test_the_mean_of_deals_has_students_interval() -> None:
    found = intervals.of_deals([1.0, 2.0, 3.0, 4.0])
    assert found.value == 2.5
    assert found.interval == pytest.approx((2.5 - 3.1824 * 0.6455, 2.5 + 3.1824 * 0.6455), abs=1e-3)


@pytest.mark.parametrize(("n", "m", "d"), [(60, 50, 6), (20, 30, 40), (30, 60, 40)])
def test_distances_of_parts_are_the_metrics_own(n: int, m: int, d: int) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((n, d)), rng.standard_normal((m, d)) + 0.2
    parts = [np.arange(n, dtype=np.int64), np.arange(3, n - 5, dtype=np.int64)]
    expected = [frechet_from_features(x[part], y) for part in parts]
    assert frechet_distances(x, y, parts) == pytest.approx(expected, rel=1e-6)


def test_sets_that_are_too_small_have_no_errors() -> None:
    x: Iterator[np.ndarray] = (np.eye(3)[:k] for k in (3, 3, 3))
    assert frechet_error(next(x), np.eye(3)) is None
    assert kernel_error(next(x), np.eye(3)) is None
    assert design_effects(next(x), np.eye(3), 3, 5) == (None, None)
