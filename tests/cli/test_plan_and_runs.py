"""`gendi plan` against arithmetic by hand; `gendi runs` against runs in every state."""

import dataclasses
import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from tiny import TINY
from torch.utils.flop_counter import FlopCounterMode

import gendi.train.run.scaling
from gendi.diffusion.networks.config import NetworkConfig
from gendi.errors import UsageError
from gendi.machine.hardware import DEVICES, device_of, has_bf16
from gendi.storage.lock import RunLock
from gendi.train.config import OptimConfig, RunConfig
from gendi.train.run.scaling import activation_bytes, optimiser_cost, plan
from gendi.train.step.muon import orthogonalise
from gendi.train.step.optim import make_optimizers
from gendi.train.weights.model import network_of

Gendi = Callable[..., Any]


def test_plan_is_the_arithmetic_it_says(gendi: Gendi) -> None:
    found = json.loads(gendi("plan cifar10 --gpus 4 --kind a100 --images 1M --utilisation 0.5 --json").out)
    p, flops = found["parameters"], found["flops_per_image"]
    assert found["images_per_second"] == pytest.approx(4 * 0.5 * 312e12 / (3 * flops))
    assert found["seconds"] == pytest.approx(1e6 / found["images_per_second"])
    memory = found["memory"]
    assert memory["weights"] == memory["ema"] == memory["gradients"] == 4 * p
    assert memory["total"] == sum(memory[k] for k in ("weights", "ema", "gradients", "optimiser", "activations"))


def test_an_uneven_batch_goes_at_the_pace_of_the_fullest_device() -> None:
    config = RunConfig(network=NetworkConfig(channels=(8,), blocks=1, groups=4))
    even = plan(config, (1, 8, 8), DEVICES["a100"], devices=2, images=10, batch=4)
    uneven = plan(config, (1, 8, 8), DEVICES["a100"], devices=2, images=10, batch=3)
    assert uneven["images_per_second"] == pytest.approx(even["images_per_second"] * 3 / 4)


def test_activations_grow_with_the_pixels() -> None:
    config = RunConfig(network=NetworkConfig(channels=(8,), blocks=1, groups=4))
    small, large = (activation_bytes(config, (1, side, side), "fp32")[0] for side in (8, 16))
    assert 3.5 < large / small <= 4


def test_what_is_kept_of_a_row_is_what_autograd_keeps(monkeypatch: pytest.MonkeyPatch) -> None:
    """By hand, of y = SiLU(a x) then b: both inputs of the products, and SiLU's; in bf16 the weights' copies too."""

    class Small(torch.nn.Sequential):
        def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
            return super().forward(x)

    def network(*_: object) -> torch.nn.Module:
        return Small(torch.nn.Linear(6, 10, bias=False), torch.nn.SiLU(), torch.nn.Linear(10, 2, bias=False))

    monkeypatch.setattr(gendi.train.run.scaling, "network_of", network)
    assert activation_bytes(RunConfig(), (6,), "fp32") == (4 * (6 + 10 + 10), 0)
    assert activation_bytes(RunConfig(), (6,), "bf16") == (2 * (6 + 10 + 10), 2 * 10 * 2)


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_moments_are_those_of_a_real_optimiser_after_a_step(name: str) -> None:
    config = RunConfig(network=NetworkConfig(channels=(8, 16), blocks=1, groups=4), optim=OptimConfig(name=name))
    network = network_of(config, (1, 8, 8))
    network(torch.zeros(1, 1, 8, 8), torch.zeros(1)).sum().backward()
    optimizers = make_optimizers(network, config.optim)
    for optimizer in optimizers:
        optimizer.step()
    states = [state for optimizer in optimizers for state in optimizer.state.values()]
    held = sum(v.nbytes for state in states for key, v in state.items() if key != "step")
    assert optimiser_cost(config, (1, 8, 8))[0] == held


@pytest.mark.parametrize("shape", [(4, 10), (10, 4), (6, 3, 2, 2)])
def test_muons_products_are_counted(shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    class Inner(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = torch.nn.Parameter(torch.zeros(shape))
            self.bias = torch.nn.Parameter(torch.zeros(3))

        def outer_layers(self) -> tuple[torch.nn.Module, ...]:
            return ()

        def units(self) -> tuple[torch.nn.Module, ...]:
            return ()

    monkeypatch.setattr(gendi.train.run.scaling, "network_of", lambda *_: Inner())
    with FlopCounterMode(display=False) as counter:
        orthogonalise(torch.zeros(shape).flatten(1)[None])
    assert optimiser_cost(RunConfig(optim=OptimConfig(name="muon")), ())[1] == counter.get_total_flops()


def test_sharding_and_parts_divide_what_they_say() -> None:
    config = RunConfig(network=NetworkConfig(channels=(8,), blocks=1, groups=4))
    train = dataclasses.replace(config.train, shard=True, accumulate=3)
    parts = dataclasses.replace(config, train=train)
    whole, shared = (plan(c, (1, 8, 8), DEVICES["a100"], devices=4, images=10, batch=32) for c in (config, parts))
    for key in ("weights", "gradients", "ema", "optimiser"):
        assert shared["memory"][key] == whole["memory"][key] / 4
    of_row, of_all = activation_bytes(config, (1, 8, 8), "bf16")
    assert (whole["rows_at_once"], shared["rows_at_once"]) == (8, 3)
    assert shared["memory"]["activations"] == 3 * of_row + of_all
    assert 0 < shared["memory"]["gathered"] <= 2 * whole["memory"]["weights"]
    p = 4 * whole["parameters"]
    assert whole["exchange_bytes"] == 2 * p * 3 / 4 and shared["exchange_bytes"] == 9 * p * 3 / 4


def test_this_cpu_has_this_machines_memory_and_some_speed() -> None:
    device = device_of("cpu")
    assert device.memory == psutil.virtual_memory().total
    assert device.peak("fp32") > 1e8
    if has_bf16(torch.device("cpu")):
        assert device.peak("bf16") > 1e7
    else:
        with pytest.raises(UsageError, match="does not compute in bf16"):
            device.peak("bf16")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("plan mnist --kind h10", "Perhaps you meant 'h100'"),
        ("plan mnist --kind t4 --precision bf16", "NVIDIA T4 does not compute in bf16: plan with --precision fp32"),
        ("plan mnist --utilisation 1.5", "--utilisation 1.5 is out of range"),
        ("plan mnist --gpus 200 --batch-size 100", "cannot be shared by 200"),
        ("runs no/such/folder", "is no folder"),
    ],
)
def test_what_cannot_be_is_refused(gendi: Gendi, words: str, said: str) -> None:
    outcome = gendi(words)
    assert outcome.code == 2 and said in outcome.err


def test_runs_tells_finished_running_dead_and_damaged_apart(gendi: Gendi, tiny_run: Path, tmp_path: Path) -> None:
    for name in ("finished", "running", "dead", "damaged"):
        shutil.copytree(tiny_run, tmp_path / name)
    for name in ("running", "dead"):
        (tmp_path / name / "status.json").write_text('{"status": "running", "step": 3, "images": 12, "progress": 0.75}')
    (tmp_path / "damaged" / "status.json").write_text("{")
    with RunLock(tmp_path / "running"):
        found = json.loads(gendi("runs", str(tmp_path), "--json").out)["runs"]
    assert {Path(run["run"]).name: run["status"] for run in found} == {
        "finished": "finished",
        "running": "running",
        "dead": "dead",
        "damaged": "unreadable",
    }
    dead = next(run for run in found if run["status"] == "dead")
    assert (dead["step"], dead["images"], dead["progress"]) == (3, 12, 0.75)
    assert dead["bytes"] == sum(path.stat().st_size for path in (tmp_path / "dead").rglob("*") if path.is_file())
    assert "75%" in gendi("runs", str(tmp_path)).out


def test_runs_tells_age_and_the_last_metric_there_is(gendi: Gendi, tiny_run: Path, tmp_path: Path) -> None:
    """A measured FID before a held-out loss, that before a loss; the age is that of the last word of the run."""
    for name in ("measured", "heldout", "begun", "none"):
        shutil.copytree(tiny_run, tmp_path / name)
    measured = {"metrics": {"kid": {"value": 3.0}, "fid-digits": {"value": 7.5, "interval": [6.5, 8.5], "floor": 1.5}}}
    (tmp_path / "measured" / "evaluation.json").write_text(json.dumps(measured))
    lines = ['{"step": 1, "loss": 0.9, "heldout": null}', '{"step": 2, "heldout": 0.5}', '{"step": 3, "loss": 0.25}']
    (tmp_path / "heldout" / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    (tmp_path / "begun" / "metrics.jsonl").write_text(lines[0] + "\n" + lines[2] + "\n")
    (tmp_path / "none" / "metrics.jsonl").write_text("")
    for name in ("measured", "heldout", "begun", "none"):
        os.utime(tmp_path / name / "status.json", (time.time() - 7200,) * 2)
    found = {Path(run["run"]).name: run for run in json.loads(gendi("runs", str(tmp_path), "--json").out)["runs"]}
    assert {name: run["metric"] for name, run in found.items()} == {
        "measured": {"name": "fid-digits", "value": 7.5, "interval": [6.5, 8.5], "floor": 1.5},
        "heldout": {"name": "held-out loss", "value": 0.5, "floor": None},
        "begun": {"name": "loss", "value": 0.25, "floor": None},
        "none": None,
    }
    assert all(7200 <= run["age_seconds"] < 7800 for run in found.values())
    shown = gendi("runs", str(tmp_path)).out
    assert "fid-digits 7.5" in shown and "loss 0.25" in shown and "2h" in shown


def test_runs_and_info_say_the_last_verdict_in_one_word(gendi: Gendi, tiny_run: Path, tmp_path: Path) -> None:
    """Only the last evaluation counts; a run whose lines say nothing or another word has none."""

    def line(step: int, verdict: object) -> str:
        return json.dumps({"step": step, "loss": 0.5, "evaluation": {"metrics": {}, "verdict": verdict}}) + "\n"

    texts = {
        "falls": line(1, None) + line(2, "improving"),
        "copies": line(1, "level") + line(2, "copying") + '{"step": 3, "loss": 0.5}\n',
        "early": line(1, "level") + line(2, None),
        "edited": line(1, ["level"]),
        "none": "",
    }
    for name, text in texts.items():
        shutil.copytree(tiny_run, tmp_path / name)
        (tmp_path / name / "metrics.jsonl").write_text(text)
    found = {Path(run["run"]).name: run for run in json.loads(gendi("runs", str(tmp_path), "--json").out)["runs"]}
    expected = {"falls": "improving", "copies": "copying", "early": None, "edited": None, "none": None}
    assert {name: run["verdict"] for name, run in found.items()} == expected
    shown = {words[0]: words for words in map(str.split, gendi("runs", str(tmp_path)).out.splitlines()) if words}
    assert "verdict" in shown["run"] and "improving" in shown[str(tmp_path / "falls")]
    for name, verdict in expected.items():
        assert json.loads(gendi("info", str(tmp_path / name), "--json").out)["verdict"] == verdict
        lines = [row.split() for row in gendi("info", str(tmp_path / name)).out.splitlines()]
        assert (["verdict", verdict] in lines) == (verdict is not None)
    assert "verdict" not in gendi("runs", str(tmp_path / "early")).out


def test_keep_says_how_many_checkpoints_stay(gendi: Gendi, tiny_data: Path, tmp_path: Path) -> None:
    words = ["train", str(tiny_data), *TINY, "--out", str(tmp_path / "run"), "--train.checkpoint-every", "0"]
    assert gendi(*words, "--steps", "5", "--keep", "3").code == 0
    folder = tmp_path / "run" / "checkpoints"
    assert sorted(path.name for path in folder.glob("step_*")) == [f"step_{step:08d}" for step in (3, 4, 5)]
    assert gendi(*words, "--steps", "6", "--keep", "1").code == 0  # harmless: the run goes on
    assert [path.name for path in folder.glob("step_*")] == ["step_00000006"]


def test_parts_that_memory_decides_are_planned_as_one() -> None:
    config = RunConfig(network=NetworkConfig(channels=(8,), blocks=1, groups=4))
    auto = dataclasses.replace(config, train=dataclasses.replace(config.train, accumulate=0))
    one, other = (plan(c, (1, 8, 8), DEVICES["a100"], images=10, batch=32) for c in (config, auto))
    assert one == other


def test_a_run_of_a_toy_world_has_its_name() -> None:
    from gendi.cli.train_flags import Train

    assert Train(data="toy:moons?n=50", preset="toy").folder() == Path("runs/moons")
    assert Train(data="toy:../../moons", preset="toy").folder() == Path("runs/moons")
