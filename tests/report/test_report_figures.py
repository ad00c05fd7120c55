"""`gendi report RUN --figures`: the GENDI report's figures and table for any run of pictures."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from fake_run import TINY, evaluation, fake_run
from PIL import Image

from gendi.cli import main
from gendi.data import open_data
from gendi.report.figures import first_component, write_figures

NAMES = [*(f"figure-{i}.png" for i in ("1", "2", "3a", "3b", "4", "5", "6", "7")), "table.md"]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gendi.report.style.DPI", 40)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    classes = {"names": ["disc", "bar"], "histogram": [37, 43], "frequencies": [60, 60]}
    measured = evaluation(data="mnist", n=80, extractors=["digits", "inception"], **classes)
    return fake_run(tmp_path / "run", measured=measured)


def test_all_figures_and_the_table_are_written(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "figures"
    for _ in range(2):  # the second time in the place of the first
        assert main(["report", str(run), "--figures", str(out), "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert [Path(path).name for path in found["figures"]] == NAMES and found["missing"] == []
    for name in NAMES[:-1]:
        with Image.open(io.BytesIO((out / name).read_bytes())) as picture:
            assert min(picture.size) >= 12
    assert not (run / "report.html").exists()


def test_the_table_has_ours_beside_real_pictures_and_the_report(run: Path, tmp_path: Path) -> None:
    write_figures(run, tmp_path / "figures")
    head, _, fid, confidence = (tmp_path / "figures" / "table.md").read_text().splitlines()
    assert head == "| metric | this run, 80 samples | real pictures | the GENDI report, 1,000 samples |"
    assert fid == "| FID, Inception features | 19.61 | 13.24 | 22.58 |"  # 22.58 and 93.05% are the report's
    assert confidence == "| confidence of the classifier | 98.42% | 99.61% | 93.05% |"


def test_what_a_run_has_not_got_is_left_out_and_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = fake_run(tmp_path / "run", draw=False)
    assert main(["report", str(run), "--figures", str(tmp_path / "figures")]) == 0
    shown = capsys.readouterr()
    assert [Path(line).name for line in shown.out.splitlines()] == NAMES[:6]
    assert "figure-7.png is left out" in shown.err and "gendi evaluate" in shown.err


def test_a_folder_of_somebody_else_is_left_as_it_is(run: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "figure-1.png").write_bytes(b"mine")
    assert main(["report", str(run), "--figures", str(tmp_path / "mine")]) == 2
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["figure-1.png"]


def test_the_first_component_is_the_direction_that_was_planted(tmp_path: Path) -> None:
    """Pictures of one pattern in many strengths: along their first component they are these strengths."""
    rng = np.random.default_rng(0)
    strength = rng.integers(20, 200, 60)
    images = np.zeros((60, 12, 12, 1), np.uint8)
    images[:, 3:9, 4:8, 0] = strength[:, None, None]
    np.savez(tmp_path / "planted.npz", images=images)
    data = open_data(str(tmp_path / "planted.npz"))
    known = np.asarray(data.train.batch(range(len(data.train))))[:, 5, 5, 0].astype(float)
    found = first_component(data)
    assert found.std() == pytest.approx(1)
    assert abs(np.corrcoef(found, known)[0, 1]) == pytest.approx(1, abs=1e-9)


def test_rows_of_a_table_have_no_such_figures(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    lines = ["height,weight", *(f"{a:.3f},{b:.3f}" for a, b in rng.normal(size=(80, 2)))]
    (tmp_path / "people.csv").write_text("\n".join(lines) + "\n")
    run = fake_run(tmp_path / "run", spec=str(tmp_path / "people.csv"), config=TINY, bundle=False, draw=False)
    assert main(["report", str(run), "--figures", str(tmp_path / "figures")]) == 2
