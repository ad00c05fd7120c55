"""The whole evaluation of rows: real rows pass every gate, every control is caught, and bad input is told off."""

import dataclasses
import json
from collections.abc import Iterator

import numpy as np
import pytest
from scipy.stats import t as student

from gendi.errors import DataError, PreemptedError, UsageError
from gendi.evaluate.comparison import compare
from gendi.evaluate.result import Evaluation, Metric
from gendi.evaluate.vectors import (
    LogCounts,
    RowSet,
    Standardised,
    compute_row_metrics,
    evaluate_rows,
    floors,
    metrics,
)
from gendi.evaluate.vectors.controls import copy_rows
from gendi.evaluate.vectors.metrics import About


def preempt() -> None:
    raise PreemptedError("stopped")


def cells(n: int, seed: int, genes: int = 60) -> RowSet:
    """Counts of three classes: a gamma-Poisson world with depths, class effects and programmes shared by genes."""
    world, rng = np.random.default_rng(0), np.random.default_rng([1, seed])
    base, effects = world.normal(-0.5, 1, genes), world.normal(0, 1, (3, genes)) * (world.random((3, genes)) < 0.4)
    programmes = world.normal(0, 0.5, (3, genes))
    labels = (np.arange(n) % 3).astype(np.int64)
    rate = np.exp(base + effects[labels] + rng.normal(size=(n, 3)) @ programmes) * rng.lognormal(0, 0.3, (n, 1))
    return RowSet(rng.poisson(rng.gamma(5, rate / 5)).astype(np.int32), labels)


@pytest.fixture(scope="module", autouse=True)
def few_trees() -> Iterator[None]:
    """A forest of 12 trees in 3 folds judges well enough here, in a fifth of a second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gendi.evaluate.vectors.two_sample.TREES", 12)
        patch.setattr("gendi.evaluate.vectors.two_sample.FOLDS", 3)
        yield


@pytest.fixture
def no_forest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the slowest metric where it is not what the test is about."""
    monkeypatch.setattr(metrics, "JUDGES", metrics.JUDGES[1:])


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    """Fresh real rows in the samples' place."""
    return evaluate_rows(cells(240, 3), cells(240, 1), cells(240, 2), splits=12, replicates=20)


@pytest.mark.statistical
def test_real_rows_pass_and_every_control_is_caught(evaluation: Evaluation) -> None:
    # By construction of the gates real rows fail any of them in one evaluation of a hundred.
    assert [m.name for m in evaluation.metrics if m.passed is False] == []
    caught = evaluation.caught()
    assert set(caught) == {"class-means", "mixture", "shuffled", "copies"}
    assert all(caught.values()), caught
    assert set(caught["copies"]) <= {"copies", "closest-share"}
    assert "correlation-error" in caught["shuffled"] and "variance-r" in caught["class-means"]


def test_every_metric_has_what_it_is_read_by(evaluation: Evaluation) -> None:
    of_tables = ["r2"]  # what samples teach about a column of numbers
    known = [name for name in metrics.ABOUT if name not in of_tables]
    assert [m.name for m in evaluation.metrics] == [*known, "class-energy"]
    for metric in evaluation.metrics:
        assert metric.value is not None and metric.floor is not None and metric.interval is not None
        low, high = metric.interval
        assert low <= metric.value <= high, metric.name
        assert metric.gate is not None and metric.within(metric.floor), metric.name
        assert metric.better != "closest" or metric.ideal is not None
        assert metric.worst_control in metric.controls
    assert evaluation.n == evaluation.floor_n == 160  # a third of the real rows: floors need three sets of them
    assert "n = 160 rows" in evaluation.notes[0]


def test_scores_run_from_the_worst_control_to_the_floor(evaluation: Evaluation) -> None:
    for metric in evaluation.metrics:
        assert metric.value is not None and metric.floor is not None
        worst = max(metric.loss(v) for v in metric.controls.values())
        if metric.score is None:
            assert worst <= metric.loss(metric.floor)
            continue
        expected = (metric.loss(metric.value) - worst) / (metric.loss(metric.floor) - worst)
        assert metric.score == pytest.approx(expected)


def test_an_evaluation_survives_json(evaluation: Evaluation) -> None:
    again = Evaluation.from_dict(json.loads(json.dumps(evaluation.to_dict(), allow_nan=False)))
    assert again == evaluation
    assert again.caught() == evaluation.caught()


def test_evaluations_written_without_gates_are_read(evaluation: Evaluation) -> None:
    data = json.loads(json.dumps(evaluation.to_dict()))
    for entry in data["metrics"].values():
        for name in ("ideal", "interval", "controls", "score", "gate", "floor_error", "floor_interval"):
            del entry[name]
    assert Evaluation.from_dict(data)["energy"] == Metric(
        "energy",
        evaluation["energy"].value,
        evaluation["energy"].floor,
        "lower",
        standard_error=evaluation["energy"].standard_error,
    )


def test_closest_means_closest_when_two_are_compared(evaluation: Evaluation) -> None:
    def with_slope(value: float) -> Evaluation:
        slope = dataclasses.replace(evaluation["fold-change-slope"], value=value, standard_error=0.02)
        return dataclasses.replace(evaluation, metrics=(slope,))

    assert compare(with_slope(0.9), with_slope(1.3))[0].winner == "a"
    assert compare(with_slope(0.6), with_slope(1.3))[0].winner == "b"


def test_the_gate_is_a_prediction_interval() -> None:
    values, gates = [0.1, 0.3, 0.2, 0.5, 0.15], 7
    s, mean = np.std(values, ddof=1), np.mean(values)
    wide = student.ppf(1 - 0.01 / 7, 4) * s * np.sqrt(6 / 5)
    assert floors.gate(values, About("lower"), gates, 0.5) == (None, pytest.approx(mean + wide))
    assert floors.gate(values, About("higher", paired=True), gates, 0.75) == (pytest.approx(mean - 2 * wide), None)
    wide = student.ppf(1 - 0.01 / 14, 4) * s * np.sqrt(6 / 5)
    assert floors.gate(values, About("closest", 0.0), gates, 0.5) == pytest.approx((mean - wide, mean + wide))


@pytest.mark.usefixtures("no_forest")
def test_the_same_seed_measures_the_same_and_training_rows_are_known_for_copies() -> None:
    train, heldout = cells(60, 1, 20), cells(60, 2, 20)
    again = RowSet(copy_rows(train.rows, np.arange(60)), train.labels)
    a, b = (evaluate_rows(again, train, heldout, splits=3, replicates=5) for _ in range(2))
    assert a.metrics == b.metrics
    assert a["copies"].value == 1.0 and a["copies"].passed is False
    assert compute_row_metrics(again, train, heldout)["copies"] == 1.0


@pytest.mark.usefixtures("no_forest")
def test_tables_are_standardised_and_categories_shuffled_whole() -> None:
    rng = np.random.default_rng(5)

    def table(n: int) -> RowSet:
        kind = rng.integers(0, 3, n)
        return RowSet(
            np.concatenate([rng.normal(size=(n, 3)) * [1, 100, 0.01] + kind[:, None], np.eye(3)[kind]], axis=1)
        )

    blocks = [slice(0, 1), slice(1, 2), slice(2, 3), slice(3, 6)]
    found = evaluate_rows(
        table(90), table(90), table(90), space=lambda rows: Standardised.fit(rows, blocks), splits=3, replicates=5
    )
    names = {m.name for m in found.metrics}
    assert not names & {"zero-fraction", "depth", "zeros-r", "tstr", "fold-change-slope"}
    assert not names & {"mean-r", "variance-r"}  # of columns that are all standardised they mean nothing
    assert {"energy", "auc-logistic", "correlation-error", "closest-share", "copies"} <= names


def test_two_rows_are_enough_for_what_can_be_said_of_two() -> None:
    found = evaluate_rows(cells(2, 3, 20), cells(40, 1, 20), cells(40, 2, 20), splits=3, replicates=5)
    assert found.n == 2 and found["energy"].value is not None
    assert found["auc-forest"].value is None and found["auc-forest"].passed is None
    assert any("These rows do not allow some metrics: auc-forest, auc-logistic" in note for note in found.notes)


@pytest.mark.usefixtures("no_forest")
def test_one_class_a_class_without_samples_and_no_labels_are_said() -> None:
    train, heldout, fresh = cells(60, 1, 20), cells(60, 2, 20), cells(60, 3, 20)
    assert fresh.labels is not None
    one = evaluate_rows(
        *(RowSet(part.rows, np.zeros(60, np.int64)) for part in (fresh, train, heldout)), splits=3, replicates=5
    )
    assert one["tstr"].value is None and one["fold-change-slope"].value is None
    missing = evaluate_rows(fresh.take(np.flatnonzero(fresh.labels < 2)), train, heldout, splits=3, replicates=5)
    assert missing["tstr"].value is not None
    assert any("1 class of the held-out rows has no sample (2)" in note for note in missing.notes)
    silent = evaluate_rows(RowSet(fresh.rows), train, heldout, splits=3, replicates=5)
    assert "tstr" not in {m.name for m in silent.metrics}
    assert any("The samples have no labels" in note for note in silent.notes)


@pytest.mark.usefixtures("no_forest")
def test_constant_columns_and_empty_cells_are_measured() -> None:
    train, heldout, fresh = cells(60, 1, 20), cells(60, 2, 20), cells(60, 3, 20)
    for part in (train, heldout, fresh):
        part.rows[:, 3] = 0
    fresh.rows[:5] = 0
    found = compute_row_metrics(fresh, train, heldout)
    assert all(value is None or np.isfinite(value) for value in found.values())
    assert found["energy"] is not None


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"n": 1}, UsageError, "n = 1 is out of range"),
        ({"splits": 2}, UsageError, "splits = 2 is out of range"),
        ({"seed": -1}, UsageError, "seed = -1"),
        ({"samples": RowSet(np.ones((1, 5)))}, UsageError, "There are 1 samples"),
        ({"samples": RowSet(np.ones((4, 3)))}, DataError, "samples have 3 columns, the training rows 5"),
        (
            {"samples": RowSet(np.full((4, 5), np.nan))},
            DataError,
            "20 numbers that are NaN or infinite, the first in row 0",
        ),
        ({"heldout": RowSet(np.ones((1, 5)))}, DataError, "at least 2 of each and 6 in all"),
        ({"samples": RowSet(np.ones((4, 5)), np.zeros(3, np.int64))}, DataError, "4 samples with 3 labels"),
        (
            {"train": RowSet(np.ones((8, 5))), "heldout": RowSet(np.ones((8, 5)))},
            DataError,
            "real rows are the same",
        ),
    ],
)
def test_bad_input_gets_a_clear_sentence(change: dict[str, object], error: type[Exception], text: str) -> None:
    rng = np.random.default_rng(0)
    parts: dict[str, object] = {name: RowSet(rng.normal(size=(8, 5))) for name in ("samples", "train", "heldout")}
    parts |= change
    with pytest.raises(error, match=text):
        evaluate_rows(**parts)  # type: ignore[arg-type]


def test_measuring_can_be_stopped() -> None:
    with pytest.raises(PreemptedError):
        evaluate_rows(cells(40, 3, 10), cells(40, 1, 10), cells(40, 2, 10), poll=preempt)


def test_counts_go_to_logs_and_back() -> None:
    rows = cells(50, 1).rows
    space = LogCounts.fit(rows)
    x = space.forward(rows)
    depth = rows.sum(axis=1)
    assert x == pytest.approx(np.log1p(rows * np.median(depth) / depth[:, None]), rel=1e-5, abs=1e-6)
    back = space.backward(x.astype(np.float64), np.random.default_rng(0))
    assert back / back.sum(axis=1, keepdims=True) == pytest.approx(rows / depth[:, None], rel=1e-4, abs=1e-6)
    assert set(np.rint(back.sum(axis=1))) <= set(depth)


@pytest.mark.slow
@pytest.mark.statistical
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_blood_cells_pass_and_their_fakes_are_caught(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gendi.evaluate.vectors.two_sample.TREES", 60)
    monkeypatch.setattr("gendi.evaluate.vectors.two_sample.FOLDS", 5)
    sc = pytest.importorskip("scanpy")
    data = sc.datasets.pbmc68k_reduced()
    counts = np.rint(np.expm1(data.raw.X.toarray()) * data.obs["n_counts"].to_numpy()[:, None] / 1e4).astype(np.int32)
    assert int((counts > 0).sum()) == 174_400
    names = data.obs["bulk_labels"].astype(str).str.split("/").str[0].str.split(" ").str[0]
    labels = np.unique(names, return_inverse=True)[1].astype(np.int64)
    order = np.random.default_rng(seed).permutation(len(counts))
    train, heldout, other = (RowSet(counts[part], labels[part]) for part in np.array_split(order, 3))
    found = evaluate_rows(other, train, heldout, seed=seed)
    assert [m.name for m in found.metrics if m.passed is False] == []
    assert all(found.caught().values()), found.caught()
