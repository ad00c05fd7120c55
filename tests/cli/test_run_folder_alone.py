"""`gendi` alone in the folder of a run says what it is; elsewhere it prints the help."""

from pathlib import Path

import pytest

from gendi.cli import main
from gendi.storage.toml import write_toml
from gendi.train.config import RunConfig


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
