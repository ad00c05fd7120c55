"""The commands on a run that was stopped, and the page that `gendi train` keeps while it trains."""

import dataclasses
import hashlib
import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiny import TINY

from gendi.api.request import read_request
from gendi.cli import main
from gendi.cli.again import read_made
from gendi.train.kept.bundle import Bundle, load_bundle, save_bundle
from gendi.train.progress import console
from gendi.train.step.trainer import Trainer

Gendi = Callable[..., Any]
SAID = "this is the model of step 3, after 12 images and 30% of the budget"


def stopping_at(patch: pytest.MonkeyPatch, step: int) -> None:
    """Send this process a Ctrl-C in a training step."""
    real = Trainer.step

    def stepped(self: Trainer, progress: float) -> Any:
        if self.step_count == step - 1 and self.network.training:
            os.kill(os.getpid(), signal.SIGINT)
        return real(self, progress)

    patch.setattr(Trainer, "step", stepped)


@pytest.fixture(scope="module")
def stopped(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was stopped by Ctrl-C in its third step of ten."""
    run = tmp_path_factory.mktemp("runs") / "stopped"
    with pytest.MonkeyPatch.context() as patch:
        stopping_at(patch, 3)
        assert main(["train", str(tiny_data), *TINY, "--steps", "10", "--out", str(run)]) == 130
    return run


@pytest.fixture
def run(stopped: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(stopped, tmp_path / "stopped"))


def test_sample_says_which_step_it_used(gendi: Gendi, run: Path) -> None:
    outcome = gendi("sample", str(run), "--n", "4", "--steps", "2")
    assert outcome.code == 0 and f"note: {SAID}: {run} was stopped." in outcome.err
    assert (run / "samples.png").is_file()
    assert json.loads(gendi("sample", str(run), "--n", "4", "--steps", "2", "--json").out)["step"] == 3


def test_evaluate_and_report_say_it_too(gendi: Gendi, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gendi.report.style.DPI", 40)
    words = ["evaluate", str(run), "--n", "8", "--steps", "2", "--extractor", "pixels", "--seed", "1"]
    outcome = gendi(*words)
    assert outcome.code == 0 and SAID in outcome.err
    assert any(SAID[1:] in note for note in json.loads((run / "evaluation.json").read_text())["notes"])
    assert gendi("report", str(run)).code == 0
    text = (run / "report.html").read_text()
    assert f"The training is not finished: {SAID}" in text and "http-equiv" not in text


def test_a_report_of_a_run_in_progress_gives_advice_that_works(
    gendi: Gendi, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gendi.report.style.DPI", 40)
    assert gendi("report", str(run)).code == 0
    text = (run / "report.html").read_text()
    assert f"gendi evaluate {run}, then gendi report {run}" in text and "`" not in text


def test_an_edit_says_it(gendi: Gendi, run: Path, tmp_path: Path) -> None:
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "black.png")
    outcome = gendi("vary", str(run), str(tmp_path / "black.png"), "--n", "2", "--steps", "2", "--class", "0")
    assert outcome.code == 0 and SAID in outcome.err


def test_info_and_verify_know_it(gendi: Gendi, run: Path) -> None:
    assert json.loads(gendi("info", str(run), "--json").out)["training"]["step"] == 3
    running = json.loads((run / "status.json").read_text()) | {"status": "running", "step": 7, "images": 28}
    (run / "status.json").write_text(json.dumps(running))
    shown = gendi("info", str(run)).out
    assert [line.split()[-1] for line in shown.splitlines() if line.startswith(("steps  ", "its model"))] == ["7", "3"]
    assert gendi("verify", str(run)).code == 0


def test_going_on_finishes_it_and_nothing_is_said_any_more(gendi: Gendi, run: Path, tiny_data: Path) -> None:
    assert gendi("train", str(tiny_data), *TINY, "--steps", "10", "--out", str(run)).code == 0
    assert load_bundle(run).meta["step"] == 10
    assert "this is the model" not in gendi("sample", str(run), "--n", "4", "--steps", "2").err


def test_the_page_of_a_run_is_kept_where_it_is_asked_for(gendi: Gendi, tiny_data: Path, tmp_path: Path) -> None:
    words = ["train", str(tiny_data), *TINY, "--steps", "12", "--train.preview-every", "24"]
    assert gendi(*words, "--out", str(tmp_path / "without")).code == 0
    assert not (tmp_path / "without" / "report.html").exists()  # standard error is no terminal here
    outcome = gendi(*words, "--out", str(tmp_path / "with"), "--page")
    assert outcome.code == 0 and f"page: {tmp_path / 'with' / 'report.html'}" in outcome.err
    text = (tmp_path / "with" / "report.html").read_text()
    assert "The training has finished: step 12" in text and 'class="film"' in text and "http-equiv" not in text
    both = [(tmp_path / name / "metrics.jsonl").read_bytes() for name in ("with", "without")]
    assert both[0] == both[1]
    weights = [(tmp_path / name / "bundle/model.safetensors").read_bytes() for name in ("with", "without")]
    assert weights[0] == weights[1]


def test_a_stopped_run_leaves_a_page_that_says_so(
    gendi: Gendi, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopping_at(monkeypatch, 3)
    assert gendi("train", str(tiny_data), *TINY, "--steps", "9", "--out", str(tmp_path / "run"), "--page").code == 130
    text = (tmp_path / "run" / "report.html").read_text()
    assert "The training was stopped by Ctrl-C: step 3" in text and "http-equiv" not in text
    assert f"gendi sample {tmp_path / 'run'}" in text


def test_a_terminal_has_the_page_by_itself(
    gendi: Gendi, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "make_console", console.TerminalConsole)
    words = ["train", str(tiny_data), *TINY, "--steps", "2"]
    assert gendi(*words, "--out", str(tmp_path / "with")).code == 0
    assert gendi(*words, "--out", str(tmp_path / "without"), "--no-page").code == 0
    assert (tmp_path / "with" / "report.html").is_file() and not (tmp_path / "without" / "report.html").exists()


def test_a_page_that_cannot_be_is_said_before_the_first_step(gendi: Gendi, tiny_data: Path, run: Path) -> None:
    words = ["train", str(tiny_data), *TINY, "--steps", "10", "--out", str(run), "--page"]
    assert "cannot be given together" in gendi(*words, "--no-page").err
    (run / "report.html").write_text("<h1>mine</h1>")
    outcome = gendi(*words)
    assert outcome.code == 2 and "gendi did not write it" in outcome.err
    assert (run / "report.html").read_text() == "<h1>mine</h1>" and load_bundle(run).meta["step"] == 3


@pytest.mark.parametrize(
    ("words", "settings"),
    [
        (("sample", "--n", "2"), "samples.png"),
        (("evaluate", "--n", "8", "--extractor", "pixels"), "samples.npz"),
        (("vary", "--n", "1", "--class", "0"), "vary-black.png"),
    ],
)
def test_results_name_the_weights_that_were_loaded_though_others_have_taken_their_place(
    gendi: Gendi, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], settings: str
) -> None:
    """The bundle is replaced right after it was read, as a run that trains does it."""
    weights = run / "bundle" / "model.safetensors"
    before = hashlib.sha256(weights.read_bytes()).hexdigest()

    def load_and_replace(path: str | Path) -> Bundle:
        found = load_bundle(path)
        state = {name: tensor + 1 for name, tensor in found.state.items()}
        save_bundle(run / "bundle", dataclasses.replace(found, state=state))
        return found

    monkeypatch.setattr("gendi.train.kept.bundle.load_bundle", load_and_replace)
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "black.png")
    picture = [str(tmp_path / "black.png")] if words[0] == "vary" else []
    assert gendi(words[0], str(run), *picture, *words[1:], "--steps", "2").code == 0
    assert hashlib.sha256(weights.read_bytes()).hexdigest() != before
    if words[0] == "vary":
        assert read_made(run / settings, "vary").sha256[str(run)] == before
    else:
        assert read_request(run / settings).weights == before
