"""Columns that somebody may want to predict: which they are, and how well samples teach them."""

import numpy as np
import pytest

from gendi.evaluate.vectors import RowSet, Standardised, evaluate_rows, metrics
from gendi.evaluate.vectors.space import Part
from gendi.evaluate.vectors.targets import Target, explained, likely

WORDS = Target("word", slice(2, 5), 5)
COIN, RARE, SIGN = Target("coin", slice(6, 7)), Target("rare", slice(7, 8)), Target("sign", slice(8, 9))


def table(n: int, seed: int, noise: float = 0.0) -> RowSet:
    """x, y; a word of three that follows x (and its gap); a coin; a truth value hardly ever true; the sign of y.

    The share `noise` of words is random.
    """
    rng = np.random.default_rng([11, seed])
    x, y = rng.normal(size=(2, n))
    word = np.clip(np.floor(x * 1.5 + 1.5), 0, 2).astype(int)
    word = np.where(rng.random(n) < noise, rng.integers(0, 3, n), word)
    gap = rng.random(n) < 0.1
    codes = np.eye(3)[word] * ~gap[:, None]
    rare = np.zeros(n)
    rare[:3] = 1
    return RowSet(np.column_stack([x, y, codes, gap, rng.random(n) < 0.5, rare, y + 0.3 * rng.normal(size=n) > 0]))


def test_labels_are_words_and_missing_cells_have_none() -> None:
    rows = np.array([[0, 0, 0, 1, 0, 0, 1, 0, 0], [0, 0, 0, 0, 0, 1, 0, 0, 1.0]])
    assert WORDS.labels(rows).tolist() == [1, -1] and COIN.labels(rows).tolist() == [1, 0]
    assert WORDS.others(rows).shape == (2, 5) and SIGN.others(rows).shape == (2, 8)


def test_likely_targets_are_those_that_real_rows_predict() -> None:
    train, heldout = table(400, 0), table(400, 1)
    found = likely([COIN, WORDS, RARE, SIGN], train, heldout, Standardised.fit(train.rows))
    assert [target.name for target in found] == ["word", "sign"] or [t.name for t in found] == ["sign", "word"]


@pytest.mark.statistical
def test_samples_that_have_lost_a_target_fail_its_gate(monkeypatch: pytest.MonkeyPatch) -> None:
    """Words that follow nothing teach nothing, so their balanced accuracy is about 1 / 3, or less if by chance they
    teach the wrong words. Words that are true teach as much as real rows do."""
    monkeypatch.setattr(metrics, "JUDGES", ())
    train, heldout = table(400, 0), table(400, 1)
    how = {"space": Standardised.fit, "targets": [COIN, WORDS, SIGN], "splits": 16, "replicates": 10}
    good, bad = (evaluate_rows(table(266, 2, noise), train, heldout, **how) for noise in (0.0, 1.0))
    assert {m.name for m in good.metrics if m.name.startswith("tstr:")} == {"tstr:word", "tstr:sign"}
    assert good["tstr:word"].passed and good["tstr:word"].floor > 0.7 and good["tstr:word"].interval is not None
    assert bad["tstr:word"].passed is False and bad["tstr:word"].value < 0.5
    assert bad["tstr:sign"].passed
    assert type(bad).from_dict(bad.to_dict()) == bad


def test_it_is_said_where_nothing_can_be_predicted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "JUDGES", ())
    parts = [table(90, seed) for seed in range(3)]
    found = evaluate_rows(*parts, space=Standardised.fit, targets=[COIN], splits=3, replicates=4)
    assert not any(m.name.startswith("tstr:") for m in found.metrics)
    assert any("No column can be predicted" in note for note in found.notes)


LINE = Target("line", slice(3, 4), 4, number=True)


def numbers(n: int, seed: int, signal: float = 2.0) -> RowSet:
    """a, b, c; signal * a + noise of variance 1, and its gap, in which stands a wild number."""
    rng = np.random.default_rng([12, seed])
    a, b, c, noise = rng.normal(size=(4, n))
    gap = rng.random(n) < 0.1
    return RowSet(np.column_stack([a, b, c, np.where(gap, 100.0, signal * a + noise), gap]))


def part(rows: RowSet) -> Part:
    return Part(rows.rows, rows.rows, np.zeros((len(rows), 0)), np.zeros(len(rows), "V16"), None)


def test_the_variance_explained_is_that_of_the_law() -> None:
    """Of the variance 4 + 1, the best prediction explains 0.8. A forest of 1000 rows explains a little less, and R^2 of
    900 rows has a standard error of 2 sqrt(0.8) 0.2 / sqrt(900) = 0.012 [Olkin and Finn 1995]. Samples whose column
    follows nothing, or runs the other way, explain nothing; the wild numbers of gaps are not seen."""
    y = part(numbers(1000, 1))
    good, none, wrong = (
        explained(LINE, part(numbers(1000, seed, signal)), y) for seed, signal in ((2, 2), (3, 0), (4, -2))
    )
    assert good is not None and none is not None and wrong is not None
    assert 0.70 < good < 0.8 + 4 * 0.012
    assert none < 0.05 and wrong < -1
    assert explained(LINE, part(numbers(1, 2)), y) is None
    level = numbers(100, 5).rows.copy()
    level[:, 3:] = 0
    assert explained(LINE, part(numbers(100, 2)), part(RowSet(level))) is None


@pytest.mark.statistical
def test_numbers_that_samples_have_lost_fail_their_gate(monkeypatch: pytest.MonkeyPatch) -> None:
    """`b` follows nothing, so real rows do not predict it and it is no target."""
    monkeypatch.setattr(metrics, "JUDGES", ())
    train, heldout = numbers(300, 0), numbers(300, 1)
    free = Target("b", slice(1, 2), number=True)
    how = {"space": Standardised.fit, "targets": [free, LINE], "splits": 8, "replicates": 4}
    good, bad = (evaluate_rows(numbers(200, 2, signal), train, heldout, **how) for signal in (2.0, 0.0))
    assert {m.name for m in good.metrics if ":" in m.name} == {"r2:line"}
    assert good["r2:line"].passed and good["r2:line"].interval is not None and 0.6 < good["r2:line"].floor < 0.8
    assert bad["r2:line"].passed is False and bad["r2:line"].value < 0.1
