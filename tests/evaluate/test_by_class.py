"""Classes by themselves: a class that is wrong fails whatever the others do, and a class of few rows is left alone."""

import numpy as np
import pytest

from gendi.cli.gates import gates_table
from gendi.evaluate.vectors import LogCounts, RowSet, evaluate_rows, metrics
from gendi.evaluate.vectors.by_class import DIVISIONS, class_records, divided, upper_quantile
from gendi.evaluate.vectors.distances import energy_distance
from gendi.evaluate.vectors.space import World, judged_size

SIZES = (150, 100, 12)
WORLD = np.random.default_rng(7)
RATES = np.exp(WORLD.normal(0, 1, (3, 80)))


def cells(sizes: tuple[int, ...], seed: int, rates: np.ndarray = RATES) -> RowSet:
    rng = np.random.default_rng([5, seed])
    labels = np.repeat(np.arange(3), sizes).astype(np.int64)
    rate = rates[labels] * rng.gamma(4, 1 / 4, (len(labels), 80))
    return RowSet(rng.poisson(rate).astype(np.int32), labels)


def records(samples: RowSet, real: RowSet, gates: int = 23):
    world = World.fit(LogCounts.fit(real.rows), real.rows, 0)
    return class_records(samples, real, RowSet(real.rows), world, gates)[0]


def test_divisions_have_the_energy_distances_of_their_sets() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(12, 4)), rng.normal(1, 1, (7, 4))
    value, others = divided(x, y, np.random.default_rng(1))
    assert value == pytest.approx(energy_distance(x, y), rel=1e-9)
    again, both = np.random.default_rng(1), np.concatenate([x, y])
    for found in others[:5]:
        first = again.permutation(19)[:12]
        rest = np.setdiff1d(np.arange(19), first)
        assert found == pytest.approx(energy_distance(both[first], both[rest]), rel=1e-9)
    assert len(others) == DIVISIONS


def test_the_quantile_is_that_of_a_normal_where_values_are_normal() -> None:
    """A million-th of normal values: skewness 0, so mean and 4.75 deviations, with the errors of 1000 values."""
    values = np.random.default_rng(0).normal(3, 2, 1000)
    assert upper_quantile(values, 1e-6) == pytest.approx(3 + 2 * 4.753, rel=0.12)


@pytest.mark.statistical
def test_true_classes_pass_and_a_wrong_one_fails() -> None:
    """40 worlds of three classes whose samples are true: each fails once in 23 * 100 evaluations."""
    found = [records(cells(SIZES, 2 * i), cells(SIZES, 2 * i + 1)) for i in range(40)]
    assert all(record.passed for each in found for record in each)
    wrong = RATES.copy()
    wrong[2, :30] = RATES[0, :30]  # the rare class is partly like the first one
    bad = records(cells(SIZES, 90, wrong), cells(SIZES, 91))
    assert [record.passed for record in bad] == [True, True, False]


def test_a_class_of_few_rows_cannot_fail_and_has_an_interval() -> None:
    """Of 4 and 3 rows there are 35 divisions: none can be as unlikely as 1 in 6900."""
    wrong = RATES.copy()
    wrong[2] = RATES[0]
    few = records(cells((50, 50, 4), 1, wrong), cells((50, 50, 3), 2))[2]
    assert few.energy is not None and few.limit is None and few.passed is None
    assert records(cells((50, 50, 4), 1), cells((50, 50, 4), 2))[2].interval is not None
    assert records(cells((50, 50, 0), 1), cells((50, 50, 4), 2))[2].energy is None


@pytest.mark.statistical
def test_rare_fakes_fail_the_evaluation_that_all_rows_together_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """12 of 262 samples are of another law. The other gates are those of all rows."""
    monkeypatch.setattr(metrics, "JUDGES", ())
    wrong = RATES.copy()
    wrong[2] = RATES[2][::-1]
    train, heldout = cells(SIZES, 20), cells(SIZES, 21)
    good, bad = (
        evaluate_rows(cells(SIZES, 22, rates), train, heldout, splits=6, replicates=20, classes=("a", "b", "rare"))
        for rates in (RATES, wrong)
    )
    assert good["class-energy"].passed and all(record.passed for record in good.by_class)
    assert bad["class-energy"].passed is False
    assert [record.name for record in bad.by_class if record.passed is False] == ["rare"]
    assert [record.name for record in bad.by_class] == ["a", "b", "rare"]
    assert bad["energy"].passed  # all rows together look right
    assert good.by_class[2].recognised is not None and good.by_class[2].recognised > bad.by_class[2].recognised
    said = gates_table(bad)
    row = next(line for line in said.splitlines() if line.strip().startswith("rare"))
    assert row.split()[1:3] == ["12", "24"] and "FAIL" in row
    assert type(bad).from_dict(bad.to_dict()) == bad


def test_classifiers_see_at_most_300_000_numbers() -> None:
    assert judged_size(343, 765) == (343, 765)
    assert judged_size(1000, 20) == (1000, 20)
    assert judged_size(1000, 5000) == (500, 600)
    assert judged_size(400, 5000) == (400, 750)
