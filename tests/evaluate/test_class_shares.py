"""The shares of the classes that a classifier sees, which makes mistakes in real pictures too."""

import numpy as np
import pytest
from scipy.stats import chi2, chisquare

from gendi.errors import UsageError
from gendi.evaluate import shares as module
from gendi.evaluate.classes import entropy
from gendi.evaluate.shares import SeenShares


def test_a_classifier_that_is_always_right_gives_pearsons_test() -> None:
    found = SeenShares.known(np.array([30.0, 50.0, 20.0])).test(np.array([5, 3, 2]))
    pearson = chisquare([5, 3, 2], [3, 5, 2])
    assert (found.chi_square, found.p_value) == pytest.approx((pearson.statistic, pearson.pvalue))
    with pytest.raises(UsageError, match="Class 1"):
        SeenShares.known(np.array([1.0, 0.0, 1.0]))


def test_two_classes_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two equally frequent classes 80% and 60% are recognised, which is known from 100 pictures each. So class 0 is
    seen in (0.8 + 0.4) / 2 = 0.6. Of 400 samples 272 are 0.68: 0.08 too many. The variance of that is
    0.6 * 0.4 / 400 + (0.8 * 0.2 + 0.6 * 0.4) / 4 / 100 = 0.0016, of which 0.08 are two standard deviations."""
    monkeypatch.setattr(module, "PRIOR", 0.0)
    expected = SeenShares.measured(np.array([[80, 20], [40, 60]]), np.array([7.0, 7.0]))
    assert expected.expected == pytest.approx([0.6, 0.4])
    found = expected.test(np.array([272, 128]))
    assert (found.chi_square, found.p_value) == pytest.approx((4.0, chi2.sf(4.0, 1)))
    assert expected.largest_chi_square(400, found.p_value) == pytest.approx(4.0)
    plain = chisquare([272, 128], [200, 200])
    assert plain.pvalue < 1e-12  # what the training set's shares would say


def test_without_known_classes_two_sets_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """One group of m = 200 pictures: T is the statistic of two samples, with the real pictures' shares as the
    expectation. d = (0.05, -0.05), q = (0.3, 0.7): the variance is 0.3 * 0.7 * (1 / 100 + 1 / 200) = 0.00315."""
    monkeypatch.setattr(module, "PRIOR", 0.0)
    found = SeenShares.measured(np.array([[60, 140]]), np.ones(1)).test(np.array([35, 65]))
    assert found.chi_square == pytest.approx(0.05**2 / 0.00315, rel=1e-2)  # q is drawn a little towards even shares


def test_missing_classes_by_hand() -> None:
    """A classifier that is always right, and shares of 0.5, 0.3 and 0.2. Without the first, 0.6 and 0.4 are left: n
    times 0.25 / 0.5 + 0.09 / 0.3 + 0.04 / 0.2 = 1, and 2 on average by chance. A tenth of ten even classes is one of
    them: n (0.01 / 0.1 + 9 (1 / 90)^2 / 0.1) = n / 9."""
    expected = SeenShares.known(np.array([3.0, 5.0, 2.0]))
    assert expected.without(50).chi_square == pytest.approx(52.0)
    assert expected.without(50).p_value == pytest.approx(chi2.sf(52.0, 2))
    assert SeenShares.known(np.ones(10)).without(90).chi_square == pytest.approx(10 + 9)
    blind = SeenShares.measured(np.full((10, 10), 20), np.ones(10))  # each class looks like all others
    assert blind.without(1000).p_value > 0.3


def test_the_entropy_of_few_samples_is_too_small() -> None:
    """The mean of 20,000 draws is known to 0.0005, and Miller's correction leaves terms of 1 / n^2."""
    p = np.array([0.4, 0.3, 0.2, 0.1])
    drawn = np.random.default_rng(0).multinomial(60, p, 20_000)
    mean = float(np.mean([entropy(row) for row in drawn]))
    assert SeenShares.known(p).entropy(60) == (pytest.approx(mean, abs=0.002), 0.0)
    assert SeenShares.known(p).entropy(10**9)[0] == pytest.approx(-(p * np.log(p)).sum())


@pytest.mark.statistical
def test_the_error_of_the_entropy_is_its_deviation_over_other_real_pictures() -> None:
    """400 sets of real pictures: the deviation of the entropies that they foretell is known to 3.5%."""
    rng, f = np.random.default_rng(0), np.array([0.5, 0.3, 0.2])
    sees = np.array([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.3, 0.1, 0.6]])
    found = []
    for _ in range(400):
        counts = np.array([rng.multinomial(m, row) for m, row in zip((150, 90, 60), sees, strict=True)])
        found.append(SeenShares.measured(counts, f).entropy(1000))
    values, errors = np.array(found).T
    assert np.median(errors) == pytest.approx(values.std(ddof=1), rel=0.15)


def world(k: int, right: float, m: int, n: int, absent: bool, sets: int, seed: int = 0) -> np.ndarray:
    """Return p-values of n real pictures of k classes in uneven shares, for a classifier known from m others."""
    rng = np.random.default_rng(seed)
    f = np.maximum(rng.dirichlet(np.full(k, 3.0)), 0.2 / k)
    f /= f.sum()
    wrong = rng.dirichlet(np.full(k, 1.0))  # what mistakes look like: some classes more than others
    sees = right * np.eye(k) + (1 - right) * wrong
    drawn = f.copy()
    if absent:
        drawn[np.argmax(f)] = 0
    found = []
    for _ in range(sets):
        counts = np.array([rng.multinomial(c, row) for c, row in zip(rng.multinomial(m, f), sees, strict=True)])
        found.append(SeenShares.measured(counts, f).test(rng.multinomial(n, drawn / drawn.sum() @ sees)).p_value)
    return np.array(found)


@pytest.mark.statistical
@pytest.mark.parametrize(
    ("k", "right", "m", "n"), [(10, 0.99, 1000, 500), (26, 0.5, 97, 500), (26, 0.9, 97, 1000), (4, 0.3, 50, 2000)]
)
def test_real_pictures_pass_at_the_stated_rate(k: int, right: float, m: int, n: int) -> None:
    """400 worlds: a rate of 5% is found as at most 8.5% (three standard errors more), one of 1% as at most 2.5%."""
    found = world(k, right, m, n, False, 400)
    assert (found < 0.05).mean() <= 0.085 and (found < 0.01).mean() <= 0.025


@pytest.mark.statistical
def test_a_missing_class_is_caught_where_the_classifier_is_good() -> None:
    assert (world(26, 0.9, 600, 1000, True, 40) < 0.01).all()
    assert np.median(world(26, 0.05, 600, 1000, True, 40)) > 0.05  # and by one that sees little it is not
