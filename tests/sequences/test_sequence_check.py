"""`gendi data check` of sequences, the bits per letter of an evaluation, and the report's section on sequences."""

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest

from gendi.cli import main
from gendi.data import check_data, open_data
from gendi.data.sequences.check import letter_entropy
from gendi.data.sequences.evaluate import evaluate
from gendi.errors import UsageError
from gendi.evaluate.result import Estimate, Evaluation
from gendi.report.letters import lengths_figure, letter_shares, shares_figure


def write(path: Path, lines: list[str]) -> str:
    path.write_text("".join(f">s{i} group={'xy'[i % 2]}\n{line}\n" for i, line in enumerate(lines)))
    return str(path)


@pytest.fixture
def few(tmp_path: Path) -> str:
    """Twenty sequences, of which "ACGT" is there fifteen times and "AAAA" once; a twenty-first cannot be read."""
    lines = ["ACGT"] * 15 + ["AAAA", "AC", "GGCAT", "TTACG", "CATG", "AXG!"]
    return write(tmp_path / "few.fasta", lines) + "?alphabet=dna"


def test_the_report_counts_what_is_there(few: str) -> None:
    report = check_data(few, max_bad=1)
    data = open_data(few, max_bad=1)
    texts = [data.fitted.text(row) for row in data.train.batch(range(len(data.train)))]
    assert report.train == len(texts) and report.train + report.heldout == 20
    assert report.lengths == (min(map(len, texts)), int(np.median([len(t) for t in texts])), max(map(len, texts)))
    every = "".join(texts)
    assert report.letters == {
        letter: every.count(letter) for letter in sorted(set(every), key=lambda x: -every.count(x))
    }
    assert report.most_frequent == ("ACGT", texts.count("ACGT"))
    assert report.duplicates == len(texts) - len(set(texts))
    assert report.one_letter == texts.count("AAAA")
    assert len(report.skipped) == 1 and "X" in report.skipped[0][1]
    assert [spec.name for spec in report.conditions] == ["group"]
    assert json.loads(json.dumps(report.to_dict()))["longest"] == 5


def test_bits_by_frequencies_are_those_of_an_ideal_code() -> None:
    assert letter_entropy(np.array([4, 4, 4, 4])) == 2
    assert letter_entropy(np.array([8, 0])) == 0 and letter_entropy(np.array([0, 0])) == 0
    law = np.array([10, 30, 20]) / 60
    ideal = -(10 * math.log2(law[0]) + 30 * math.log2(law[1]) + 20 * math.log2(law[2])) / 40
    assert letter_entropy(np.array([10, 30]), ends=20) == pytest.approx(ideal)


def test_the_command_prints_the_report_and_refuses_what_sequences_have_not(
    few: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "check", few, "--max-bad", "1"]) == 0
    said = capsys.readouterr().out
    assert "'ACGT'" in said and "bits per letter by frequencies" in said and "group" in said
    assert main(["data", "check", few, "--max-bad", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["most_frequent"][0] == "ACGT"
    assert main(["data", "check", few, "--size", "8"]) == 2
    assert "--size is for pictures" in capsys.readouterr().err
    with pytest.raises(UsageError, match="There is no check of"):
        check_data("toy:moons")


def test_an_evaluation_with_bits_says_what_frequencies_alone_would_need(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    lines = ["".join(rng.choice(list("ACGT"), p=[0.5, 0.25, 0.125, 0.125], size=8)) for _ in range(300)]
    data = open_data(write(tmp_path / "seqs.fasta", lines))
    options = {"n": 40, "splits": 3, "replicates": 2}
    found = evaluate(np.array(lines[:60]), data, bits=Estimate(1.5, 0.1, (1.3, 1.7)), **options)
    metric = found["bits-per-letter"]
    assert (metric.value, metric.interval, metric.floor, metric.passed) == (1.5, (1.3, 1.7), None, None)
    rows = data.train.batch(range(len(data.train)))
    counts = np.bincount(rows[rows < 4].ravel(), minlength=4)
    entropy = -(counts * np.log2(counts / counts.sum())).sum() / counts.sum()
    assert any(f"of the letters needs {entropy:.3f}" in note for note in found.notes)
    assert "bits-per-letter" not in {name for gates in found.caught().values() for name in gates}
    plain = evaluate(np.array(lines[:60]), data, **options)
    assert [m.value for m in plain.metrics] == [m.value for m in found.metrics[:-1]]
    assert Evaluation.from_dict(json.loads(json.dumps(found.to_dict()))) == dataclasses.replace(found)


def test_the_shares_of_letters_are_counted_in_both_sets_and_drawn(tmp_path: Path) -> None:
    codec = open_data(write(tmp_path / "seqs.fasta", ["ACGT", "AC", "GG", "TTA"] * 5)).fitted
    names, shares = letter_shares(codec, ["AAC", "G"], ["TT", "TA"])
    assert dict(zip(names, shares.T.tolist(), strict=True)) == {
        "A": [0.5, 0.25],
        "C": [0.25, 0.0],
        "G": [0.25, 0.0],
        "T": [0.0, 0.75],
    }
    assert len(shares_figure(names, shares[0], shares[1]).axes[0].patches) == 8
    steps = lengths_figure([3, 1], [2, 2]).axes[0].patches
    assert [list(step.get_data().values) for step in steps] == [[0.5, 0, 0.5], [0, 1, 0]]
