"""The shares of the classes that a classifier sees, which makes mistakes in real pictures too."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import log_softmax, xlogy
from scipy.stats import chi2, chi2_contingency, chisquare

from gendi.errors import UsageError
from gendi.evaluate import shares as module
from gendi.evaluate.classes import entropy
from gendi.evaluate.shares import SeenShares, likelihood_ratio


def test_a_classifier_that_is_always_right_gives_pearsons_test() -> None:
    found = SeenShares.known(np.array([30.0, 50.0, 20.0])).test(np.array([5, 3, 2]))
    pearson = chisquare([5, 3, 2], [3, 5, 2])
    assert (found.chi_square, found.p_value) == pytest.approx((pearson.statistic, pearson.pvalue))
    with pytest.raises(UsageError, match="Class 1"):
        SeenShares.known(np.array([1.0, 0.0, 1.0]))


def test_two_classes_by_hand() -> None:
    """Of two equally frequent classes 80% and 60% are recognised, which is known from 10,000 pictures each. So class 0
    is seen in (0.8 + 0.4) / 2 = 0.6. Of 40,000 samples 60.8% are: 0.8% too many. The variance of that is
    0.6 * 0.4 / 40000 + (0.8 * 0.2 + 0.6 * 0.4) / 4 / 10000 = 0.000016, of which 0.008 are two standard deviations."""
    expected = SeenShares.measured(np.array([[8000, 2000], [4000, 6000]]), np.array([7.0, 7.0]))
    assert expected.expected == pytest.approx([0.6, 0.4])
    found, _ = likelihood_ratio(expected.counts[None], np.array([[24320, 15680]]), expected.shares)
    assert found == pytest.approx(4.0, rel=0.01)
    tested = expected.test(np.array([24320, 15680]))
    assert tested.chi_square == pytest.approx(4.0, rel=4 * np.sqrt(2 / module.TERMS))  # the mean of so many draws is 1
    assert tested.p_value == pytest.approx(chi2.sf(tested.chi_square, 1))
    assert expected.largest_chi_square(tested.p_value) == pytest.approx(tested.chi_square)
    plain = chisquare([24320, 15680], [20000, 20000])
    assert plain.pvalue < 1e-12  # what the training set's shares would say


@pytest.mark.parametrize("seen", [[12, 11, 7], [25, 2, 3], [0, 0, 30]])
def test_the_likelihood_ratio_is_that_of_another_maximiser(monkeypatch: pytest.MonkeyPatch, seen: list[int]) -> None:
    """SciPy climbs the likelihood in logits of C, in which each of its rows sums to 1."""
    monkeypatch.setattr(module, "FURTHER", 0.0)
    monkeypatch.setattr(module, "ROUNDS", 5000)
    counts, f, h = np.array([[9, 2, 1], [1, 6, 3], [2, 1, 7]]), np.array([0.5, 0.3, 0.2]), np.array(seen)

    def minus(logits: np.ndarray) -> float:
        rows = log_softmax(logits.reshape(3, 3), axis=1)
        return float(-(counts * rows).sum() - xlogy(h, f @ np.exp(rows)).sum())

    best = minimize(minus, np.log(counts.ravel() / 10), method="BFGS", options={"gtol": 1e-8})
    free = float(xlogy(counts, counts / counts.sum(1, keepdims=True)).sum() + xlogy(h, h / h.sum()).sum())
    found, c = likelihood_ratio(counts[None], h[None], f)
    assert found[0] == pytest.approx(2 * (free + best.fun), abs=1e-4)
    assert c.sum(axis=-1) == pytest.approx(1.0)


def test_without_known_classes_two_sets_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """With one group of pictures it is the likelihood ratio of a table of two rows."""
    monkeypatch.setattr(module, "FURTHER", 0.0)
    found, _ = likelihood_ratio(np.array([[[60, 140]]]), np.array([[35, 65]]), np.ones(1))
    table = chi2_contingency([[60, 140], [35, 65]], correction=False, lambda_="log-likelihood")
    assert found[0] == pytest.approx(table.statistic)
    assert SeenShares.measured(np.array([[60, 140]]), np.ones(1)).test(np.array([35, 65])).chi_square > 0


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


def world(k: int, right: float, m: int, n: int, absent: int, sets: int, pairs: bool = False) -> np.ndarray:
    """Return p-values of n real pictures of k classes in uneven shares, for a classifier known from m others.

    Its mistakes are all of one kind, or, in `pairs`, those of a few classes, each of which is taken for another.
    `absent` is how many classes are missing.
    """
    rng = np.random.default_rng(0)
    f = np.maximum(rng.dirichlet(np.full(k, 3.0)), 0.2 / k)
    f /= f.sum()
    wrong = rng.dirichlet(np.full(k, 1.0))  # what mistakes look like: some classes more than others
    sees = right * np.eye(k) + (1 - right) * wrong
    if pairs:
        sees = np.eye(k)
        for c, part in zip(range(0, k, 4), rng.dirichlet(np.ones(len(range(0, k, 4)))), strict=True):
            miss = min(part * (1 - right) * k, 0.9)
            sees[c, c], sees[c, c + 1 if c + 1 < k else 1] = 1 - miss, miss
    drawn = f.copy()
    drawn[np.argsort(-f)[:absent]] = 0
    found = []
    for _ in range(sets):
        counts = np.array([rng.multinomial(c, row) for c, row in zip(rng.multinomial(m, f), sees, strict=True)])
        found.append(SeenShares.measured(counts, f).test(rng.multinomial(n, drawn / drawn.sum() @ sees)).p_value)
    return np.array(found)


SLOW = pytest.mark.slow


@pytest.mark.statistical
@pytest.mark.parametrize(
    ("k", "right", "m", "n", "pairs"),
    [
        (9, 0.877, 189, 500, True),  # as for emoji
        pytest.param(26, 0.978, 214, 500, True, marks=SLOW),  # as for letters
        pytest.param(10, 0.99, 1000, 500, False, marks=SLOW),
        pytest.param(26, 0.5, 97, 500, False, marks=SLOW),
        pytest.param(26, 0.9, 97, 1000, True, marks=SLOW),
        pytest.param(26, 0.9, 97, 1000, False, marks=SLOW),
        pytest.param(4, 0.3, 50, 2000, False, marks=SLOW),
    ],
)
def test_real_pictures_pass_at_the_stated_rate(k: int, right: float, m: int, n: int, pairs: bool) -> None:
    """200 worlds: three standard errors above a rate of 5% are 9.6%, above one of 1% 3.1%, above one of 0.5% 2%."""
    found = world(k, right, m, n, 0, 200, pairs)
    assert (found < 0.05).mean() <= 0.096 and (found < 0.01).mean() <= 0.031 and (found < 0.005).mean() <= 0.02
    assert 0.4 < found.mean() < 0.7


@pytest.mark.statistical
def test_a_missing_class_is_caught_where_the_classifier_is_good() -> None:
    assert (world(26, 0.9, 600, 1000, 1, 20) < 0.01).all()
    assert (world(26, 0.978, 214, 500, 3, 20, pairs=True) < 0.005).all()
    assert np.median(world(26, 0.05, 600, 1000, 1, 20)) > 0.05  # and by one that sees little it is not
