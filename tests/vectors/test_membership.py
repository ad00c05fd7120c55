"""Membership attacks find a copier and nothing in real rows; their areas and errors are those of other methods."""

import numpy as np
import pytest
from scipy.stats import norm

from gendi.errors import DataError, UsageError
from gendi.evaluate.vectors import Privacy, RowSet, Standardised, privacy_of_rows, row_digests
from gendi.evaluate.vectors.privacy import area_with_error

N = 600


def world(n: int, seed: int) -> RowSet:
    """Rows of six numbers that depend on one another."""
    rng = np.random.default_rng(seed)
    z = rng.standard_normal((n, 6))
    z[:, 1] += z[:, 0] ** 2
    return RowSet(z)


def attacked(samples: RowSet, training: int | None = None) -> Privacy:
    train, heldout = world(N, 0), world(N, 1)
    known = row_digests(train.rows)
    return privacy_of_rows(samples, train, heldout, space=Standardised.fit, known=known, training=training)


def test_the_area_is_that_of_the_curve_and_its_error_the_spread_over_fresh_rows() -> None:
    """For normal scores one deviation apart the area is Phi(1 / sqrt 2); ties count half, as scikit-learn has it.

    Over 400 draws, the standard deviation of the area has a relative error of 1 / sqrt(800) = 3.5%; four of these.
    """
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(0)
    a, b = np.round(rng.standard_normal(70) + 0.5, 1), np.round(rng.standard_normal(90), 1)
    truth = np.repeat([1, 0], [70, 90])
    assert area_with_error(a, b)[0] == pytest.approx(roc_auc_score(truth, np.concatenate([a, b])), abs=1e-12)
    found = np.array([area_with_error(rng.standard_normal(60) + 1, rng.standard_normal(80)) for _ in range(400)])
    mean, spread = found[:, 0].mean(), found[:, 0].std(ddof=1)
    assert abs(mean - norm.cdf(1 / np.sqrt(2))) < 4 * spread / 20
    assert np.sqrt((found[:, 1] ** 2).mean()) / spread == pytest.approx(1, abs=0.14)


def test_a_copier_is_found_and_fresh_rows_are_not() -> None:
    """The copier has shown a member with probability 1 - exp(-3) = 95%, which is then at distance 0: its area is about
    0.95 + 0.05 / 2. Fresh rows of the same distribution, and real ones, are within four standard errors of chance.
    """
    found = attacked(world(3 * N, 2))
    for attack in found.sets["copier"].attacks.values():
        assert attack.auc == pytest.approx(0.975, abs=0.02) and attack.found.value > 0.9
    for place in ("samples", "real"):
        for attack in found.sets[place].attacks.values():
            assert abs(attack.auc - 0.5) < 4 * attack.error and attack.error < 0.03
    assert found.sets["samples"].copies.value == 0 and found.sets["copier"].copies.value == 1
    assert found.sets["copier"].closest_share.value == 1 and "Neither attack" in found.verdict()


def test_a_model_that_blurs_its_rows_is_found_between_the_two() -> None:
    """Training rows with noise of a tenth of their deviation are no copies, and yet they give the rows away."""
    rng = np.random.default_rng(3)
    rows = world(N, 0).rows[rng.integers(0, N, 3 * N)]
    found = attacked(RowSet(rows + 0.1 * rng.standard_normal(rows.shape)))
    exposed = found.sets["samples"]
    assert exposed.copies.value == 0 and exposed.attacks["calibrated"].interval[0] > 0.8
    assert "give away some of the training rows" in found.verdict()


def test_too_few_samples_say_that_nothing_could_be_found() -> None:
    """Of a hundred thousand training rows, 600 samples show hardly any, and the copier says so."""
    found = attacked(world(N, 2), training=100_000)
    assert found.sets["copier"].attacks["distance"].auc < 0.75
    assert "could hardly find anything: draw 300,000" in found.verdict()


def test_sets_that_are_too_small_are_refused() -> None:
    with pytest.raises(UsageError, match="at least 2"):
        attacked(world(1, 2))
    small = world(29, 0)
    with pytest.raises(DataError, match="29 training and 600 held-out rows: an attack needs at least 30"):
        privacy_of_rows(world(9, 1), small, world(N, 1), space=Standardised.fit, known=row_digests(small.rows))


def donors(count: int, seed: int, first: int = 0, each: int = 20) -> RowSet:
    """Rows of donors, most of whose variance is common to a donor's rows."""
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((count, 1, 4)) + 0.4 * rng.standard_normal((count, each, 4))
    return RowSet(rows.reshape(-1, 4), groups=first + np.repeat(np.arange(count), each))


def attacked_donors(samples: RowSet, heldout: RowSet) -> Privacy:
    train = donors(40, 0)
    return privacy_of_rows(samples, train, heldout, space=Standardised.fit, known=row_digests(train.rows))


def test_members_and_real_rows_are_of_different_donors() -> None:
    """Real rows, of other training donors, tell nothing of the members' donors; rows dealt one by one would tell much.

    Fresh rows of the training donors give the donors away, though no row. Intervals of donors are wider than of rows.
    """
    rng, train = np.random.default_rng(5), donors(40, 0)
    centres = np.stack([train.rows[train.groups == donor].mean(axis=0) for donor in range(40)])
    fresh = RowSet(np.repeat(centres, 60, axis=0) + 0.4 * rng.standard_normal((2400, 4)))
    found = attacked_donors(fresh, donors(20, 1, 40))
    assert found.groups == (20, 10) and found.members == 400 and found.others == 200
    for attack in found.sets["real"].attacks.values():
        assert abs(attack.auc - 0.5) < 3 * attack.error
    calibrated = found.sets["samples"].attacks["calibrated"]
    assert calibrated.auc > 0.55 and "members are of 20 and the others of 10" in found.verdict()
    blind = privacy_of_rows(
        fresh,
        RowSet(train.rows),
        RowSet(donors(20, 1, 40).rows),
        space=Standardised.fit,
        known=row_digests(train.rows),
    )
    assert blind.groups is None
    assert calibrated.error > 1.3 * blind.sets["samples"].attacks["calibrated"].error
    assert blind.sets["real"].attacks["calibrated"].auc > 0.55


def test_one_held_out_donor_is_told_by_other_donors() -> None:
    """The calibrating rows are then those of the training donors that are no members, as the real rows are."""
    found = attacked_donors(RowSet(world(90, 2).rows[:, :4]), donors(1, 3, 40, 60))
    assert found.groups == (20, 1) and found.others == 60
    assert found.sets["real"].attacks["calibrated"].auc == 0.5
    assert "one group says nothing of the next" in found.verdict()


def test_one_training_donor_cannot_be_divided() -> None:
    with pytest.raises(DataError, match="two halves of at least 15 rows"):
        privacy_of_rows(
            donors(3, 1), donors(1, 2, 0, 60), donors(3, 3, 5), space=Standardised.fit, known=np.zeros(0, "V16")
        )
