"""Columns that somebody may want to predict: which they are, and how well samples teach them."""

import numpy as np
import pytest

from gendi.evaluate.vectors import RowSet, Standardised, evaluate_rows, metrics
from gendi.evaluate.vectors.targets import Target, likely

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
    assert any("No column of words or truth values can be predicted" in note for note in found.notes)
