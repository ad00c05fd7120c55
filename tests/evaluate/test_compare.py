"""Two evaluations are told apart only by more than their standard errors explain."""

import dataclasses

import numpy as np
import pytest

from gendi.errors import UsageError
from gendi.evaluate import Evaluation, Metric, compare
from gendi.evaluate.result import Better, ClassesRecord


def measured(value: float, error: float | None, better: Better = "lower", ideal: float | None = None) -> Evaluation:
    metric = Metric("m", value, 0.0, better, standard_error=error, ideal=ideal)
    return Evaluation(100, 0, "toy", "f", "train", 100, "heldout", 100, (), (metric,))


def test_differences_inside_the_standard_errors_are_ties() -> None:
    """Errors of 3 and 4 make one of 5 for the difference: 9.79 is a tie, 9.81 is not, as 1.96 * 5 = 9.8."""
    (tie,) = compare(measured(10, 3), measured(19.79, 4))
    (told,) = compare(measured(10, 3), measured(19.81, 4))
    assert (tie.winner, tie.tie) == (None, True)
    assert (told.winner, told.tie) == ("a", False)
    assert tie.interval == pytest.approx((-9.79 - 9.8, -9.79 + 9.8))
    assert compare(measured(10, 3, "higher"), measured(19.81, 4, "higher"))[0].winner == "b"


def test_closest_to_the_ideal_counts_distances_from_it() -> None:
    """0.5 and 1.5 are far apart and equally far from 1."""
    a, b = measured(0.5, 0.01, "closest", 1.0), measured(1.5, 0.01, "closest", 1.0)
    assert compare(a, b)[0].tie
    assert compare(a, measured(1.4, 0.01, "closest", 1.0))[0].winner == "b"


def test_evaluations_without_standard_errors_are_compared_by_value() -> None:
    (found,) = compare(measured(1, None), measured(2, 0.5))
    assert (found.winner, found.interval, found.tie) == ("a", None, False)
    assert compare(measured(1, None), measured(1, None))[0].tie


def test_a_missing_value_is_no_tie() -> None:
    missing = dataclasses.replace(measured(1, 1), metrics=(Metric("m", None, 0.0, "lower"),))
    (found,) = compare(missing, measured(1, 1))
    assert (found.winner, found.tie) == (None, False)


@pytest.mark.statistical
def test_two_samplings_of_one_model_are_a_tie_in_95_of_100() -> None:
    """Of 2000 pairs with the same mean and errors 1 and 2, 5% win by chance: 100 +- 4 * sqrt(2000 * .05 * .95) = 39."""
    rng = np.random.default_rng(0)
    pairs = rng.normal(0, (1, 2), (2000, 2))
    wins = sum(not compare(measured(x, 1), measured(y, 2))[0].tie for x, y in pairs.tolist())
    assert 61 <= wins <= 139


def test_classes_that_different_classifiers_see_are_not_compared() -> None:
    def seen(sha256: str) -> Evaluation:
        classes = ClassesRecord(("a", "b"), (50, 50), None, (0.5, 0.5), 0.69, sha256)
        return dataclasses.replace(measured(1, 1), classes=classes)

    assert compare(seen("a" * 64), seen("a" * 64))[0].tie
    with pytest.raises(UsageError, match="classifier"):
        compare(seen("a" * 64), seen("b" * 64))
