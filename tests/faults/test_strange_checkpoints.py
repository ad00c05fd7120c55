"""A checkpoint folder of another run in this one: training refuses to go on from it, and `gendi verify` names it."""

import json
import shutil
import tomllib
from pathlib import Path

import numpy as np
import pytest
from test_users_data import content, gendi, old_run, trained

from gendi.storage.toml import read_toml, write_toml
from gendi.train.kept.checkpoint import list_checkpoints, read_state, save_checkpoint


@pytest.fixture
def two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two runs of one configuration on other data, `ours` and `theirs`, the second one further; entered."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for name in ("ours", "theirs"):
        np.savez(f"{name}.npz", images=rng.integers(0, 256, (12, 6, 6, 1), dtype=np.uint8))
    assert trained("ours.npz", "ours", "--keep", 5, steps=2) == 0
    assert trained("theirs.npz", "theirs", "--keep", 5, steps=4) == 0
    return tmp_path


def id_of(run: Path) -> str:
    return str(tomllib.loads((run / "config.toml").read_text())["run"]["id"])


@pytest.mark.parametrize("step", [1, 4])
@pytest.mark.parametrize("more", [(), ("--fresh",)])
def test_a_checkpoint_of_another_run_is_refused_and_named(
    two: Path, step: int, more: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """The newest would be gone on from, an older one would be deleted."""
    found = list_checkpoints(two / "theirs")[-1][1]
    strange = two / "ours" / "checkpoints" / f"step_{step:08d}"
    if step == 4:
        shutil.copytree(found, strange)
    else:  # the same, as if saved at step 1
        state = read_state(found)[2]
        save_checkpoint(two / "ours", 1, {"model": {}}, state)
    before = content(two / "ours")
    assert trained("ours.npz", "ours", "--keep", 5, *more, steps=6) == 4
    told = capsys.readouterr().err
    assert str(strange.relative_to(two)) in told and id_of(two / "ours") in told and id_of(two / "theirs") in told
    changed = {"status.json"}  # it says why the run ended
    after = content(two / "ours")
    assert {n: d for n, d in after.items() if n not in changed} == {n: d for n, d in before.items() if n not in changed}
    assert gendi("verify", "ours") == 4
    told = capsys.readouterr()
    assert sum(line.startswith("BAD") for line in told.out.splitlines()) == 1 and str(strange.name) in told.err
    shutil.rmtree(strange)
    assert gendi("verify", "ours") == 0
    assert trained("ours.npz", "ours", "--keep", 5, *more, steps=6) == 0


def test_the_id_stays_as_long_as_the_run(two: Path) -> None:
    first = id_of(two / "ours")
    assert first != id_of(two / "theirs")
    assert trained("ours.npz", "ours", "--keep", 5, steps=3) == 0
    assert id_of(two / "ours") == first
    assert {read_state(path)[2]["run"] for _, path in list_checkpoints(two / "ours")} == {first}
    assert trained("ours.npz", "ours", "--keep", 5, "--fresh", steps=3) == 0
    assert id_of(two / "ours") != first


def test_a_checkpoint_without_an_id_is_no_checkpoint_of_a_run_with_one(
    two: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = read_state(list_checkpoints(two / "ours")[-1][1])[2]
    save_checkpoint(two / "ours", 9, {"model": {}}, {key: value for key, value in state.items() if key != "run"})
    assert trained("ours.npz", "ours", "--keep", 5, steps=10) == 4
    assert "step_00000009 is a checkpoint of another run" in capsys.readouterr().err


def test_a_run_of_0_1_0_without_an_id_goes_on_and_gets_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    run = old_run(tmp_path)
    made = json.loads((tmp_path / "made.json").read_text())
    words = ("train", *made["runs"]["hybrid"], *made["common"], "--out", run.name)
    assert gendi("verify", run) == 0
    assert gendi(*words, "--keep", 9) == 0
    stored = read_toml(run / "config.toml")
    assert stored["run"].keys() == {"id", "without_id_up_to"} and stored["run"]["without_id_up_to"] == 5
    assert [step for step, _ in list_checkpoints(run)] == [5, 10]
    assert gendi("verify", run) == 0
    assert gendi(*words, "--keep", 9) == 0  # finished, with its oldest checkpoint beside it
    other = old_run(tmp_path / "again")  # a run that never went on has no id: a checkpoint with one is not its own
    shutil.copytree(run / "checkpoints" / "step_00000010", other / "checkpoints" / "step_00000010")
    monkeypatch.chdir(tmp_path / "again")
    assert gendi(*words) == 4
    assert "this run has no id" in capsys.readouterr().err
    write_toml(run / "config.toml", {**stored, "run": {"id": "0" * 16, "without_id_up_to": 5}})
    monkeypatch.chdir(tmp_path)
    assert gendi("verify", run) == 4
