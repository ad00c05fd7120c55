"""The whole way on sixteen tiny images: train, sample, again, evaluate, report, info."""

import dataclasses
import json
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny import TINY

from gendi.api.request import read_request
from gendi.cli.doctor import _precision
from gendi.cli.values import parse_duration
from gendi.data.images.sample_files import read_samples, write_samples
from gendi.storage.toml import read_toml
from gendi.train.config import RunConfig
from gendi.train.kept.bundle import load_bundle
from gendi.train.presets import get_preset

Gendi = Callable[..., Any]


@pytest.fixture
def run(tiny_run: Path, tmp_path: Path) -> Path:
    """A copy of the run that a test may write to."""
    return Path(shutil.copytree(tiny_run, tmp_path / "tiny"))


def test_train_again_says_that_it_is_finished(gendi: Gendi, tiny_data: Path, run: Path) -> None:
    again = ["train", str(tiny_data), *TINY, "--steps", "4", "--out", str(run)]
    outcome = gendi(*again)
    assert outcome.code == 0
    assert f"{run} is finished: 4 steps" in outcome.out
    assert f"gendi sample {run}" in outcome.err
    as_json = json.loads(gendi(*again, "--json").out)
    assert (as_json["step"], as_json["images"], as_json["already_finished"]) == (4, 16, True)


def test_train_with_other_flags_is_refused_and_fresh_starts_over(gendi: Gendi, tiny_data: Path, run: Path) -> None:
    other = ["train", str(tiny_data), *TINY, "--steps", "2", "--out", str(run), "--optim.lr", "0.5"]
    outcome = gendi(*other)
    assert outcome.code == 2
    assert "optim.lr" in outcome.err
    assert gendi(*other, "--fresh").code == 0
    assert load_bundle(run).config.optim.lr == 0.5
    assert load_bundle(run).meta["step"] == 2


def test_dry_run_writes_nothing(gendi: Gendi, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    plan = json.loads(gendi("train", str(tiny_data), *TINY, "--dry-run", "--json").out)
    assert plan["run"] == "runs/tiny"
    assert plan["budget"] == {"seconds": parse_duration(get_preset("mnist").max_time)}
    assert plan["batch_size"] == 4
    assert plan["config"]["network"]["channels"] == [8, 16]
    shown = gendi("train", str(tiny_data), *TINY, "--dry-run", "--max-time", "90s")
    assert "1m30s" in shown.out
    assert f"{plan['parameters']:,}" in shown.out
    lines = shown.out.partition("\n\n")[2]
    printed = tomllib.loads(lines)
    assert not {"cells", "tokens"} & set(printed) and "distil" not in printed["objective"]  # these are pictures
    Path("printed.toml").write_text(lines)
    read = RunConfig.from_dict(read_toml(Path("printed.toml")))
    assert read == RunConfig.from_dict(plan["config"])
    Path("printed.toml").unlink()
    assert "probing" not in shown.err
    assert list(tmp_path.iterdir()) == []


def test_the_probe_says_that_it_probes(gendi: Gendi, tiny_data: Path, tmp_path: Path) -> None:
    words = [word if word != "fp32" else "auto" for word in TINY]
    words = ["train", str(tiny_data), *words, "--steps", "1", "--out", str(tmp_path / "r")]
    assert all("probing which arithmetic" in gendi(*words, *more).err for more in (["--dry-run"], []))


def test_sample_i_is_the_same_whatever_is_around_it(gendi: Gendi, tiny_run: Path, tmp_path: Path) -> None:
    base = f"sample {tiny_run} --steps 4 --seed 3 --class 1"
    assert gendi(f"{base} --n 5 --out {tmp_path}/five.npz").code == 0
    assert gendi(f"{base} --n 3 --batch-size 2 --out {tmp_path}/three").code == 0
    assert gendi(f"{base} --n 5 --out {tmp_path}/grid.png --json").code == 0
    five, three = read_samples(tmp_path / "five.npz"), read_samples(tmp_path / "three")
    # float round-off may move a value across the boundary between two bytes, never further
    assert np.abs(five[:3].astype(int) - three.astype(int)).max() <= 1
    np.testing.assert_array_equal(read_samples(tmp_path / "grid.png"), five)
    assert gendi(f"{base} --n 5 --out {tmp_path}/other.npz --seed 4").code == 0
    assert (read_samples(tmp_path / "other.npz") != five).any()


def test_again_draws_the_same_samples(gendi: Gendi, tiny_run: Path, tmp_path: Path) -> None:
    grid = tmp_path / "grid.png"
    gendi(f"sample {tiny_run} --n 4 --sampler ddim --steps 5 --eta 0.7 --seed 9 --out {grid}")
    outcome = gendi(f"sample --again {grid}")
    assert outcome.out.strip() == str(tmp_path / "grid-again.png")
    np.testing.assert_array_equal(read_samples(tmp_path / "grid-again.png"), read_samples(grid))
    assert (tmp_path / "grid-again.png").read_bytes() == grid.read_bytes()


def test_again_from_one_picture_of_a_folder(gendi: Gendi, tiny_run: Path, tmp_path: Path) -> None:
    gendi(f"sample {tiny_run} --n 4 --steps 3 --seed 9 --out {tmp_path}/some")
    outcome = gendi(f"sample --again {tmp_path}/some/00002.png --out {tmp_path}/one.npz")
    assert outcome.code == 0
    one, some = read_samples(tmp_path / "one.npz"), read_samples(tmp_path / "some")
    assert len(one) == 1
    assert np.abs(one[0].astype(int) - some[2].astype(int)).max() <= 1


def test_again_after_the_run_moved_or_changed(gendi: Gendi, run: Path, tmp_path: Path) -> None:
    grid, moved = tmp_path / "grid.png", tmp_path / "moved"
    gendi(f"sample {run} --n 2 --steps 3 --out {grid}")
    run.rename(moved)
    assert gendi(f"sample --again {grid}").code == 2
    assert gendi(f"sample {moved} --again {grid}").code == 0
    np.testing.assert_array_equal(read_samples(tmp_path / "grid-again.png"), read_samples(grid))
    changed = dataclasses.replace(read_request(grid), weights="0" * 64)
    write_samples(tmp_path / "changed.npz", read_samples(grid), changed.texts)
    outcome = gendi(f"sample {moved} --again {tmp_path}/changed.npz")
    assert outcome.code == 0
    assert "the samples will differ" in outcome.err


def test_evaluate_a_run(gendi: Gendi, run: Path) -> None:
    first = gendi(f"evaluate {run} --n 6 --steps 3 --json")
    assert first.code == 0
    found = json.loads(first.out)
    assert found["n"] == 6
    assert found["metrics"]["fid-pixels"]["floor"] is None  # one held-out image has no covariance
    assert found["source"]["steps"] == 3
    assert json.loads((run / "evaluation.json").read_text()) == found
    assert len(read_samples(run / "samples.npz")) == 6
    assert {"sample_seconds", "evaluate_seconds", "train_seconds"} <= json.loads(
        (run / "timings.json").read_text()
    ).keys()
    second = gendi(f"evaluate {run} --n 6 --steps 3")
    assert "measuring the 6 samples in" in second.err
    assert "fid-pixels" in second.out
    assert "drawing" in gendi(f"evaluate {run} --n 6 --steps 4").err


def test_evaluate_samples_from_anywhere(gendi: Gendi, tiny_data: Path, tmp_path: Path) -> None:
    with np.load(tiny_data) as arrays:
        real = arrays["images"]
    np.savez(tmp_path / "copies.npz", samples=real)
    found = json.loads(gendi(f"evaluate --samples {tmp_path}/copies.npz --data {tiny_data} --json").out)
    assert found["n"] == 16
    # 15 of the 16 images are training images, so each of those is a copy of one
    assert found["metrics"]["near-copies"]["value"] >= 15 / 16


def test_report_and_info(gendi: Gendi, run: Path) -> None:
    gendi(f"evaluate {run} --n 6 --steps 3")
    outcome = gendi(f"report {run}")
    assert outcome.code == 0
    assert outcome.out.strip() == str(run / "report.html")
    assert (run / "report.html").read_text().lower().startswith("<!doctype html>")
    found = json.loads(gendi(f"info {run} --json").out)
    bundle = load_bundle(run)
    assert found["parameters"] == sum(p.numel() for p in bundle.network().parameters())
    assert found["training"]["step"] == 4
    assert found["status"]["status"] == "finished"
    assert found["data"]["fingerprint"] == bundle.meta["fingerprint"]
    assert "fid-pixels" in found["metrics"]
    assert f"{found['parameters']:,}" in gendi(f"info {run}").out
    assert json.loads(gendi(f"info {run}/bundle --json").out)["parameters"] == found["parameters"]


def test_info_counts_the_operations_of_a_convolution_as_the_formula_does(gendi: Gendi, tiny_run: Path) -> None:
    """Independent count: 2 x multiply-adds of every convolution and linear layer, seen by hooks on a real pass."""
    import torch
    from torch import nn

    bundle, total = load_bundle(tiny_run), 0
    network = bundle.network()

    def count(layer: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        nonlocal total
        if isinstance(layer, nn.Conv2d):
            each = layer.in_channels // layer.groups * layer.kernel_size[0] * layer.kernel_size[1]
            total += 2 * output.numel() * each
        elif isinstance(layer, nn.Linear):
            total += 2 * output.numel() * layer.in_features

    for layer in network.modules():
        layer.register_forward_hook(count)
    network(torch.zeros(1, 1, 8, 8), torch.zeros(1))
    assert json.loads(gendi(f"info {tiny_run} --json").out)["flops_per_image"] == total


def test_lists_and_doctor(gendi: Gendi, tiny_data: Path) -> None:
    from gendi.diffusion.gaussian.samplers import SAMPLERS
    from gendi.train.presets import PRESETS

    assert json.loads(gendi("samplers --json").out).keys() == SAMPLERS.keys() | {"tokens"}
    assert json.loads(gendi("presets --json").out).keys() == PRESETS.keys()
    assert all(name in gendi("presets").out for name in PRESETS)
    assert all(name in gendi("samplers").out for name in SAMPLERS)
    checked = json.loads(gendi(f"data check {tiny_data} --json").out)
    assert (checked["train"], checked["heldout"], checked["height"]) == (15, 1, 8)
    assert "training images" in gendi(f"data check {tiny_data}").out


def test_doctor(gendi: Gendi, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = {"precision": "fp32", "layout": "contiguous", "reason": "fp32: measured"}
    monkeypatch.setattr("gendi.cli.doctor._precision", lambda: chosen)
    import torch

    found = json.loads(gendi("doctor --json").out)
    assert found["packages"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert found["precision"] == chosen
    assert found["disk"]["free"] > 0
    assert found["memory"]["available"] > 0
    assert "fp32: measured" in gendi("doctor").out


def test_demo_goes_the_whole_way_and_the_second_time_does_nothing(
    gendi: Gendi, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("gendi.cli.demo.SAMPLES", 8)
    line = f"demo --minutes 0.02 --data {tiny_data} --out runs/demo"
    first = gendi(line)
    assert first.code == 0
    run = tmp_path / "runs" / "demo"
    for name in ("report.html", "samples.png", "samples.npz", "evaluation.json", "timings.json"):
        assert (run / name).is_file(), name
    assert str(run / "report.html") in first.out
    assert "fid-pixels" in first.out
    assert "next:" in first.out
    assert read_samples(run / "samples.npz").shape == (8, 8, 8, 1)
    before = {path: path.stat().st_mtime_ns for path in run.iterdir() if path.is_file() and path.name != ".lock"}
    second = gendi(line)
    assert second.code == 0
    assert "is finished" in second.err
    assert second.out == first.out
    changed = {path.name for path, time in before.items() if path.stat().st_mtime_ns != time}
    assert changed <= {"train.log", "status.json"}


def test_the_installed_command_in_processes_of_its_own(tiny_data: Path, tmp_path: Path) -> None:
    def gendi(*words: str) -> str:
        command = [sys.executable, "-m", "gendi", *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stdout

    shown = gendi("train", str(tiny_data), *TINY, "--steps", "2")
    assert "runs/tiny: 2 steps, 8 images" in shown
    assert gendi("sample", "runs/tiny", "--n", "4", "--steps", "2").strip() == "runs/tiny/samples.png"
    assert json.loads(gendi("evaluate", "runs/tiny", "--n", "4", "--steps", "2", "--json"))["n"] == 4


def test_doctor_probes_the_network_of_the_default_preset() -> None:
    """The real probe, once: the preset leaves the number of classes to data that doctor does not have."""
    chosen = _precision()
    assert chosen["precision"] in ("fp32", "bf16")
    assert chosen["layout"] in ("contiguous", "channels-last")
    assert chosen["precision"] in chosen["reason"]
