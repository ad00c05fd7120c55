"""Weights, averages and moments shared out among two processes: the same run, files that any number goes on from.

Sums over two processes are the same whether gradients are averaged whole or in shares; what differs is the order of
additions inside matrix products, as between one and two processes (see `test_distributed`).
"""

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from test_distributed import deviations, ended, plain, start

from gendi.errors import UsageError
from gendi.train.budget import Budget
from gendi.train.config import OptimConfig, RunConfig
from gendi.train.kept.checkpoint import load_latest
from gendi.train.kept.status import read_lines
from gendi.train.run.loop import train
from gendi.train.weights.posthoc_ema import list_snapshots, reconstruct

__all__ = ["plain"]


@pytest.fixture
def shared(plain: RunConfig) -> RunConfig:
    """Weights of 3 output channels, which two processes cannot share evenly, power averages and parts of a batch."""
    optim = dataclasses.replace(plain.optim, posthoc_every=14)
    train = dataclasses.replace(plain.train, shard=True, layout="contiguous", accumulate=2, log_every=1)
    return dataclasses.replace(plain, optim=optim, train=train)


def both(tmp_path: Path, images: str, config: RunConfig, steps: int) -> tuple[Path, Path]:
    """Return the runs of two processes that share the network and of two that each have it whole."""
    whole = dataclasses.replace(config, train=dataclasses.replace(config.train, shard=False))
    for name, each in (("shared", config), ("whole", whole)):
        codes, said = ended(start(2, images, json.dumps(each.to_dict()), tmp_path / name, steps, "", ""))
        assert codes == [0, 0], said
    return tmp_path / "shared", tmp_path / "whole"


@pytest.mark.slow
def test_two_processes_that_share_a_network_take_the_steps_of_two_that_have_it(
    tmp_path: Path, images: str, shared: RunConfig
) -> None:
    a, b = both(tmp_path, images, shared, 10)  # with previews: 70 images are 10 steps
    assert "2 processes that share the network" in (a / "train.log").read_text()
    for group in ("model", "ema", "power_0", "power_1", "optimizer"):
        apart = deviations(a, b, group)
        assert apart.max() <= 2 * shared.optim.lr * 10, group
        assert apart.quantile(0.9) < 1e-5, group
    for one, two in zip(read_lines(a / "metrics.jsonl"), read_lines(b / "metrics.jsonl"), strict=True):
        assert one.keys() == two.keys()
        for key in one.keys() & {"loss", "grad_norm", "heldout"}:
            assert one[key] == pytest.approx(two[key], rel=1e-3)
    assert list_snapshots(a).keys() == list_snapshots(b).keys()
    theirs = reconstruct(b, 0.05)[0]
    for name, tensor in reconstruct(a, 0.05)[0].items():
        assert (tensor - theirs[name]).abs().max() < 2 * shared.optim.lr * 10
    assert (a / "bundle" / "model.safetensors").stat().st_size == (b / "bundle" / "model.safetensors").stat().st_size


@pytest.mark.slow
def test_muon_s_matrices_are_shared_out(tmp_path: Path, images: str, shared: RunConfig) -> None:
    """Newton-Schulz in bf16 turns round-off into a direction: the first step agrees, later ones by their losses."""
    config = dataclasses.replace(shared, optim=OptimConfig(name="muon", lr=3e-3))
    a, b = both(tmp_path, images, config, 1)
    apart = deviations(a, b, "model")
    assert apart.quantile(0.9) < 2 * 2**-8 * config.optim.lr  # two roundings to bf16 of an update of about lr
    for name in ("shared", "whole"):
        shutil.rmtree(tmp_path / name)
    a, b = both(tmp_path, images, config, 6)
    for one, two in zip(read_lines(a / "metrics.jsonl"), read_lines(b / "metrics.jsonl"), strict=True):
        assert one["loss"] == pytest.approx(two["loss"], rel=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_stopped_and_gone_on_with_equals_never_stopped(
    tmp_path: Path, images: str, shared: RunConfig, name: str
) -> None:
    constant = dataclasses.replace(shared.optim, name=name, warmup=0.0, decay=0.0)  # whatever the budget
    config = json.dumps(dataclasses.replace(shared, optim=constant).to_dict())
    for run, steps in (("whole", 5), ("parts", 2), ("parts", 5)):
        codes, said = ended(start(2, images, config, tmp_path / run, steps, "", ""))
        assert codes == [0, 0], said
    for group in ("model", "ema", "power_0", "power_1", "optimizer"):
        assert deviations(tmp_path / "whole", tmp_path / "parts", group).max() == 0, group


@pytest.mark.slow
def test_shared_then_alone_then_whole_then_shared(tmp_path: Path, images: str, shared: RunConfig) -> None:
    run, whole = tmp_path / "run", dataclasses.replace(shared, train=dataclasses.replace(shared.train, shard=False))
    sharing, having = json.dumps(shared.to_dict()), json.dumps(whole.to_dict())
    assert ended(start(2, images, sharing, run, 2, "", ""))[0] == [0, 0]
    before = load_latest(run)
    assert before is not None
    train(images, shared, run, Budget(steps=3))
    assert "changes nothing with one process" in (run / "train.log").read_text()
    assert ended(start(2, images, having, run, 4, "", ""))[0] == [0, 0]
    codes, said = ended(start(2, images, sharing, run, 6, "", ""))
    assert codes == [0, 0], said
    found = load_latest(run)
    assert found is not None and found.step == 6
    for name, tensor in found.tensors["model"].items():
        assert tensor.shape == before.tensors["model"][name].shape
        assert (tensor - before.tensors["model"][name]).abs().max() <= 2 * shared.optim.lr * 4
    log = (run / "train.log").read_text()
    assert "number of processes, train.shard changed" in log and "train.shard changed since" in log


BYTES = """
import json, sys
import torch
torch.set_num_threads(1)
from gendi.train.config import RunConfig
from gendi.data import open_data
from gendi.machine.distributed import together
from gendi.train.step.trainer import Trainer

config = RunConfig.from_dict(json.loads(sys.argv[2]))
with together() as team:
    trainer = Trainer(config, open_data(sys.argv[1]))
    trainer.step(0.5)
    states = [v for o in trainer.optimizers for s in o.state.values() for v in s.values() if v.ndim]
    held = [*trainer.network.parameters(), *trainer.ema.weights.values(), *states]
    local = sum(t.to_local().numel() for t in held)
    if team.first:
        print(json.dumps([local, sum(t.numel() for t in held)]))
"""


def test_each_process_holds_its_part(tmp_path: Path, images: str, shared: RunConfig) -> None:
    """Weights, the average and two moments, 4 p numbers: half of them, and what uneven rows leave over."""
    command = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--no-python", sys.executable, "-c", BYTES]
    out = subprocess.run(
        [sys.executable, *command, images, json.dumps(shared.to_dict())], capture_output=True, text=True, timeout=200
    )
    assert out.returncode == 0, out.stderr
    local, whole = json.loads(out.stdout)
    assert whole % 4 == 0 and 0.5 * whole <= local <= 0.52 * whole


def test_shards_have_one_layout(shared: RunConfig) -> None:
    config = dataclasses.replace(shared, train=dataclasses.replace(shared.train, layout="channels-last"))
    with pytest.raises(UsageError, match=r"train\.shard.*channels-last"):
        config.validate()
