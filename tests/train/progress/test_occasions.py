"""When previews come: within a minute at any pace that allows it, then at growing intervals, by images alone."""

import itertools
import math

import pytest

from gendi.train.budget import Budget
from gendi.train.progress.occasions import FIRST, LATEST, SPARE, Occasions

WORK = 230.0
HOURS = Budget(seconds=36_000.0)


def occasions(
    every: int = 25_000, budget: Budget = HOURS, work: float = WORK, halvings: int | None = None
) -> Occasions:
    return Occasions(every, work, budget, 64, {"halvings": halvings})


def made(found: Occasions, batch: int, until: int) -> list[int]:
    """The images seen after each step with a preview."""
    return [now for now in range(batch, until + 1, batch) if found.passed(now - batch, now)]


def test_the_pace_of_a_laptop_halves_twice() -> None:
    """At 280 images a second, half a minute is 8,400 images: a quarter of 25,000 is the first that is no more."""
    found = occasions()
    assert found.choose(5.0, 1400) == 2
    found.halvings = 2
    assert list(found.early()) == [6250, 12_500]
    assert made(found, 10, 75_000) == [6250, 12_500, 25_000, 50_000, 75_000]


@pytest.mark.parametrize("pace", [5.0, 9.0, 40.0, 130.0, 280.0, 1000.0, 20_000.0])
@pytest.mark.parametrize("every", [25_000, 500_000])
def test_the_first_is_there_within_a_minute_and_intervals_grow(pace: float, every: int) -> None:
    found = occasions(every)
    found.halvings = found.choose(6.0, round(6 * pace))
    first, *others = [*found.early(), every]
    assert first / pace + WORK / pace <= LATEST + 1e-9
    assert first / pace <= FIRST
    gaps = [b - a for a, b in itertools.pairwise([first, *others])]
    assert all(gap >= SPARE * WORK for gap in gaps)  # none follows sooner than ten times its own work
    later = [*gaps, every]
    assert all(b >= a for a, b in itertools.pairwise(later[1:]))


def test_a_network_whose_preview_takes_a_minute_begins_at_once() -> None:
    assert occasions().choose(6.0, 12) == math.ceil(math.log2(25_000))


def test_a_quick_machine_and_a_pace_that_is_not_known_add_none() -> None:
    found = occasions()
    assert found.choose(5.0, 5_000_000) == 0
    assert found.choose(4.9, 1400) is None
    assert found.choose(9.0, 0) is None
    assert made(found, 1000, 60_000) == [25_000, 50_000]


def test_a_short_budget_has_its_first_after_a_quarter() -> None:
    short = occasions(budget=Budget(seconds=40.0)).choose(5.0, 1400)
    images = occasions(budget=Budget(images=11_200)).choose(5.0, 1400)  # 40 s at that pace
    steps = occasions(budget=Budget(steps=175)).choose(5.0, 1400)
    assert (short, images, steps) == (4, 4, 4)  # 2,800 images are a quarter; 25,000 / 2^4 is the next below


def test_a_checkpoint_of_an_older_version_gets_no_early_ones() -> None:
    assert Occasions(25_000, WORK, HOURS, 64, None).halvings == 0
    assert occasions(halvings=3).state() == {"halvings": 3}


def test_steps_larger_than_the_first_intervals_make_one_preview_each() -> None:
    found = occasions(every=1000, work=0.0, halvings=6)
    assert made(found, 300, 2100) == [300, 600, 1200, 2100]
