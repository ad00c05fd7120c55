"""Commands take the name of a model that comes with gendi in the place of a run, and write nothing beside it."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from test_completion import completed

from conftest import Gendi
from gendi.cli import main
from gendi.storage.files import files_below
from gendi.train.kept.bundle import load_bundle, save_bundle

RESULTS = Path("runs/shipped/tiny")


@pytest.fixture(scope="module")
def box(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A box with the model of the tiny run, as `tiny`."""
    folder = tmp_path_factory.mktemp("box")
    bundle = load_bundle(tiny_run)
    facts = {"about": "noise", "parameters": sum(t.numel() for t in bundle.state.values()), "license": "none"}
    facts |= {"command": "gendi train tiny --steps 4", "float32_sha256": "0", "rounding": {"1": 1e-4}}
    metrics = {"fid-digits": {"value": 2.5, "floor": 1.25}}
    meta = {**bundle.meta, "weights": "float16", "shipped": facts, "metrics": metrics}
    save_bundle(folder / "tiny" / "bundle", type(bundle)(bundle.config, bundle.codec, bundle.state, 1.0, meta))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gendi.train.kept.shipped.home", lambda: folder)
        yield folder


@pytest.fixture(autouse=True)
def _here(box: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An empty current folder; after each test, the box is as it was."""
    monkeypatch.chdir(tmp_path)
    before = {name: path.read_bytes() for name, path in files_below(box).items()}
    yield
    assert {name: path.read_bytes() for name, path in files_below(box).items()} == before


def test_samples_go_to_the_folder_of_results_and_again_beside_themselves(gendi: Gendi) -> None:
    done = gendi("sample tiny --n 2 --steps 2")
    assert (done.code, done.out.strip()) == (0, str(RESULTS / "samples.png")), done.err
    again = gendi("sample --again runs/shipped/tiny/samples.png")
    assert again.code == 0, again.err
    assert Image.open(RESULTS / "samples.png").tobytes() == Image.open(RESULTS / "samples-again.png").tobytes()
    assert gendi("sample tiny --n 3 --steps 2").code == 0  # what gendi wrote there is replaced
    assert gendi("sample tiny --n 2 --steps 2 --out mine.png").code == 0 and Path("mine.png").is_file()


def test_with_out_no_folder_of_results_is_made(gendi: Gendi) -> None:
    assert gendi("sample tiny --n 2 --steps 2 --out mine.npz").code == 0
    assert [path.name for path in Path().iterdir()] == ["mine.npz"]


def test_evaluating_and_the_report(gendi: Gendi) -> None:
    for _ in range(2):  # again: what was written is known as gendi's own
        done = gendi("evaluate tiny --n 4 --steps 2 --extractor pixels")
        assert done.code == 0, done.err
    source = json.loads((RESULTS / "evaluation.json").read_text())["source"]
    assert source["run"] == "tiny" and (RESULTS / "samples.npz").is_file()
    report = gendi("report tiny")
    assert (report.code, report.out.strip()) == (0, str(RESULTS / "report.html")), report.err
    page = (RESULTS / "report.html").read_text()
    assert "gendi train tiny --steps 4" in page and "gendi evaluate tiny" in page
    assert "did not come with the model" in page


def test_an_edit_a_likelihood_and_a_classifier(gendi: Gendi, tiny_data: Path) -> None:
    Image.new("L", (8, 8), 90).save("grey.png")
    done = gendi("vary tiny grey.png --n 2 --steps 2")
    assert (done.code, done.out.strip()) == (0, str(RESULTS / "vary-grey.png")), done.err
    assert gendi("likelihood tiny --n 2 --draws 2").code == 0 and (RESULTS / "likelihood.png").is_file()
    done = gendi("train-classifier", str(tiny_data), "--run", "tiny", "--steps", "2", "--widths", "8")
    assert done.code == 0 and (RESULTS / "classifier" / "config.json").is_file(), done.err
    done = gendi("sample tiny --n 2 --steps 2 --class 1 --classifier runs/shipped/tiny/classifier --guidance 2")
    assert done.code == 0, done.err


def test_starting_from_it_and_distilling_it(gendi: Gendi, tiny_data: Path) -> None:
    done = gendi("train", str(tiny_data), "--from", "tiny", "--steps", "2", "--out", "runs/more")
    assert done.code == 0, done.err
    again = gendi("train", str(tiny_data), "--from", "tiny", "--steps", "3", "--out", "runs/more")
    assert again.code == 0, again.err
    done = gendi("distil tiny --steps 2")
    assert done.code == 0 and load_bundle("runs/tiny-student").meta["step"] == 2, done.err
    assert gendi("distil tiny --steps 3").code == 0 and load_bundle("runs/tiny-student").meta["step"] == 3
    assert load_bundle("runs/more").meta.get("weights") is None  # float16 is the store's form, not the run's


def test_what_it_is_and_whether_it_is_whole(gendi: Gendi) -> None:
    info = json.loads(gendi("info tiny --json").out)
    assert info["shipped"]["about"] == "noise"
    assert info["metrics"] == {"fid-digits": {"value": 2.5, "floor": 1.25}}
    assert gendi("verify tiny").code == 0
    assert "forward pass" in gendi("plan tiny").out


def test_the_list_of_them(gendi: Gendi) -> None:
    listed = gendi("models")
    assert listed.code == 0 and "FID on digit features 2.50 (real 1.25)" in listed.out and "tiny: noise" in listed.out
    entry = json.loads(gendi("models --json").out)["models"][0]
    assert entry["name"] == "tiny" and entry["sha256"] == load_bundle("tiny").sha256


def test_averages_of_it_are_refused(gendi: Gendi) -> None:
    for words in ("ema tiny --length 0.1", "ema tiny --length 0.1 --replace"):
        done = gendi(words)
        assert done.code == 2 and "without the snapshots" in done.err


@pytest.mark.parametrize(
    ("words", "mended"),
    [
        ("sample tny --n 2", "gendi sample tiny --n 2"),
        ("report tny", "gendi report tiny"),
        ("verify tny", "gendi verify tiny"),
        ("evaluate tny --n 4", "gendi evaluate tiny --n 4"),
        ("sample --n 2", "gendi sample tiny --n 2"),
        ("report", "gendi report tiny"),
    ],
)
def test_a_slip_and_a_missing_run_are_mended_by_its_name(gendi: Gendi, words: str, mended: str) -> None:
    done = gendi(words)
    assert done.code == 2
    assert sorted(done.err.splitlines()[-1].split()) == sorted(mended.split())


def test_bash_completes_the_names(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--completion", "bash"]) == 0
    script = capsys.readouterr().out
    assert completed(script, "gendi", "sample", "ti") == {"tiny"}
    assert completed(script, "gendi", "vary", "ti") == {"tiny"}
    assert completed(script, "gendi", "train", "ti") == set()  # takes data, no run
    Path("tins").mkdir()
    assert completed(script, "gendi", "sample", "ti") == {"tiny", "tins"}
