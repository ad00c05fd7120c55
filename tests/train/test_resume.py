"""Interrupted and resumed equals uninterrupted, bit for bit: weights, average, optimiser, metrics, preview pictures."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from gendi.errors import DataError, InterruptedRunError, PreemptedError
from gendi.storage.files import atomic_write, encode_json, read_json
from gendi.storage.toml import write_toml
from gendi.train.budget import Budget
from gendi.train.config import RunConfig
from gendi.train.kept.checkpoint import list_checkpoints, load_latest
from gendi.train.kept.resume import refuse_changes
from gendi.train.run.loop import train
from stop_at import StopAt

STEPS = 24

CHILD = """
import json, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from gendi.train.config import RunConfig
from gendi.storage.toml import write_toml
from gendi.train.budget import Budget
from gendi.train.run.loop import train
config = RunConfig.from_dict(json.loads(Path(sys.argv[2]).read_text()))
train(sys.argv[1], config, Path(sys.argv[3]), Budget(steps=int(sys.argv[4])))
"""


def assert_equal_runs(a: Path, b: Path) -> None:
    one, two = load_latest(a), load_latest(b)
    assert one is not None and two is not None
    assert one.step == two.step
    for group in ("model", "ema", "optimizer"):
        assert one.tensors[group].keys() == two.tensors[group].keys()
        for name, tensor in one.tensors[group].items():
            assert torch.equal(tensor, two.tensors[group][name]), (group, name)
    assert (a / "metrics.jsonl").read_bytes() == (b / "metrics.jsonl").read_bytes()
    previews = sorted(path.name for path in (a / "previews").iterdir())
    assert previews == sorted(path.name for path in (b / "previews").iterdir())
    for name in previews:
        assert (a / "previews" / name).read_bytes() == (b / "previews" / name).read_bytes()
    assert (a / "bundle/model.safetensors").read_bytes() == (b / "bundle/model.safetensors").read_bytes()


@pytest.fixture
def whole(tmp_path: Path, images: str, tiny: RunConfig) -> Path:
    run = tmp_path / "whole"
    train(images, tiny, run, Budget(steps=STEPS))
    return run


@pytest.mark.parametrize(
    ("step", "number", "error"),
    [
        (5, signal.SIGTERM, PreemptedError),
        (11, signal.SIGUSR1, PreemptedError),
        (14, signal.SIGINT, InterruptedRunError),
    ],
)
def test_sigterm_sigusr1_or_one_ctrl_c_saves_and_going_on_is_exact(
    tmp_path: Path, images: str, tiny: RunConfig, whole: Path, step: int, number: int, error: type[Exception]
) -> None:
    run = tmp_path / "interrupted"
    with pytest.raises(error):
        train(images, tiny, run, Budget(steps=STEPS), console=StopAt(step, number))
    assert list_checkpoints(run)[-1][0] == step
    assert read_json(run / "status.json")["status"] == ("interrupted" if number == signal.SIGINT else "preempted")
    train(images, tiny, run, Budget(steps=STEPS))
    assert read_json(run / "status.json")["status"] == "finished"
    assert_equal_runs(run, whole)


def test_a_real_sigkill_at_any_time_loses_nothing_that_was_saved(
    tmp_path: Path, images: str, tiny: RunConfig, whole: Path
) -> None:
    run, config = tmp_path / "killed", tmp_path / "config.json"
    atomic_write(config, encode_json(tiny.to_dict()))
    command = [sys.executable, "-c", CHILD, images, str(config), str(run), str(STEPS)]
    for saved in (3, 9):  # killed somewhere in or after the save of that step, twice in one run
        child = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE)
        deadline = time.monotonic() + 120
        while child.poll() is None and not any(step >= saved for step, _ in list_checkpoints(run)):
            assert time.monotonic() < deadline
            time.sleep(0.002)
        child.kill()
        child.communicate()
    before = load_latest(run)
    assert before is not None and before.step >= 9
    train(images, tiny, run, Budget(steps=STEPS))
    assert_equal_runs(run, whole)


def test_a_finished_run_says_so_and_computes_nothing(images: str, tiny: RunConfig, whole: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in whole.rglob("*.safetensors")}
    result = train(images, tiny, whole, Budget(steps=STEPS))
    assert result.already_finished and result.step == STEPS
    assert before == {path: path.stat().st_mtime_ns for path in whole.rglob("*.safetensors")}


def test_a_larger_budget_goes_on_from_the_end(images: str, tiny: RunConfig, whole: Path) -> None:
    result = train(images, tiny, whole, Budget(steps=STEPS + 3))
    assert (result.step, result.already_finished) == (STEPS + 3, False)


def test_a_run_from_before_a_field_existed_has_its_default(tmp_path: Path, tiny: RunConfig) -> None:
    config = tiny.to_dict()
    del config["objective"]["variance"], config["network"]["fourier_features"]
    (tmp_path / "checkpoints/step_00000001").mkdir(parents=True)
    write_toml(tmp_path / "config.toml", {"config": config, "data": {"fingerprint": "x"}})
    refuse_changes(tmp_path, tiny, "x", False)


@pytest.mark.parametrize(
    ("before", "now", "words"),
    [
        ([32, 32], (64, 64), "--size 32x32, and now there is --size 64x64"),
        (None, (64, 64), "no --size, and now there is --size 64x64"),
        ([32], None, "--size 32x32, and now there is no --size"),
        ([32, 32], (32, 32), "The data changed since"),
    ],
)
def test_another_size_is_named_as_such_and_not_as_other_data(
    tmp_path: Path, tiny: RunConfig, before: list[int] | None, now: tuple[int, int] | None, words: str
) -> None:
    (tmp_path / "checkpoints/step_00000001").mkdir(parents=True)
    size = {} if before is None else {"size": before}
    write_toml(tmp_path / "config.toml", {"config": tiny.to_dict(), "data": {"fingerprint": "x", **size}})
    with pytest.raises(DataError, match=words):
        refuse_changes(tmp_path, tiny, "y", False, now)
    refuse_changes(tmp_path, tiny, "y", True, now)
