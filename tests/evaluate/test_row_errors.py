"""Standard errors of the metrics of rows are the spread over fresh sets, where the first formulas were out."""

import numpy as np
import pytest

from gendi.evaluate import intervals
from gendi.evaluate.vectors.errors import fisher_error, judge_error
from gendi.evaluate.vectors.marginals import mean_error, means, pearson
from gendi.evaluate.vectors.two_sample import FOLDS, _folds, two_sample


def ratio(values: list[float], errors: list[float]) -> float:
    return float(np.sqrt(np.mean(np.square(errors))) / np.std(values))


@pytest.mark.statistical
def test_a_correlation_of_noise_and_one_of_equal_profiles_have_the_spread_of_fresh_sets() -> None:
    """On Fisher's scale, where its spread does not depend on n; halves of r itself are out by half. The spread of 200
    values is known to 5%, and the errors of 8 splits scatter by 30%: their mean square to 4%. With 8 columns z of
    halves is as skewed as that of the whole. Four of these, 0.26, are the tolerance."""
    rng = np.random.default_rng(0)
    for profile in (np.zeros(8), np.arange(8.0)):
        values, errors = [], []
        for seed in range(200):
            x, y = (rng.standard_normal((40, 8)) + profile for _ in range(2))
            r = pearson(means(x), means(y))
            assert r is not None
            splits = zip(intervals.halves(40, 8, seed, "x"), intervals.halves(40, 8, seed, "y"), strict=True)
            pairs = [[pearson(means(x[i]), means(y[j])) for i, j in zip(a, b, strict=True)] for a, b in splits]
            values.append(float(np.arctanh(r)))
            errors.append((fisher_error(r, np.array(pairs, np.float64)) or 0) / (1 - r * r))
        assert ratio(values, errors) == pytest.approx(1, abs=0.26)


@pytest.mark.statistical
def test_a_mean_of_absolute_differences_has_no_quadratic_part() -> None:
    """With the quadratic part subtracted the error is too small by a third. 200 values: 5%; the errors: 4%."""
    rng, values, right, less = np.random.default_rng(1), [], [], []
    for seed in range(200):
        x, y = (rng.standard_normal((40, 8)) for _ in range(2))
        splits = zip(intervals.halves(40, 12, seed, "x"), intervals.halves(40, 12, seed, "y"), strict=True)
        pairs = [[mean_error(means(x[i]), means(y[j])) for i, j in zip(a, b, strict=True)] for a, b in splits]
        values.append(mean_error(means(x), means(y)))
        right.append(intervals.halves_error(np.array(pairs), quadratic=False) or 0)
        less.append(intervals.halves_error(np.array(pairs)) or 0)
    assert ratio(values, right) == pytest.approx(1, abs=0.2)
    assert ratio(values, less) < 0.85


@pytest.mark.statistical
def test_a_judges_error_counts_the_chance_in_training() -> None:
    """Out-of-fold scores drawn anew have two thirds of the spread over fresh sets. 100 values know theirs to 7%."""
    rng, values, errors = np.random.default_rng(2), [], []
    for seed in range(100):
        x, y = (rng.standard_normal((60, 6)) for _ in range(2))
        verdict = two_sample(x, y, "logistic", seed)
        values.append(verdict.auc)
        errors.append(judge_error(verdict, 50, rng))
    assert ratio(values, errors) == pytest.approx(1, abs=0.28)


def test_equal_rows_share_a_fold_and_folds_are_balanced() -> None:
    """107 rows of each set, 13 of which are in both: each fold has a fifth of each set, to within two."""
    first = np.arange(214) < 107
    group = np.concatenate([np.arange(107), np.arange(94, 201)])  # rows 94 to 106 of one set are the first of the other
    fold = _folds(first, group, seed=3)
    for each in np.unique(group):
        assert len(set(fold[group == each])) == 1
    for which in (True, False):
        counts = np.bincount(fold[first == which], minlength=FOLDS)
        assert counts.min() >= 107 // FOLDS - 1
        assert counts.max() <= -(-107 // FOLDS) + 1
    assert (fold != _folds(first, group, seed=4)).any()
