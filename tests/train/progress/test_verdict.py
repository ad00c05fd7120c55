"""Improving, level, or copying: the verdicts on nine planted curves, and what the rule must not say."""

import itertools

import pytest
from planted import COPYING, EVALUATIONS, IMPROVING, LEVEL, evaluations

from gendi.train.progress.evaluating import reading_of
from gendi.train.progress.verdict import Reading, judge

CURVES = [
    pytest.param(curve, verdict, id=f"{verdict}: {name}")
    for verdict, curves in (("improving", IMPROVING), ("level", LEVEL), ("copying", COPYING))
    for name, curve in curves.items()
]


def verdicts(curve, seed):
    readings = [reading_of(*found) for found in evaluations(curve, seed)]
    return [judge(readings[:count], count) for count in range(1, EVALUATIONS + 1)]


@pytest.mark.parametrize(("curve", "verdict"), CURVES)
def test_nine_of_nine_planted_curves_are_judged_rightly(curve, verdict) -> None:
    assert verdicts(curve, 0)[-1] == verdict


@pytest.mark.statistical
def test_planted_curves_are_judged_rightly_whatever_their_noise() -> None:
    """benchmarks/verdict.py measures a share of right ones of 0.975 (0.960 to 0.990). With 0.960, 40 or more of these
    45 are right with a probability of 0.99 (binomial distribution).
    """
    found = [(verdicts(p.values[0], seed), p.values[1]) for p in CURVES for seed in range(1, 6)]
    assert sum(said[-1] == right for said, right in found) >= 40
    for said, right in found:
        if right == "improving":  # no such run would be ended
            assert ("level", "level") not in itertools.pairwise(said)


def reading(number: int, distance: float, error: float = 0.01, **more: float) -> Reading:
    return Reading(50_000 * number, distance, error, **more)


def test_four_readings_are_too_few() -> None:
    assert judge([reading(i, 1 / i) for i in range(1, 5)]) is None


def test_noise_that_could_hide_a_fall_is_not_called_level() -> None:
    noisy = [0.30, 0.10, 0.26, 0.12, 0.28, 0.14]
    assert judge([reading(i, value, 0.1) for i, value in enumerate(noisy, 1)]) is None


def test_a_held_out_loss_that_rises_is_no_copying_while_samples_are_not_like_training_rows() -> None:
    readings = [reading(i, 0.2, heldout=0.4 + 0.02 * i, likeness=0.5, likeness_error=0.02) for i in range(1, 9)]
    assert judge(readings) == "level"


def test_likeness_above_its_floor_is_copying_only_if_something_else_improves_or_the_held_out_loss_rises() -> None:
    def run(distance, heldout):
        more = {"likeness": 0.7, "likeness_error": 0.02}
        return judge([reading(i, distance(i), heldout=heldout(i), **more) for i in range(1, 9)])

    assert run(lambda i: 1 / i, lambda i: 0.4) == "copying"
    assert run(lambda i: 0.1 * i, lambda i: 0.4 + 0.02 * i) == "copying"
    assert run(lambda i: 0.1 * i, lambda i: 0.4) == "level"


def test_errors_that_all_readings_share_do_not_hide_a_fall() -> None:
    """The same samples are off in the same way each time: the fall of 0.02 in all is far below the error of 0.1."""
    spread = [0.1 * 10**0.5 * (-1) ** i for i in range(10)]
    values = [0.5 - 0.004 * i for i in range(6)]
    shared = [reading(i, v, 0.1, parts=tuple(v + s for s in spread)) for i, v in enumerate(values, 1)]
    assert judge(shared) == "improving"
    assert judge([reading(i, v, 0.1) for i, v in enumerate(values, 1)]) is None
