"""`gendi plan` against arithmetic by hand; `gendi runs` against runs in every state."""

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny import TINY

from gendi.config import NetworkConfig, RunConfig
from gendi.hardware import DEVICES
from gendi.lock import RunLock
from gendi.scaling import activation_numbers, plan

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


def test_runs_tells_age_and_the_last_metric_there_is(gendi: Gendi, tiny_run: Path, tmp_path: Path) -> None:
    """A measured FID before a held-out loss, that before a loss; the age is that of the last word of the run."""
    for name in ("measured", "heldout", "begun", "none"):
        shutil.copytree(tiny_run, tmp_path / name)
    measured = {"metrics": {"kid": {"value": 3.0}, "fid-digits": {"value": 7.5, "floor": 1.5}}}
    (tmp_path / "measured" / "evaluation.json").write_text(json.dumps(measured))
    lines = ['{"step": 1, "loss": 0.9, "heldout": null}', '{"step": 2, "heldout": 0.5}', '{"step": 3, "loss": 0.25}']
    (tmp_path / "heldout" / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    (tmp_path / "begun" / "metrics.jsonl").write_text(lines[0] + "\n" + lines[2] + "\n")
    (tmp_path / "none" / "metrics.jsonl").write_text("")
    for name in ("measured", "heldout", "begun", "none"):
        os.utime(tmp_path / name / "status.json", (time.time() - 7200,) * 2)
    found = {Path(run["run"]).name: run for run in json.loads(gendi("runs", str(tmp_path), "--json").out)["runs"]}
    assert {name: run["metric"] for name, run in found.items()} == {
        "measured": {"name": "fid-digits", "value": 7.5, "floor": 1.5},
        "heldout": {"name": "held-out loss", "value": 0.5, "floor": None},
        "begun": {"name": "loss", "value": 0.25, "floor": None},
        "none": None,
    }
    assert all(7200 <= run["age_seconds"] < 7800 for run in found.values())
    shown = gendi("runs", str(tmp_path)).out
    assert "fid-digits 7.5" in shown and "loss 0.25" in shown and "2h" in shown


def test_keep_says_how_many_checkpoints_stay(gendi: Gendi, tiny_data: Path, tmp_path: Path) -> None:
    words = ["train", str(tiny_data), *TINY, "--out", str(tmp_path / "run"), "--train.checkpoint-every", "0"]
    assert gendi(*words, "--steps", "5", "--keep", "3").code == 0
    folder = tmp_path / "run" / "checkpoints"
    assert sorted(path.name for path in folder.glob("step_*")) == [f"step_{step:08d}" for step in (3, 4, 5)]
    assert gendi(*words, "--steps", "6", "--keep", "1").code == 0  # harmless: the run goes on
    assert [path.name for path in folder.glob("step_*")] == ["step_00000006"]
