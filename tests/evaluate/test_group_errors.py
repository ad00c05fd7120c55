"""Standard errors where whole groups are drawn anew: the spread over fresh groups, which rows alone do not show."""

import numpy as np
import pytest
from scipy.stats import t as student

from gendi.evaluate import intervals
from gendi.evaluate.kernel_errors import mean_variance
from gendi.evaluate.metrics import energy_kernel
from gendi.evaluate.vectors.distances import discrepancy_error, energy_distance
from gendi.evaluate.vectors.errors import judge_error
from gendi.evaluate.vectors.privacy import area_with_error
from gendi.evaluate.vectors.two_sample import two_sample

GROUPS, EACH = 12, 10
OF = np.repeat(np.arange(GROUPS), EACH)


def grouped(rng: np.random.Generator, d: int = 1, shift: float = 0.0) -> np.ndarray:
    """Rows (GROUPS * EACH, d): half of their variance is common to the rows of a group."""
    rows = rng.standard_normal((GROUPS, d))[OF] + rng.standard_normal((GROUPS * EACH, d))
    return np.asarray(shift + rows)


def ratio(values: list[float], errors: list[float]) -> float:
    return float(np.sqrt(np.mean(np.square(errors))) / np.std(values))


def test_the_variance_of_a_mean_is_that_of_the_groups_means() -> None:
    """Groups of equal sizes: the variance of the mean of G values is their variance over G."""
    values = grouped(np.random.default_rng(0))[:, 0]
    means = values.reshape(GROUPS, EACH).mean(axis=1)
    assert mean_variance(values, OF) == pytest.approx(means.var(ddof=1) / GROUPS, rel=1e-12)


def test_halves_are_of_whole_groups_and_the_quantile_is_students() -> None:
    for a, b in intervals.group_halves(OF, 20, 0, "test"):
        assert not set(OF[a]) & set(OF[b]) and len(a) + len(b) == len(OF) and len(set(OF[a])) == GROUPS // 2
    assert intervals.of_groups(None) == pytest.approx(1.95996, abs=1e-4)
    assert intervals.of_groups(5) == pytest.approx(student.ppf(0.975, 4))


@pytest.mark.statistical
def test_errors_by_group_are_the_spread_over_fresh_groups() -> None:
    """300 values know their spread to 4%, and the mean square of errors with 11 degrees of freedom to 2.5%: 0.19 is
    four of these. The variance of a group's mean is 1.1 of 2 / 10 for independent rows: their errors are too small by
    more than half for the mean, and by more than a third for the others, to which the samples add.
    """
    rng = np.random.default_rng(1)
    found: dict[str, list[tuple[float, float, float]]] = {"mean": [], "energy": [], "area": []}
    for seed in range(300):
        x, y = rng.standard_normal((60, 2)), grouped(rng, 2, 1.0)
        pairs = [[y[a, 0].mean(), y[b, 0].mean()] for a, b in intervals.group_halves(OF, 12, seed, "test")]
        rows = [[y[a, 0].mean(), y[b, 0].mean()] for a, b in intervals.halves(len(y), 12, seed, "test")]
        by_group, by_row = (intervals.halves_error(np.array(p), quadratic=False) or 0 for p in (pairs, rows))
        found["mean"].append((float(y[:, 0].mean()), by_group, by_row))
        errors = [discrepancy_error(x, y, energy_kernel, of) or 0 for of in (OF, None)]
        found["energy"].append((energy_distance(x, y), errors[0], errors[1]))
        a, b = grouped(rng, 1, 0.7)[:, 0], grouped(rng)[:, 0]
        area, error = area_with_error(a, b, OF, OF)
        found["area"].append((area, error, area_with_error(a, b)[1]))
    for name, each in found.items():
        values, by_group, by_row = map(list, zip(*each, strict=True))
        assert ratio(values, by_group) == pytest.approx(1, abs=0.19), name
        assert ratio(values, by_row) < 0.66, name


@pytest.mark.statistical
def test_a_judges_error_counts_groups() -> None:
    """60 areas know their spread to 9%; groups share folds, which the correction for training counts too large."""
    rng, values, errors, by_row = np.random.default_rng(2), [], [], []
    for seed in range(60):
        x, y = np.sqrt(2) * rng.standard_normal((GROUPS * EACH, 3)), grouped(rng, 3, 1.0)
        verdict = two_sample(x, y, "logistic", seed)
        values.append(verdict.auc)
        errors.append(judge_error(verdict, 50, rng, OF))
        by_row.append(judge_error(verdict, 50, rng))
    assert 0.72 < ratio(values, errors) < 1.8
    assert ratio(values, by_row) < 0.8 * ratio(values, errors)
