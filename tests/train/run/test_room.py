"""The disk that a run needs is known before its first step: what it then wrote is the judge."""

import dataclasses
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import gendi.train.run.room as room_module
from gendi.data import open_data
from gendi.data.kinds import kind_of
from gendi.errors import ResourceError
from gendi.train.budget import Budget
from gendi.train.config import RunConfig
from gendi.train.kept.checkpoint import list_checkpoints
from gendi.train.progress.previews import PREVIEWS, write_preview
from gendi.train.run.loop import train
from gendi.train.run.room import TEXTS, checkpoint_bytes, needs
from gendi.train.step.trainer import Trainer

Replace = dataclasses.replace
HEADER = 250  # bytes that the header of a file is allowed for each tensor, its name among them


def folder_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def variant(tiny: RunConfig, name: str) -> RunConfig:
    match name:
        case "adamw":
            return Replace(tiny, optim=Replace(tiny.optim, name="adamw"))
        case "posthoc":
            return Replace(tiny, optim=Replace(tiny.optim, posthoc_every=20))
        case "learned schedule":
            bound = Replace(tiny.objective, weighting="bound", time_sampling="uniform", precondition=False)
            return Replace(tiny, process=Replace(tiny.process, schedule="learned"), objective=bound)
        case "loss-aware":
            steps = Replace(tiny.objective, time_sampling="loss-aware", precondition=False, weighting="simple")
            return Replace(tiny, process=Replace(tiny.process, steps=50), objective=steps)
    return tiny


@pytest.mark.parametrize("name", ["muon", "adamw", "posthoc", "learned schedule", "loss-aware"])
def test_what_a_checkpoint_takes_is_known_before_the_optimiser_s_first_step(
    tmp_path: Path, images: str, tiny: RunConfig, name: str
) -> None:
    config = variant(tiny, name)
    trainer = Trainer(config, open_data(images))
    before = checkpoint_bytes(trainer)
    train(images, config, tmp_path / "run", Budget(steps=2))
    real = folder_bytes(list_checkpoints(tmp_path / "run")[-1][1])
    assert real <= before
    trainer.step(0.5)
    assert checkpoint_bytes(trainer) == before
    parts = sum(len(group) for group in trainer.tensors().values())
    assert before - real <= TEXTS + HEADER * parts


def test_what_a_whole_run_takes(tmp_path: Path, images: str, tiny: RunConfig) -> None:
    """Everything that is counted, against the folders; the one checkpoint more is the one that is being written."""
    config = variant(tiny, "posthoc")
    trainer = Trainer(config, open_data(images))
    found = {
        need.name: need for need in needs(trainer, Budget(steps=20), step=0, seconds=0.0, step_seconds=None, kept=0)
    }
    train(images, config, tmp_path / "run", Budget(steps=20))
    folders = {"checkpoint": "checkpoints", "snapshot": "ema", "preview": "previews"}
    there = {
        name: [p for p in (tmp_path / "run" / folder).iterdir() if p.name != "latest"]
        for name, folder in folders.items()
    }
    assert {name: found[name].count for name in there} == {name: len(paths) for name, paths in there.items()} | {
        "checkpoint": tiny.train.keep + 1
    }
    for name, paths in there.items():
        for path in paths:
            real = folder_bytes(path) if path.is_dir() else path.stat().st_size
            assert real <= found[name].each, name
    assert folder_bytes(tmp_path / "run" / "bundle") <= found["bundle"].each
    assert found["bundle"].each <= folder_bytes(tmp_path / "run" / "bundle") + TEXTS + HEADER * 200


def test_what_is_there_already_is_not_counted_again(tmp_path: Path, images: str, tiny: RunConfig) -> None:
    config = variant(tiny, "posthoc")
    train(images, config, tmp_path / "run", Budget(steps=9))
    shutil.rmtree(tmp_path / "run" / "bundle")
    train(images, config, tmp_path / "run", Budget(steps=20))
    first, second = (
        line for line in (tmp_path / "run" / "train.log").read_text().splitlines() if line.startswith("needs")
    )
    counts = [
        {name: int(count) for count, name in re.findall(r"(\d+) (checkpoint|snapshot|preview|bundle)", line)}
        for line in (first, second)
    ]
    # 63 images, then 77 more, a snapshot after 21, 42, 63, 84, ... of them, a preview each 70
    assert counts[0] == {"checkpoint": 3, "snapshot": 3, "bundle": 2}
    assert counts[1] == {"checkpoint": 1, "snapshot": 140 // 20 - 63 // 20, "preview": 2, "bundle": 2}


def test_too_small_a_disk_is_said_before_step_0(
    tmp_path: Path, images: str, tiny: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    free: list[int] = [1000]
    monkeypatch.setattr(room_module, "free_bytes", lambda folder: free[0])
    config, stepped = variant(tiny, "posthoc"), list[Any]()
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", lambda *args: stepped.append(args))
        with pytest.raises(ResourceError) as caught:
            train(images, config, tmp_path / "run", Budget(steps=20))
    assert caught.value.exit_code == 5 and stepped == []
    said = str(caught.value)
    assert "1.0 kB are free" in said and "3 checkpoints of" in said and "(--keep 1)" in said and "--out" in said
    assert "--optim.posthoc-every" in said
    trainer = Trainer(config, open_data(images))
    exact = needs(trainer, Budget(steps=20), step=0, seconds=0.0, step_seconds=None, kept=0)
    free[0] = sum(need.count * need.each for need in exact) - 1
    with pytest.raises(ResourceError):
        train(images, config, tmp_path / "run", Budget(steps=20))
    free[0] += 1
    assert train(images, config, tmp_path / "run", Budget(steps=20)).finished


def test_a_budget_in_time_counts_what_its_pace_will_write(images: str, tiny: RunConfig) -> None:
    trainer = Trainer(variant(tiny, "posthoc"), open_data(images))
    budget = Budget(seconds=100.0)
    known, unknown = (
        {need.name: need.count for need in needs(trainer, budget, step=40, seconds=40.0, step_seconds=each, kept=2)}
        for each in (0.5, None)
    )
    assert known == {"checkpoint": 1, "snapshot": 1120 // 20 - 280 // 20, "preview": 12, "bundle": 2}
    assert unknown == {"checkpoint": 1, "snapshot": 1, "bundle": 2}


def test_previews_of_noise_fit_their_estimate(tmp_path: Path, tiny: RunConfig) -> None:
    """Noise is what PNG compresses least."""
    np.save(tmp_path / "x.npy", np.zeros((8, 12, 9, 3), np.uint8))
    config = Replace(tiny, conditions=())
    trainer = Trainer(config, open_data(str(tmp_path / "x.npy")))
    found = {n.name: n for n in needs(trainer, Budget(steps=10), step=0, seconds=0.0, step_seconds=None, kept=0)}
    noise = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (PREVIEWS, 12, 9, 3), dtype=np.uint8))
    write_preview(tmp_path / "noise.png", kind_of("image").preview(noise.numpy()))
    assert (tmp_path / "noise.png").stat().st_size <= found["preview"].each
