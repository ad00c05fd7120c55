"""Runs that go on with another number of processes, a signal to one of them, and samples drawn by two."""

import dataclasses
import json
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from test_distributed import deviations, ended, plain, start

from gendi.storage.files import read_json
from gendi.train.budget import Budget
from gendi.train.config import RunConfig
from gendi.train.kept.checkpoint import load_latest
from gendi.train.kept.status import read_lines
from gendi.train.run.loop import train

__all__ = ["plain"]


@pytest.mark.slow
def test_two_processes_then_one_then_two(tmp_path: Path, images: str, plain: RunConfig) -> None:
    config, run = json.dumps(plain.to_dict()), tmp_path / "run"
    assert ended(start(2, images, config, run, 2, "", ""))[0] == [0, 0]
    train(images, plain, run, Budget(steps=4))
    assert ended(start(2, images, config, run, 6, "", ""))[0] == [0, 0]
    found = load_latest(run)
    assert found is not None and found.step == 6
    assert [line["step"] for line in read_lines(run / "metrics.jsonl")] == [4]
    assert "number of processes changed" in (run / "train.log").read_text()


@pytest.mark.slow
def test_sigterm_to_one_process_stops_all_at_one_step(tmp_path: Path, images: str, plain: RunConfig) -> None:
    run = tmp_path / "run"
    processes = start(2, images, json.dumps(plain.to_dict()), run, 100_000, "", "")
    until = time.monotonic() + 100
    while not list((run / "checkpoints").glob("step_*")) and time.monotonic() < until:
        time.sleep(0.1)
    processes[1].send_signal(signal.SIGTERM)
    codes, said = ended(processes)
    assert codes == [75, 75], said
    found = load_latest(run)
    assert found is not None and read_json(run / "status.json")["status"] == "preempted"
    assert all(f"Step {found.step} is saved" in text for text in said[:1])


@pytest.mark.slow
def test_samples_of_two_processes_are_those_of_one(tmp_path: Path, images: str, plain: RunConfig) -> None:
    import subprocess

    train(images, plain, tmp_path / "run", Budget(steps=2))
    flags = ["sample", str(tmp_path / "run"), "--n", "10", "--batch-size", "3", "--steps", "3", "--json", "--out"]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    one = [sys.executable, "-m", "gendi", *flags, str(tmp_path / "one.npz")]
    many = ["torch.distributed.run", "--nproc-per-node", "2", "-m", "--", "gendi", *flags, str(tmp_path / "two.npz")]
    subprocess.run(one, env=env, check=True, timeout=200)
    out = subprocess.run([sys.executable, "-m", *many], env=env, check=True, timeout=200, stdout=subprocess.PIPE).stdout
    assert json.loads(out)["shape"] == [10, 10, 9, 3]  # one process speaks
    with np.load(tmp_path / "one.npz") as a, np.load(tmp_path / "two.npz") as b:
        assert np.array_equal(a["samples"], b["samples"])


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["loss-aware", "learned"])
def test_what_losses_decide_is_decided_alike_by_two_processes(
    tmp_path: Path, images: str, plain: RunConfig, kind: str
) -> None:
    """Times drawn by the losses so far, a schedule learnt from them: the tables of one process, but for round-off."""
    objective = dataclasses.replace(plain.objective, precondition=False, weighting="bound", time_sampling="uniform")
    process = dataclasses.replace(plain.process, schedule="learned")
    if kind == "loss-aware":
        objective = dataclasses.replace(objective, weighting="simple", time_sampling="loss-aware")
        process = dataclasses.replace(plain.process, steps=3)  # each of which has ten losses after some 5 steps
    config, steps = dataclasses.replace(plain, objective=objective, process=process), 12
    codes, said = ended(start(2, images, json.dumps(config.to_dict()), tmp_path / "two", steps, "", ""))
    assert codes == [0, 0], said
    train(images, config, tmp_path / "one", Budget(steps=steps))
    group = "losses" if kind == "loss-aware" else "schedule"
    assert deviations(tmp_path / "one", tmp_path / "two", group).max() < 1e-3
    one, two = load_latest(tmp_path / "one"), load_latest(tmp_path / "two")
    assert one is not None and two is not None
    for (loss, _), (other, _) in zip(one.state["window"], two.state["window"], strict=True):
        assert loss == pytest.approx(other, rel=1e-3)
