"""Marginals against scipy's normal quantiles and order statistics."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from gendi.data.tables.marginals import INSIDE, fit_marginal


def test_different_numbers_have_the_normal_scores_of_their_mid_ranks() -> None:
    values = np.random.default_rng(0).exponential(size=501)
    scores = fit_marginal(values).scores(values, np.full(501, 0.3))
    expected = stats.norm.ppf((stats.rankdata(values) - 0.5) / 501)
    np.testing.assert_allclose(scores, expected, atol=1e-12)


def test_ties_lie_where_their_draw_says_within_their_share() -> None:
    values = np.repeat([2.0, 5.0, 7.0], [10, 70, 20])
    draws = np.linspace(0, 0.999, 100)
    below, share = np.repeat([0.0, 0.1, 0.8], [10, 70, 20]), np.repeat([0.1, 0.7, 0.2], [10, 70, 20])
    expected = stats.norm.ppf(below + share * (INSIDE + (1 - 2 * INSIDE) * draws))
    np.testing.assert_allclose(fit_marginal(values).scores(values, draws), expected, atol=1e-12)


@pytest.mark.statistical
def test_scores_of_ties_and_atoms_are_standard_normal() -> None:
    rng = np.random.default_rng(1)
    values = np.where(rng.random(4000) < 0.4, 0.0, rng.gamma(2, size=4000).round(1))
    scores = fit_marginal(values).scores(values, rng.random(4000))
    # ranks are laid out evenly, so that Kolmogorov's distance is below that of a sample; 1.63 / sqrt(n) is its 1% point
    assert stats.kstest(scores, "norm").statistic < 1.63 / np.sqrt(4000)


def test_an_atom_has_its_share_and_what_lies_between_numbers_lies_on_a_line() -> None:
    values = np.concatenate([np.zeros(40), np.linspace(1, 6, 60) ** 2])
    marginal = fit_marginal(values)
    u = np.linspace(0.0005, 0.9995, 1000)
    drawn = marginal.values(stats.norm.ppf(u))
    assert (drawn == 0).mean() == pytest.approx(0.4, abs=1e-9)
    rest = u > 0.405
    expected = np.interp(u[rest], (np.arange(40, 100) + 0.5) / 100, values[40:])
    np.testing.assert_allclose(drawn[rest], expected, atol=1e-9)
    assert drawn.min() == values.min() and drawn.max() == values.max()


def test_a_discrete_column_has_no_value_in_between_and_its_shares() -> None:
    values = np.repeat([0.25, 0.5, 3.0, 8.0], [1, 5, 3, 1])
    drawn = fit_marginal(values).values(stats.norm.ppf((np.arange(1000) + 0.5) / 1000))
    found, counts = np.unique(drawn, return_counts=True)
    assert found.tolist() == [0.25, 0.5, 3.0, 8.0] and counts.tolist() == [100, 500, 300, 100]


def test_values_that_were_not_seen_have_finite_scores_in_order() -> None:
    marginal = fit_marginal(np.repeat([1.0, 2.0, 3.0], 10))
    scores = marginal.scores(np.array([-9.0, 1.5, 2.5, 99.0]), np.zeros(4))
    assert np.isfinite(scores).all() and (np.diff(scores) > 0).all()


def test_a_long_column_is_thinned_and_stays_close() -> None:
    values = np.random.default_rng(2).normal(size=50_000)
    marginal = fit_marginal(values)
    assert len(marginal.x) <= 4000
    # neighbouring knots are 1/4000 of u apart: the distance of the two distribution functions is at most that
    u = np.linspace(0.001, 0.999, 999)
    ranks = np.searchsorted(np.sort(values), marginal.values(stats.norm.ppf(u))) / 50_000
    assert abs(ranks - u).max() < 1 / 3000


@given(
    st.lists(st.floats(-1e12, 1e12).map(lambda x: round(x, 3)), min_size=1, max_size=60),
    st.integers(0, 2**32 - 1),
    st.booleans(),
)
def test_float32_scores_give_tied_values_back_exactly_and_others_nearly(
    numbers: list[float], seed: int, discrete: bool
) -> None:
    values = np.array(numbers)
    marginal = fit_marginal(values, discrete)
    if not marginal.varies:
        assert (marginal.values(np.zeros(3)) == values[0]).all()
        return
    scores = marginal.scores(values, np.random.default_rng(seed).random(len(values)))
    back = marginal.values(scores.astype(np.float32).astype(np.float64))
    if discrete or len(np.unique(values)) <= 20:
        assert (back == values).all()
    else:  # u moves by less than 1e-7, of a knot's distance of at least 1 / (2 n)
        step = np.diff(np.unique(values)).max()
        assert abs(back - values).max() <= 1e-7 * 2 * len(values) * step + 1e-9 * abs(values).max()
