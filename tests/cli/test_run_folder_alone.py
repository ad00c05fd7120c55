"""`gendi` alone in the folder of a run says what it is; elsewhere it prints the help."""

import json
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny import TINY

from gendi.cli import main
from gendi.storage.toml import write_toml
from gendi.train.config import RunConfig
from gendi.train.kept.bundle import load_bundle
from gendi.train.step.trainer import Trainer


def test_in_the_folder_of_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = {"spec": "photos", "name": "photos", "fingerprint": "0"}
    write_toml(tmp_path / "config.toml", {"config": RunConfig(preset="icons").to_dict(), "data": data})
    monkeypatch.chdir(tmp_path)
    assert main([]) == 0
    said = capsys.readouterr().out
    assert "is a run of gendi" in said and "photos" in said and "icons" in said
    assert [line.split()[1] for line in said.splitlines() if line.strip().startswith("gendi ")][:3] == [
        "info",
        "report",
        "verify",
    ]
    (tmp_path / "bundle").mkdir()
    assert main([]) == 0
    assert "gendi sample . --n 64" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["", "[tool]\nname = 'other'\n", "no toml ["])
def test_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    if text:
        (tmp_path / "config.toml").write_text(text)
    monkeypatch.chdir(tmp_path)
    assert main([]) == 0
    assert capsys.readouterr().out.startswith("gendi: train, sample and measure")


def test_a_stopped_run_is_gone_on_with_and_its_data_are_found_from_its_folder(
    gendi: Callable[..., Any], tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The data have the name of the run, and were named by a path that leads nowhere from the run's folder."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(tiny_data, tmp_path / "letters.npz")
    assert gendi("train", "letters.npz", *TINY, "--steps", "2", "--out", "runs/letters.npz").code == 0
    monkeypatch.chdir("runs/letters.npz")
    assert Path(load_bundle(".").meta["data_spec"]).resolve() == tmp_path / "letters.npz"
    assert gendi("likelihood . --n 2").code == 0
    assert "continues the training" not in gendi("").out

    status, stored = Path("status.json"), Path("config.toml")
    status.write_text(json.dumps({**json.loads(status.read_text()), "status": "interrupted", "progress": 0.5}))
    stored.write_text(stored.read_text().replace("steps = 2\n", "steps = 3\n"))
    said = gendi("").out
    before, line = (part.split() for part in said.partition("next:")[2].splitlines()[1].split(" && "))
    assert before == ["cd", "../.."] and line[:3] == ["gendi", "train", "letters.npz"]
    assert [w.split()[1] for w in said.splitlines() if w.strip().startswith("gendi ")][:2] == ["sample", "evaluate"]
    monkeypatch.chdir(tmp_path)
    steps = list[int]()
    step = Trainer.step
    monkeypatch.setattr(Trainer, "step", lambda *args: (steps.append(args[0].step_count), step(*args))[1])
    assert gendi(*shlex.split(" ".join(line[1:]))).code == 0
    assert steps == [2]
