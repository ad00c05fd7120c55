"""A second evaluation stands beside the first, in the run's folder, in `gendi runs` and on the page."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gendi.evaluate import Evaluation, Metric
from gendi.evaluate.result import ClassesRecord, ExtractorRecord
from gendi.report import write_report

Gendi = Callable[..., Any]


@pytest.fixture
def run(tiny_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_run, tmp_path / "run"))


def newest(run: Path) -> dict[str, Any]:
    return json.loads((run / "evaluation.json").read_text())


def others(run: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted((run / "evaluations").glob("*.json"))]


def test_another_number_of_samples_stands_beside(gendi: Gendi, run: Path) -> None:
    for n in (6, 8, 10):
        assert gendi(f"evaluate {run} --n {n} --steps 3").code == 0
    assert newest(run)["n"] == 10
    assert [found["n"] for found in others(run)] == [6, 8]
    first = others(run)[0]["metrics"]
    assert gendi(f"evaluate {run} --n 6 --steps 3").code == 0  # again: it is the newest now, and stands there once
    assert newest(run)["n"] == 6
    assert sorted(found["n"] for found in others(run)) == [10, 8] or sorted(f["n"] for f in others(run)) == [8, 10]
    assert newest(run)["metrics"]["fid-pixels"]["value"] == pytest.approx(first["fid-pixels"]["value"])


def test_another_sampler_stands_beside_and_runs_and_the_page_show_both(gendi: Gendi, run: Path) -> None:
    assert gendi(f"evaluate {run} --n 6 --steps 3 --sampler ddim").code == 0
    assert gendi(f"evaluate {run} --n 6 --steps 4 --sampler heun").code == 0
    (entry,) = json.loads(gendi(f"runs {run} --json").out)["runs"]
    (other,) = entry["evaluations"]
    assert (other["n"], other["sampler"], other["steps"], other["metric"]["name"]) == (6, "ddim", 3, "fid-pixels")
    assert Path(other["file"]).parent.name == "evaluations"
    shown = gendi(f"runs {run}").out
    assert "also at n = 6, ddim 3" in shown and shown.count("fid-pixels") >= 2
    page = write_report(run).read_text()
    assert "6 samples, 3 calls of ddim, seed 0" in page
    assert "--sampler ddim --steps 3" in page.replace("\\\n    ", "")


def test_a_damaged_neighbour_ends_nothing(gendi: Gendi, run: Path) -> None:
    for n in (6, 8):
        gendi(f"evaluate {run} --n {n} --steps 3")
    (path,) = (run / "evaluations").iterdir()
    for damage in ("", "[]", '{"metrics": {"fid": 3}}', '{"metrics": {"fid": {"value": "x"}}}'):
        path.write_text(damage)
        assert gendi(f"runs {run}").code == 0
        assert gendi(f"report {run}").code == 0
    assert gendi(f"evaluate {run} --n 10 --steps 3").code == 0


def test_files_of_others_are_not_written_over(gendi: Gendi, run: Path) -> None:
    assert gendi(f"evaluate {run} --n 6 --steps 3").code == 0
    (run / "evaluations").write_text("notes of mine")
    outcome = gendi(f"evaluate {run} --n 8 --steps 3")
    assert outcome.code in (2, 5)
    assert (run / "evaluations").read_text() == "notes of mine"
    assert newest(run)["n"] == 6


def test_a_fresh_start_deletes_them(gendi: Gendi, run: Path, tiny_data: Path) -> None:
    from tiny import TINY

    for n in (6, 8):
        gendi(f"evaluate {run} --n {n} --steps 3")
    assert gendi("train", str(tiny_data), *TINY, "--steps", "2", "--fresh", "--out", str(run)).code == 0
    assert not (run / "evaluations").exists() and not (run / "evaluation.json").exists()


def test_what_a_classifier_saw_stays_when_another_extractor_measures_the_same_samples() -> None:
    from gendi.cli.evaluation_file import join

    def found(extractor: str, *metrics: Metric, classes: ClassesRecord | None = None) -> Evaluation:
        records = (ExtractorRecord(extractor, "0" * 64, "none", 4),)
        return Evaluation(9, 0, "d", "f", "train", 9, "heldout", 9, records, metrics, classes)

    record = ClassesRecord(("a", "b"), (5, 4), None, (0.5, 0.5), 0.69, "c" * 64)
    seen = Metric("asked-seen", 0.9, 0.9, "higher", extractor="classes")
    learned = Metric("fid-learned", 1.0, 1.0, "lower", extractor="learned")
    colour, again = Metric("mean-red", 1.0, 1.0, "closest"), Metric("mean-red", 2.0, 1.0, "closest")
    pixels = Metric("fid-pixels", 1.0, 1.0, "lower", extractor="pixels")
    whole = join(found("learned", learned, seen, colour, classes=record), found("pixels", pixels, again))
    assert whole.metrics == (learned, seen, pixels, again) and whole.classes == record
