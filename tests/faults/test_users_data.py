"""A user's data deleted: gendi removes and replaces what it wrote itself, and nothing else, wherever it is pointed."""

import hashlib
import json
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from victims import FLAGS

from gendi.cli import main
from gendi.errors import UsageError
from gendi.storage.record import RECORD, RunRecord, adopted
from gendi.train.kept.checkpoint import list_checkpoints

OLD = Path(__file__).parents[1] / "persistence" / "version_0_1.tar.gz"
RUN_NAMES = ("pictures", "samples", "codec", "previews", "checkpoints", "bundle", "ema")
"""The folders that `--fresh` of 0.1.0 deleted whoever made them."""


def draw(folder: Path, n: int = 6) -> None:
    """Write n small pictures of a user's."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(len(folder.name))
    for i in range(n):
        Image.fromarray(rng.integers(0, 256, (6, 6), dtype=np.uint8)).save(folder / f"mine{i}.png")


def content(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file below a folder."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def gendi(*words: object) -> int:
    return main([str(word) for word in words])


def trained(data: object, out: object, *more: object, steps: int = 2) -> int:
    return gendi("train", data, *FLAGS, "--steps", steps, "--out", out, *more)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of a user's, entered, with pictures in it."""
    draw(tmp_path / "pictures")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("more", [(), ("--fresh",)])
@pytest.mark.parametrize("out", [".", "pictures", "pictures/run", "../{name}"])
def test_a_run_that_holds_or_lies_in_the_data_is_refused(
    here: Path, out: str, more: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    before = content(here)
    assert trained("pictures", out.format(name=here.name), *more) == 2
    assert "results and data are kept apart" in capsys.readouterr().err
    assert content(here) == before


@pytest.mark.parametrize("name", RUN_NAMES)
def test_a_run_that_starts_in_a_folder_of_the_user_s_is_refused(
    here: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    draw(here / "album" / name)
    before = content(here)
    for more in ((), ("--fresh",)):
        assert trained("pictures", "album", *more) == 2
        assert f"is not empty and holds no run ({name})" in capsys.readouterr().err
    assert content(here) == before


def test_fresh_deletes_what_the_run_wrote_and_nothing_else(here: Path) -> None:
    assert trained("pictures", "run") == 0
    assert gendi("sample", "run", "--n", 4) == 0
    first = content(here / "run")
    for name in RUN_NAMES:
        draw(here / "run" / name)
    draw(here / "run" / "mine")
    (here / "run" / "notes.txt").write_text("mine")
    (here / "run" / "checkpoints" / "step_00000002" / "why.txt").write_text("mine")
    mine = {name: digest for name, digest in content(here / "run").items() if name not in first}
    assert len(mine) == 6 * 8 + 2
    assert trained("pictures", "run", "--fresh", steps=3) == 0
    after = content(here / "run")
    for folder, kept in (("bundle", "kept-bundle"), ("step_00000002/", "kept-step_00000002/")):
        mine = {name.replace(folder, kept): digest for name, digest in mine.items()}
    assert after.items() >= mine.items()
    assert [step for step, _ in list_checkpoints(here / "run")][-1] == 3
    assert "samples.png" not in after


def test_fresh_leaves_no_file_of_the_old_run(here: Path) -> None:
    """What is deleted is all that the run wrote, so that the new one is as in an empty folder."""
    assert trained("pictures", "run", "--optim.posthoc-every", 4, "--train.preview-every", 4) == 0
    assert gendi("report", "run") == 0
    record = RunRecord(here / "run")
    assert {"checkpoints/step_00000002", "bundle", "ema/images_000000000008", "report.html"} <= record.names()
    assert trained("pictures", "run", "--fresh") == 0
    left = {name.split("/")[0] for name in content(here / "run")}
    assert left == {"bundle", "checkpoints", "config.toml", "metrics.jsonl", "timings.jsonl", "timings.json"} | {
        *("status.json", "train.log", RECORD, ".lock")
    }


def old_run(place: Path, name: str = "interrupted-hybrid") -> Path:
    """A run of 0.1.0, which kept no record."""
    with tarfile.open(OLD) as archive:
        archive.extractall(place, filter="data")
    return place / name


def test_fresh_of_a_run_of_0_1_0_deletes_only_what_is_verifiably_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = old_run(tmp_path)
    assert not (run / RECORD).exists()
    written = content(run)
    for name in (*RUN_NAMES, "mine"):
        draw(run / name)
    shutil.copytree(tmp_path / "hybrid", run / "album" / "bundle")
    mine = {name: digest for name, digest in content(run).items() if name not in written}
    assert not any(name in adopted(run) for name in mine)
    assert {"checkpoints/step_00000005", "ema/images_000000000012", "previews/step_00000003.png"} <= adopted(run)
    made = json.loads((tmp_path / "made.json").read_text())
    assert gendi("train", *made["runs"]["hybrid"], *made["common"], "--out", run.name, "--fresh") == 2  # `bundle`
    assert content(run).items() >= mine.items()
    shutil.rmtree(run / "bundle")
    mine = {name: digest for name, digest in mine.items() if not name.startswith("bundle/")}
    assert gendi("train", *made["runs"]["hybrid"], *made["common"], "--out", run.name, "--fresh") == 0
    assert content(run).items() >= mine.items()
    assert {step for step, _ in list_checkpoints(run)} == {10}


def test_a_report_is_not_written_among_the_user_s_pictures(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert trained("pictures", "run") == 0
    draw(here / "run" / "pictures")
    before = content(here / "run")
    assert gendi("report", "run") == 2
    assert "mine0.png, which gendi did not write" in capsys.readouterr().err
    assert content(here / "run") == before
    shutil.rmtree(here / "run" / "pictures")
    (here / "run" / "report.html").write_text("<h1>mine</h1>")
    assert gendi("report", "run") == 2
    assert (here / "run" / "report.html").read_text() == "<h1>mine</h1>" and not (here / "run" / "pictures").exists()
    (here / "run" / "report.html").unlink()
    assert gendi("report", "run") == 0
    assert gendi("report", "run") == 0  # its own are replaced


def test_a_report_of_a_site_s_folder_is_refused(here: Path) -> None:
    (here / "config.toml").write_text('title = "my holidays"\n')
    before = content(here)
    assert gendi("report", ".") == 2
    assert content(here) == before


@pytest.mark.parametrize(
    "out", ["holiday.png", "all.npz", "pictures", "pictures/new.png", "../{name}", "run/notes.png"]
)
def test_samples_overwrite_nothing_of_the_user_s_and_stay_out_of_the_data(here: Path, out: str) -> None:
    assert trained("pictures", "run") == 0
    shutil.copy("pictures/mine0.png", "holiday.png")
    shutil.copy("pictures/mine0.png", "run/notes.png")
    np.savez("all.npz", samples=np.zeros((3, 6, 6), np.uint8), settings="mine")
    before = content(here)
    assert gendi("sample", "run", "--n", 4, "--out", out.format(name=here.name)) == 2
    assert content(here) == before


def test_samples_replace_samples(here: Path) -> None:
    assert trained("pictures", "run") == 0
    for out in ("more.png", "more.npz"):
        assert gendi("sample", "run", "--n", 4, "--out", out) == 0
        before = content(here)[out]
        assert gendi("sample", "run", "--n", 5, "--out", out) == 0
        assert content(here)[out] != before
    shutil.copytree("run/bundle", "alone")  # a bundle keeps no record: the file itself says who wrote it
    shutil.rmtree("run")
    assert gendi("sample", "alone", "--n", 6, "--out", "more.png") == 0


def test_lines_replace_lines_that_the_run_wrote_and_no_table_of_the_user_s(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = "".join(f"{i},{i % 3}\n" for i in range(40))
    (here / "people.csv").write_text(f"age,kind\n{rows}")
    (here / "other.csv").write_text(f"age,kind\n{rows}")
    tiny = ("--network.channels", 8, "--network.blocks", 1, "--network.groups", 4, "--steps", 2, "--out", "run")
    assert gendi("train", "people.csv", *tiny) == 0
    for mine in ("people.csv", "other.csv"):
        before = content(here)[mine]
        assert gendi("sample", "run", "--n", 4, "--out", mine) == 2
        assert content(here)[mine] == before
    for _ in range(2):
        assert gendi("sample", "run", "--n", 4, "--out", "drawn.csv") == 0
    assert str(here / "drawn.csv") in RunRecord(here / "run").names()


def test_edits_figures_and_evaluations_overwrite_nothing_of_the_user_s(here: Path) -> None:
    assert trained("pictures", "run") == 0
    shutil.copy("pictures/mine0.png", "photo.png")
    (here / "figures.json").write_text('{"mine": 1}')
    np.savez("theirs.npz", samples=np.zeros((4, 6, 6), np.uint8))
    before = content(here)
    for out in ("photo.png", "pictures/mine1.png", "pictures/new.png", "photo.png/"):
        assert gendi("vary", "run", "photo.png", "--out", out) == 2
        assert gendi("likelihood", "run", "--n", 2, "--out", out) == 2
    for out in ("figures.json", "theirs.npz", "pictures/figures.json"):
        assert gendi("evaluate", "--samples", "theirs.npz", "--data", "pictures", "--out", out) == 2
        assert gendi("evaluate", "run", "--n", 4, "--out", out) == 2
    assert content(here) == before


def test_a_name_in_the_record_leads_nowhere_else(here: Path) -> None:
    """A record is a file that anyone can edit: what it names outside the run is not deleted."""
    assert trained("pictures", "run") == 0
    names = ("../pictures", str(here / "pictures" / "mine0.png"), "pictures/../../pictures/mine1.png", "/etc", "")
    with (here / "run" / RECORD).open("a") as file:
        file.writelines(json.dumps(name) + "\n" for name in names)
        file.write("half a li")
    before = content(here / "pictures")
    assert trained("pictures", "run", "--fresh") == 0
    assert content(here / "pictures") == before


def test_a_link_to_a_user_s_folder_is_not_followed(here: Path) -> None:
    assert trained("pictures", "run") == 0
    draw(here / "elsewhere")
    (here / "run" / "samples").symlink_to(here / "elsewhere")
    (here / "run" / "pictures").symlink_to(here / "elsewhere")
    RunRecord(here / "run").add(here / "run" / "samples")
    before = content(here / "elsewhere")
    with pytest.raises(UsageError, match="did not write"):
        RunRecord(here / "run").check(here / "run" / "pictures")
    assert trained("pictures", "run", "--fresh") == 0
    assert content(here / "elsewhere") == before
