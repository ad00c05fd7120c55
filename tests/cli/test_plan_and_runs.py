"""`gendi plan` against arithmetic by hand; `gendi runs` against runs in every state."""

import json
import shutil
from pathlib import Path

import pytest

from conftest import Gendi
from gendi.config import NetworkConfig, RunConfig
from gendi.hardware import DEVICES
from gendi.lock import RunLock
from gendi.scaling import activation_numbers, plan


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
    even = plan(config, (1, 8, 8), DEVICES["t4"], devices=2, images=10, batch=4)
    uneven = plan(config, (1, 8, 8), DEVICES["t4"], devices=2, images=10, batch=3)
    assert uneven["images_per_second"] == pytest.approx(even["images_per_second"] * 3 / 4)


def test_activations_grow_with_the_pixels() -> None:
    config = RunConfig(network=NetworkConfig(channels=(8,), blocks=1, groups=4))
    small, large = (activation_numbers(config, (1, side, side)) for side in (8, 16))
    assert 3.5 < large / small <= 4


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("plan mnist --kind h10", "Perhaps you meant 'h100'"),
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
