"""The quick metrics: unbiased distances with right errors, and a train-likeness of one half for what is no copy."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from gendi.errors import UsageError
from gendi.evaluate.gauge import (
    TRAIN_LIKENESS,
    Distance,
    TrainLikeness,
    cubic_kernel,
    energy_of_pairs,
    nearest_rows,
)
from gendi.evaluate.metrics import kernel_distance
from gendi.evaluate.vectors.quick import row_gauge


class Rows:
    def __init__(self, rows: np.ndarray) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def batch(self, indices) -> np.ndarray:
        return self.rows[np.asarray(indices)]


def normal(seed: int, n: int, d: int = 4, shift: float = 0.0, spread: float = 1.0) -> np.ndarray:
    return shift + spread * np.random.default_rng(seed).standard_normal((n, d))


def energy_by_hand(x: np.ndarray, y: np.ndarray) -> float:
    n, m = len(x), len(y)
    return 2 * cdist(x, y).mean() - cdist(x, x).sum() / (n * (n - 1)) - cdist(y, y).sum() / (m * (m - 1))


def test_the_energy_distance_and_its_jackknife_are_those_of_the_definition() -> None:
    x, y = normal(0, 12, shift=0.5), normal(1, 30)
    found = Distance("energy", energy_of_pairs, y, normal(2, 20))(x)
    assert found.value == pytest.approx(energy_by_hand(x, y), rel=1e-10)
    without = np.array([energy_by_hand(np.delete(x, i, 0), y) for i in range(len(x))])
    assert found.error == pytest.approx(np.sqrt(11 / 12 * ((without - without.mean()) ** 2).sum()), rel=1e-8)
    assert found.floor == pytest.approx(energy_by_hand(normal(2, 20), y), rel=1e-10)
    np.testing.assert_allclose(found.parts, 12 * found.value - 11 * without, rtol=1e-5, atol=1e-6)


def test_the_cubic_kernel_gives_the_kernel_distance() -> None:
    x, y = normal(0, 40, shift=0.3), normal(1, 50)
    found = Distance("kid", cubic_kernel, y, normal(2, 20))(x)
    assert found.value == pytest.approx(kernel_distance(x, y).value, rel=1e-10)


@pytest.mark.statistical
def test_the_error_is_the_deviation_of_fresh_samples_and_the_floor_is_around_zero() -> None:
    """200 sets: the deviation of their distances is known to 5% (one standard error); the bound is at four of them."""
    distance = Distance("energy", energy_of_pairs, normal(0, 400), normal(1, 400))
    found = [distance(normal(s, 128, shift=0.4)) for s in range(10, 210)]
    spread = np.std([q.value for q in found], ddof=1)
    assert np.mean([q.error for q in found]) == pytest.approx(spread, rel=0.2)
    first = found[0]
    assert first.floor is not None and first.floor_error is not None and abs(first.floor) < 4 * first.floor_error


def likeness(train: np.ndarray, heldout: np.ndarray) -> TrainLikeness:
    return TrainLikeness(nearest_rows(train), nearest_rows(heldout), heldout, 0.0)


@pytest.mark.statistical
@pytest.mark.parametrize("n", [60, 4000])
def test_the_train_likeness_of_fresh_rows_is_one_half_whatever_the_number_of_training_rows(n: int) -> None:
    """The mean over 40 worlds, within four of its standard errors; and each lies as far off as its error says."""
    found = [likeness(normal(s, n), normal(1000 + s, 50))(normal(2000 + s, 128)) for s in range(40)]
    values = np.array([q.value for q in found])
    expected = found[0].floor_error
    assert expected is not None and found[0].name == TRAIN_LIKENESS
    assert abs(values.mean() - 0.5) < 4 * expected / 40**0.5
    assert values.std(ddof=1) == pytest.approx(expected, rel=4 / (2 * 39) ** 0.5)


def test_the_train_likeness_of_copies_is_one_and_of_some_copies_in_between() -> None:
    train, fresh = normal(0, 500), normal(2, 400)
    measure = likeness(train, normal(1, 200))
    assert measure(train[:200]).value == 1.0
    without, half = measure(fresh).value, measure(np.concatenate([fresh[200:], train[:200]])).value
    assert half == pytest.approx(0.5 * measure(fresh[200:]).value + 0.5, abs=1e-12) and half > without + 0.2


def test_rows_nearer_to_everything_are_not_taken_for_copies() -> None:
    """Shrunk rows are nearer to the training rows than real rows are; but they are nearer to held-out rows too."""
    train, heldout = normal(0, 500, d=16), normal(1, 200, d=16)
    shrunk = normal(2, 256, d=16, spread=0.6)
    search = nearest_rows(train)
    assert np.median(search(shrunk, 1)[0]) < 0.8 * np.median(search(heldout, 1)[0])
    assert likeness(train, heldout)(shrunk).value < 0.6


def test_held_out_rows_that_are_training_rows_are_as_near_as_copies() -> None:
    train = normal(0, 100)
    assert likeness(train, train[:40])(train[50:90]).value == 0.5


def test_rows_are_measured_by_number_whatever_their_shape_and_gaps() -> None:
    rows = normal(0, 300, d=6)
    rows[5, 2] = np.nan
    gauge = row_gauge(Rows(rows.reshape(300, 2, 3)), Rows(normal(1, 60, d=6).reshape(60, 2, 3)), 0)
    distance, like = gauge(normal(2, 100, d=6).reshape(100, 2, 3))
    assert abs(distance.value) < 4 * distance.error and abs(like.value - 0.5) < 4 * like.error
    assert gauge(normal(2, 100, d=6, shift=2.0).reshape(100, 2, 3))[0].value > 1
    assert gauge.work(200) > gauge.work(100) > 0


def test_few_held_out_rows_give_no_train_likeness_and_too_few_samples_are_refused() -> None:
    gauge = row_gauge(Rows(normal(0, 50)), Rows(normal(1, 5)), 0)
    (only,) = gauge(normal(2, 20))
    assert only.floor is not None
    with pytest.raises(UsageError, match="at least 3"):
        gauge(normal(2, 2))
