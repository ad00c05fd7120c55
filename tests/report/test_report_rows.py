"""Reports about data that are no pictures: a table's run with an invented evaluation."""

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest
from fake_run import fake_run
from page_reader import PageReader

from gendi.cli.metrics_table import metrics_table
from gendi.evaluate.class_records import ClassRecord
from gendi.evaluate.result import Evaluation, Metric, PortraitRecord
from gendi.report import write_report
from gendi.report.portrait import flat_map

pytest.importorskip("pandas")


def numbers(n: int, seed: int) -> tuple[float, ...]:
    return tuple(np.random.default_rng(seed).random(n).tolist())


def measured(counts: bool = True) -> Evaluation:
    columns = [numbers(20, k) for k in range(8)]
    if not counts:
        columns[4:6] = [(), ()]
    fakes = {"class-means": 0.9, "copies": 0.01}
    return Evaluation(
        n=60,
        seed=0,
        data="people",
        fingerprint="f" * 64,
        reference_split="heldout",
        reference_n=60,
        floor_split="real",
        floor_n=60,
        extractors=(),
        metrics=(
            Metric("energy", 0.31, 0.02, "lower", interval=(0.2, 0.4), controls=fakes, score=0.67, gate=(None, 0.25)),
            Metric(
                "fold-change-slope",
                1.02,
                0.98,
                "closest",
                ideal=1.0,
                interval=(0.9, 1.1),
                controls={"class-means": 1.5},
                score=0.9,
                gate=(0.8, 1.2),
            ),
            Metric("tstr", None, None, "higher"),
        ),
        portrait=PortraitRecord(3, numbers(180, 9), numbers(150, 10), *columns),
        notes=("n <b>is</b> small.",),
    )


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small figures, and no umap-learn, which takes half a minute to compile."""
    monkeypatch.setitem(sys.modules, "umap", None)
    monkeypatch.setattr("gendi.report.style.DPI", 40)


@pytest.fixture
def table(tmp_path: Path) -> str:
    rng = np.random.default_rng(0)
    lines = [f"{a:.3f},{b:.3f},{'xy'[k]}" for a, b, k in zip(*rng.normal(size=(2, 80)), rng.integers(0, 2, 80))]
    (tmp_path / "people.csv").write_text("\n".join(["height,weight,kind", *lines]) + "\n")
    return str(tmp_path / "people.csv")


def page(tmp_path: Path, table: str, evaluation: Evaluation | None) -> PageReader:
    run = fake_run(tmp_path / "run", spec=table, measured=evaluation, bundle=False, draw=False)
    return PageReader(write_report(run).read_text(encoding="utf-8"))


def test_the_page_has_the_rows_sections_and_none_of_the_pictures(tmp_path: Path, table: str) -> None:
    found = page(tmp_path, table, measured())
    assert [i for i in found.ids if i in ("portrait", "metrics", "training", "density", "details")] == [
        "portrait",
        "metrics",
        "training",
        "density",
        "details",
    ]
    assert not {"samples", "forward", "reverse", "classes", "neighbours"} & set(found.ids)
    drawn = {path.name for path in (tmp_path / "run" / "pictures").iterdir()}
    wanted = {f"portrait-{name}.png" for name in ("map", "variance", "zeros", "correlation")}
    assert wanted <= drawn and not any(name.endswith(".gif") for name in drawn)


def test_values_gates_controls_and_verdicts_are_said(tmp_path: Path, table: str) -> None:
    words = " ".join(" ".join(page(tmp_path, table, measured()).words).split())
    for text in (
        "Energy distance ↓ lower is better",
        "0.31 0.2 to 0.4 0.02 FAIL ≤ 0.25 0.9 class-means",
        "→ 1 is best",
        "1.020 0.900 to 1.100 0.980 pass 0.800 to 1.200 1.500 class-means",
        "1 of 2 gates passed (failed: Energy distance)",
        "class-means: caught by 2 gates; copies: not caught",
        "n <b>is</b> small.",
        "60 held-out rows of people",
    ):
        assert text in words, text


def test_each_class_has_a_line_and_the_worst_comes_first(tmp_path: Path, table: str) -> None:
    records = (
        ClassRecord("a <i>", 40, 80, 0.011, (0.001, 0.021), 0.05, 0.9, (0.8, 0.95)),
        ClassRecord("b", 2, 3, 0.4, None, None),
        ClassRecord("c", 1200, 30, 0.3, (0.2, 0.4), 0.06, 0.25, (0.1, 0.4)),
    )
    found = page(tmp_path, table, dataclasses.replace(measured(), by_class=records))
    worst = "c 1,200 30 0.3 0.2 to 0.4 FAIL ≤ 0.06 25 % 10 % to 40 %"
    good = "a <i> 40 80 0.011 0.001 to 0.021 pass ≤ 0.05 90 % 80 % to 95 %"
    few = "b 2 3 0.4 too few rows — —"
    assert f"{worst} {good} {few}" in found.text
    assert "1 of 2 classes with enough rows fails. 1 class has too few rows for a verdict." in found.text


def test_without_counts_there_is_no_picture_of_zeros(tmp_path: Path, table: str) -> None:
    page(tmp_path, table, measured(counts=False))
    assert not (tmp_path / "run" / "pictures" / "portrait-zeros.png").exists()
    assert (tmp_path / "run" / "pictures" / "portrait-correlation.png").exists()


def test_an_unmeasured_run_says_what_to_do(tmp_path: Path, table: str) -> None:
    words = " ".join(page(tmp_path, table, None).words)
    folder = tmp_path / "run"
    assert words.count("This run has no metrics yet") == 2 and "`" not in words
    advised = words.count(f"This makes them: gendi evaluate {folder}, then gendi report {folder}.")
    assert advised == (2 if (folder / "bundle").is_dir() else 0)  # without a model the commands would fail


def test_the_map_without_umap_is_the_first_two_components() -> None:
    record = measured().portrait
    assert record is not None
    how, real, fake = flat_map(record)
    assert how == "PCA"
    np.testing.assert_array_equal(real, np.reshape(record.real, (60, 3))[:, :2])
    np.testing.assert_array_equal(fake, np.reshape(record.fake, (50, 3))[:, :2])
    line = dataclasses.replace(record, dimensions=1)
    assert flat_map(line)[1].shape == (180, 2)


def test_the_table_of_the_command_line_says_the_same() -> None:
    text = metrics_table(measured())
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "energy 0.31 0.2 to 0.4 0.02 - <= 0.25 0.9 class-means 0.67 FAIL" in lines
    assert "fold-change-slope 1.02 0.9 to 1.1 0.98 - 0.8 to 1.2 1.5 class-means 0.9 pass" in lines
    assert "1 of 2 gates passed; failed: energy" in lines
    assert "control class-means: caught by 2 of them, energy, fold-change-slope" in lines
    assert "control copies: MISSED" in lines
