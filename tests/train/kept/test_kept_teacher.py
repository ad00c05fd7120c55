"""What a student's run keeps of its teacher, and that a report shows both from the same noise."""

import base64
import dataclasses
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import gendi
from gendi.api.guidance import Guidance
from gendi.api.request import read_request
from gendi.api.teacher import CALLS, KEPT, SAMPLER
from gendi.data.images.sample_files import read_samples
from gendi.diffusion.config import ConditionConfig
from gendi.diffusion.gaussian.config import SampleConfig
from gendi.errors import DataError
from gendi.evaluate import Evaluation
from gendi.evaluate.result import ExtractorRecord, Metric
from gendi.report import write_report
from gendi.report.teacher import student_rows, teacher_row
from gendi.train.budget import Budget
from gendi.train.config import RunConfig
from gendi.train.kept.bundle import load_bundle
from gendi.train.run.loop import train


@pytest.fixture
def teacher(tmp_path: Path, images: str, tiny: RunConfig) -> Path:
    own = (ConditionConfig("class", dropout=0.3),)
    config = dataclasses.replace(tiny, conditions=own, sample=SampleConfig(guidance=2.0))
    train(images, config, tmp_path / "teacher", Budget(steps=3))
    return tmp_path / "teacher"


def evaluated(run: Path, fid: float, error: float, n: int = 40, weights: str | None = None) -> None:
    """Write an evaluation of a run, of its own weights unless others are named."""
    found = Evaluation(
        n=n,
        seed=0,
        data="images",
        fingerprint="f" * 64,
        reference_split="train",
        reference_n=n,
        floor_split="heldout",
        floor_n=n,
        extractors=(ExtractorRecord("pixels", "ab" * 32, "none", 96),),
        metrics=(Metric("fid-pixels", fid, 1.0, "lower", None, "pixels", error),),
        source={"weights": weights or load_bundle(run).sha256, "steps": 20},
    )
    (run / "evaluation.json").write_text(json.dumps(found.to_dict()))


def test_samples_of_the_teacher_are_kept_and_stay(teacher: Path) -> None:
    run = teacher.with_name("teacher-student")
    gendi.distil(teacher, steps=1, quiet=True)
    kept = read_samples(run / "teacher.npz")
    drawn = gendi.sample(teacher, n=KEPT, steps=CALLS, sampler=SAMPLER, seed=0, guidance=2.0)
    assert np.array_equal(kept, drawn)
    request = read_request(run / "teacher.npz")
    assert (request.run, request.guidance) == (str(teacher), Guidance(2.0))
    before = (run / "teacher.npz").stat().st_mtime_ns
    gendi.distil(teacher, steps=2, quiet=True)
    assert (run / "teacher.npz").stat().st_mtime_ns == before
    gendi.distil(teacher, steps=1, guidance=1.0, fresh=True, quiet=True)  # another student has another teacher's row
    assert read_request(run / "teacher.npz").guidance is None


def test_only_an_evaluation_of_its_weights_is_kept(teacher: Path, tmp_path: Path) -> None:
    evaluated(teacher, 5.0, 0.1, weights="0" * 64)
    gendi.distil(teacher, out=tmp_path / "a", steps=1, quiet=True)
    assert not (tmp_path / "a" / "teacher.json").exists()
    evaluated(teacher, 5.0, 0.1)
    gendi.distil(teacher, out=tmp_path / "b", steps=1, quiet=True)
    kept = Evaluation.from_dict(json.loads((tmp_path / "b" / "teacher.json").read_text()))
    assert kept == Evaluation.from_dict(json.loads((teacher / "evaluation.json").read_text()))


def test_a_strangers_file_in_its_place_stops_nothing(teacher: Path, tmp_path: Path) -> None:
    run = tmp_path / "s"
    gendi.distil(teacher, out=run, steps=1, quiet=True)
    (run / "teacher.npz").unlink()
    (run / "teacher.json").write_text("mine")
    evaluated(teacher, 5.0, 0.1)
    assert gendi.distil(teacher, out=run, steps=2, quiet=True).meta["step"] == 2
    assert (run / "teacher.json").read_text() == "mine" and (run / "teacher.npz").is_file()


def test_the_rows_of_a_student(teacher: Path, tmp_path: Path) -> None:
    student = gendi.distil(teacher, out=tmp_path / "s", method="ect", calls=3, steps=1, quiet=True)
    rows = student_rows(student, 4, seed=5)
    assert [name for name, _ in rows] == ["student, 1 call", "student, 2 calls", "student, 3 calls", "student, 4 calls"]
    for calls, (_, images) in zip((1, 2, 3, 4), rows, strict=True):
        assert np.array_equal(images, gendi.sample(student, n=4, steps=calls, seed=5))
    halved = gendi.distil(teacher, out=tmp_path / "h", method="progressive", calls=2, steps=1, quiet=True)
    assert [name for name, _ in student_rows(halved, 2)] == ["student, 2 calls"]  # it knows no other steps


def test_the_report_shows_both_from_the_same_noise(teacher: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gendi.report.style.DPI", 40)
    run = teacher.with_name("teacher-student")
    gendi.distil(teacher, method="ect", steps=1, quiet=True)
    evaluated(teacher, 5.0, 0.1)
    evaluated(run, 9.0, 0.1)
    page = write_report(run).read_text()
    section = page.partition('<section id="teacher">')[2].partition("</section>")[0]
    shown = re.findall(r'<span>([^<]*)</span><img class="tiles" src="data:image/png;base64,([^"]+)"', section)
    names = ["teacher, 20 calls", "student, 1 call", "student, 2 calls", "student, 4 calls"]
    assert [name for name, _ in shown] == names
    expected = [read_samples(run / "teacher.npz"), *(gendi.sample(run, n=KEPT, steps=k) for k in (1, 2, 4))]
    for (_, data), images in zip(shown, expected, strict=True):
        tile = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))
        enlarged = (tile.shape[0]) // images.shape[1]
        assert np.array_equal(tile[::enlarged, : images.shape[2] * enlarged : enlarged, :3], images[0])
    assert re.findall(r'class="number">([^<]*)</td>', section) == ["5.00", "9.00", "1.00", "teacher"]
    assert "gendi distil" in page.partition('<section id="reproduce">')[2]


def test_figures_on_other_scales_are_not_set_side_by_side(teacher: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gendi.report.style.DPI", 40)
    run = teacher.with_name("teacher-student")
    gendi.distil(teacher, steps=1, quiet=True)
    assert "Neither was evaluated" in write_report(run).read_text()
    evaluated(run, 9.0, 0.1)
    assert "The teacher was not evaluated" in write_report(run).read_text()
    evaluated(teacher, 5.0, 0.1, n=30)
    assert "not on the same scale" in write_report(run).read_text()
    (run / "teacher.npz").write_bytes(b"PK damaged")
    assert "could not be read" in write_report(run).read_text()
    with pytest.raises(DataError):
        teacher_row(run)
    (run / "teacher.npz").unlink()
    assert "were not kept" in write_report(run).read_text()


def test_a_model_that_is_no_student_has_no_such_section(teacher: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gendi.report.style.DPI", 40)
    assert '<section id="teacher">' not in write_report(teacher).read_text()
