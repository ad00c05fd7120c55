"""One run by one process and by two, really started: the same draws, the same step but for round-off, the same files.

Tolerance: a gradient over 7 rows is a sum of float32 numbers; splitting it into 4 + 3 changes the order of additions,
so its entries differ by about sqrt(n) 6e-8 of the terms' size. AdamW divides a gradient by its own size, so an entry
that is nearly zero may move by up to the learning rate whatever its round-off. In 3 steps the bulk must agree to 1e-6,
and no entry may differ by more than 2 lr a step.
"""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from gendi.machine.distributed import Team
from gendi.train.budget import Budget
from gendi.train.config import RunConfig
from gendi.train.kept.checkpoint import load_latest
from gendi.train.kept.status import read_lines
from gendi.train.run.loop import train

CHILD = """
import json, os, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from gendi.train.config import RunConfig
from gendi.cli.failure import explain
from gendi.train.run import loop
from gendi.train.budget import Budget
from gendi.train.step.trainer import Trainer

spec, config, run, steps, seen, die = sys.argv[1:]
plain, rank = Trainer.batch, os.environ["RANK"]

def watched(self, step, part=slice(None)):
    if die == f"{rank}@{step}":
        os._exit(9)
    x_0, cond = plain(self, step, part)
    if seen:
        torch.save((x_0, cond), Path(seen) / f"{step}-{part.start}.pt")
    return x_0, cond

Trainer.batch = watched
try:
    loop.train(spec, RunConfig.from_dict(json.loads(config)), Path(run), Budget(steps=int(steps)))
except BaseException as error:
    sys.exit(explain(error))
"""


def start(processes: int, *args: object) -> list[subprocess.Popen[str]]:
    """Start what torchrun starts; process 0 holds the store."""
    with socket.socket() as found:
        found.bind(("localhost", 0))
        port = found.getsockname()[1]
    shared = {
        "MASTER_ADDR": "localhost",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": str(processes),
        "OMP_NUM_THREADS": "1",
    }
    return [
        subprocess.Popen(
            [sys.executable, "-c", CHILD, *map(str, args)],
            env={**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(processes)
    ]


def ended(processes: list[subprocess.Popen[str]], seconds: float = 120) -> tuple[list[int], list[str]]:
    said = [process.communicate(timeout=seconds)[1] for process in processes]
    return [process.returncode for process in processes], said


def deviations(a: Path, b: Path, group: str) -> torch.Tensor:
    one, two = load_latest(a), load_latest(b)
    assert one is not None and two is not None and one.step == two.step
    pairs = ((one.tensors[group][name], two.tensors[group][name]) for name in one.tensors[group])
    return torch.cat([(x.double() - y.double()).abs().flatten() for x, y in pairs])


@pytest.fixture
def plain(tiny: RunConfig) -> RunConfig:
    """Without dropout, whose masks are drawn by each process for itself."""
    data = json.loads(json.dumps(tiny.to_dict()))
    data["network"]["dropout"], data["optim"]["name"], data["train"]["flip"] = 0.0, "adamw", True
    data["train"]["crop"] = 1.2
    return RunConfig.from_dict(data)


def test_two_processes_see_the_batches_of_one_and_take_its_steps(tmp_path: Path, images: str, plain: RunConfig) -> None:
    lr = plain.optim.lr
    config, steps = json.dumps(plain.to_dict()), 3
    (tmp_path / "seen").mkdir()
    codes, said = ended(start(2, images, config, tmp_path / "two", steps, tmp_path / "seen", ""))
    assert codes == [0, 0], said
    train(images, plain, tmp_path / "one", Budget(steps=steps))

    from gendi.data import open_data
    from gendi.train.step.trainer import Trainer

    alone = Trainer(plain, open_data(images))
    for step in range(steps):
        x_0, cond = alone.batch(step)
        halves = [torch.load(tmp_path / "seen" / f"{step}-{start}.pt") for start in (0, 3)]
        assert torch.equal(torch.cat([half[0] for half in halves]), x_0)
        assert torch.equal(torch.cat([half[1]["class"] for half in halves]), cond["class"])
    apart = deviations(tmp_path / "one", tmp_path / "two", "model")
    assert apart.max() <= 2 * lr * steps
    assert apart.quantile(0.95) < 1e-6
    lines = [read_lines(tmp_path / name / "metrics.jsonl") for name in ("one", "two")]
    assert [line["step"] for line in lines[0]] == [line["step"] for line in lines[1]]
    state = load_latest(tmp_path / "two")
    assert state is not None
    one = load_latest(tmp_path / "one")
    assert one is not None
    for (loss, norm), (other_loss, other_norm) in zip(state.state["window"], one.state["window"], strict=True):
        assert loss == pytest.approx(other_loss, rel=1e-5) and norm == pytest.approx(other_norm, rel=1e-4)


def test_two_processes_take_the_steps_of_one_with_mean_flows(tmp_path: Path, images: str, plain: RunConfig) -> None:
    """The calls that have no gradient, and the derivative along the path, must not disturb the joining of gradients."""
    data = json.loads(json.dumps(plain.to_dict()))
    data["objective"]["loss"] = "mean-flow"
    config, steps = RunConfig.from_dict(data), 3
    codes, said = ended(start(2, images, json.dumps(config.to_dict()), tmp_path / "two", steps, "", ""))
    assert codes == [0, 0], said
    train(images, config, tmp_path / "one", Budget(steps=steps))
    apart = deviations(tmp_path / "one", tmp_path / "two", "model")
    assert apart.max() <= 2 * config.optim.lr * steps
    assert apart.quantile(0.95) < 1e-6


def test_a_batch_in_parts_is_the_whole_batchs_step(tmp_path: Path, images: str, plain: RunConfig) -> None:
    import dataclasses

    parts = dataclasses.replace(plain, train=dataclasses.replace(plain.train, accumulate=3))
    for name, config in (("whole", plain), ("parts", parts)):
        train(images, config, tmp_path / name, Budget(steps=3))
    apart = deviations(tmp_path / "whole", tmp_path / "parts", "model")
    assert apart.max() <= 6 * plain.optim.lr and apart.quantile(0.95) < 1e-6


def test_a_process_of_several_dies_mid_step(tmp_path: Path, images: str, plain: RunConfig) -> None:
    config = json.dumps(plain.to_dict())
    codes, said = ended(start(2, images, config, tmp_path / "run", 50, "", "1@3"), 60)
    assert codes == [5, 9]
    assert "process 1 of 2 (pid " in said[0]
    found = load_latest(tmp_path / "run")
    assert found is not None and found.step in (2, 3) and not found.problems
    assert not list((tmp_path / "run").rglob(".tmp-*"))


def test_shares_cover_all_rows_in_order_and_keep_units_whole() -> None:
    for size in (1, 2, 3, 8):
        team = Team()
        team.size = size
        for n, unit in ((7, 1), (64, 250), (1000, 250), (1001, 250), (3, 1)):
            shares = team.shares(n, unit)
            assert np.concatenate([np.arange(n)[share] for share in shares]).tolist() == list(range(n))
            assert len(shares) == size and all(share.start % unit == 0 or share.start == n for share in shares)
