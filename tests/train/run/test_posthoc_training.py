"""Post-hoc EMA while training: exact resumption, snapshots included, and averages against weights tracked directly."""

import dataclasses
import shutil
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from test_resume import assert_equal_runs
from torch import Tensor

import gendi
from gendi.errors import BundleError, PreemptedError, ResourceError, UsageError
from gendi.train.budget import Budget
from gendi.train.config import RunConfig
from gendi.train.kept.checkpoint import load_latest
from gendi.train.kept.snapshots import drop_later
from gendi.train.progress.telling import Silent
from gendi.train.run.loop import train
from gendi.train.run.plan import dry_run
from gendi.train.run.room import TEXTS, count_snapshots
from gendi.train.step.trainer import Trainer
from gendi.train.weights.posthoc_ema import PowerAverages, list_snapshots, sigma_rel_to_gamma
from stop_at import StopAt

STEPS, BATCH, EVERY = 24, 7, 20
WRITTEN = [21, 42, 63, 84, 105, 126, 140, 161, 168]
"""Images at which 20, 40, ..., 160 were passed in steps of 7, and the end."""


@pytest.fixture
def posthoc(tiny: RunConfig) -> RunConfig:
    return dataclasses.replace(tiny, optim=dataclasses.replace(tiny.optim, posthoc_every=EVERY))


@pytest.fixture
def whole(tmp_path: Path, images: str, posthoc: RunConfig) -> Path:
    run = tmp_path / "whole"
    train(images, posthoc, run, Budget(steps=STEPS))
    return run


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def assert_equal_averages(a: Path, b: Path) -> None:
    assert_equal_runs(a, b)
    one, two = load_latest(a), load_latest(b)
    assert one is not None and two is not None
    for group in ("power_0", "power_1"):
        assert all(torch.equal(tensor, two.tensors[group][name]) for name, tensor in one.tensors[group].items())
    assert contents(a / "ema") == contents(b / "ema")


def test_snapshots_are_written_in_time_and_at_the_end(whole: Path) -> None:
    assert sorted({profile.images for profile in list_snapshots(whole)}) == WRITTEN
    last = load_latest(whole)
    assert last is not None
    for i, path in enumerate(list(list_snapshots(whole).values())[-2:]):
        assert all(torch.equal(value, last.tensors[f"power_{i}"][name]) for name, value in load_file(path).items())


@pytest.mark.parametrize("step", [2, 3, 13])  # before the first snapshot, at one, between two
def test_interrupted_and_resumed_equals_uninterrupted(
    tmp_path: Path, images: str, posthoc: RunConfig, whole: Path, step: int
) -> None:
    run = tmp_path / "interrupted"
    with pytest.raises(PreemptedError):
        train(images, posthoc, run, Budget(steps=STEPS), console=StopAt(step, signal.SIGTERM))
    train(images, posthoc, run, Budget(steps=STEPS))
    assert_equal_averages(run, whole)


def test_going_on_from_an_older_checkpoint_writes_later_snapshots_again(
    tmp_path: Path, images: str, posthoc: RunConfig, whole: Path
) -> None:
    """The newer checkpoints are lost, and what is left of later times is another run's."""
    run = tmp_path / "back"
    with pytest.raises(PreemptedError):
        train(images, posthoc, run, Budget(steps=STEPS), console=StopAt(8, signal.SIGTERM))
    for at in ("105", "133"):  # one that will be written again, and one that never is
        later = run / "ema" / f"images_{at:0>12}"
        shutil.copytree(run / "ema/images_000000000021", later)
    train(images, posthoc, run, Budget(steps=STEPS))
    assert_equal_averages(run, whole)
    assert "2 snapshot(s)" in (run / "train.log").read_text()


def test_a_run_without_a_checkpoint_keeps_no_snapshot_of_before(
    tmp_path: Path, images: str, posthoc: RunConfig, whole: Path
) -> None:
    run = tmp_path / "lost"
    shutil.copytree(whole / "ema", run / "ema")
    shutil.copytree(run / "ema/images_000000000021", run / "ema/images_000000000133")
    train(images, posthoc, run, Budget(steps=STEPS))
    assert_equal_averages(run, whole)


def test_fresh_deletes_them(images: str, tiny: RunConfig, whole: Path) -> None:
    train(images, tiny, whole, Budget(steps=2), fresh=True)
    assert not (whole / "ema").exists()


def test_without_it_a_run_is_what_it_was(tmp_path: Path, images: str, tiny: RunConfig, whole: Path) -> None:
    """Tracking changes no bit of the training, and a run without it writes none of its files."""
    run = tmp_path / "plain"
    train(images, tiny, run, Budget(steps=STEPS))
    assert_equal_runs(run, whole)
    assert not (run / "ema").exists()
    last = load_latest(run)
    assert last is not None
    assert set(last.tensors) == {"model", "ema", "optimizer"}


def test_it_cannot_be_changed_halfway(images: str, tiny: RunConfig, whole: Path) -> None:
    with pytest.raises(UsageError, match="optim.posthoc_every was 20, is 0"):
        train(images, tiny, whole, Budget(steps=STEPS + 1))


def test_a_full_disk_costs_a_snapshot_and_not_the_run(
    tmp_path: Path, images: str, posthoc: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = PowerAverages.snapshot

    def refuse_once(self: PowerAverages, run: Path, averages: Sequence[dict[str, Tensor]]) -> Path:
        if self.images == 42:
            raise ResourceError("the disk is full.")
        return write(self, run, averages)

    monkeypatch.setattr(PowerAverages, "snapshot", refuse_once)
    run = tmp_path / "full"
    train(images, posthoc, run, Budget(steps=STEPS))
    assert sorted({profile.images for profile in list_snapshots(run)}) == [n for n in WRITTEN if n != 42]
    assert "The snapshot at 42 images is left out" in (run / "train.log").read_text()


class Tracker(Silent):
    """Keeps the weights after every step of the only trainer there is."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path: list[dict[str, Tensor]] = []
        step = Trainer.step

        def watched(trainer: Trainer, progress: float) -> object:
            result = step(trainer, progress)
            self.path.append({k: v.detach().double().clone() for k, v in trainer.network.state_dict().items()})
            return result

        monkeypatch.setattr(Trainer, "step", watched)

    def average(self, sigma_rel: float, steps: int) -> dict[str, Tensor]:
        """Return the sum of weights after each step times the integral of the profile over it."""
        share = (torch.arange(steps + 1, dtype=torch.float64) / steps) ** (sigma_rel_to_gamma(sigma_rel) + 1)
        return {
            name: torch.stack([weights[name] for weights in self.path[:steps]], -1) @ share.diff()
            for name in self.path[0]
        }


def test_a_length_is_the_average_of_the_weights_within_its_error(
    tmp_path: Path, images: str, posthoc: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With profiles p (wanted) and q (fitted), |q - p|_2 = error |p|_2 over [0, T]. Weights theta about any c differ by

        integral (q - p) theta = integral (q - p) (theta - c) + c (integral q - 1),

    at most |q - p|_2 |theta - c|_2 and, by Cauchy-Schwarz with 1 in theta's place, |c| |q - p|_2 sqrt(T): together
    error |p|_2 (|theta - c|_2 + |c| sqrt T) in each weight; c = 0 is enough. Tracked ones are equal but for float32.
    """
    tracker, run = Tracker(monkeypatch), tmp_path / "run"
    train(images, posthoc, run, Budget(steps=STEPS))
    for sigma_rel, at in ((0.05, None), (0.10, None), (0.07, None), (0.15, None), (0.12, 105)):
        bundle = gendi.reconstruct_ema(run, sigma_rel, at)
        about = bundle.meta["posthoc_ema"]
        steps, gamma, error = (at or STEPS * BATCH) // BATCH, about["gamma"], about["relative_error"]
        assert error < (1e-6 if sigma_rel in (0.05, 0.10) else 0.2)
        assert (about["images"], bundle.meta["step"]) == (steps * BATCH, steps)
        assert {s["images"] for s in about["snapshots"]} == {n for n in WRITTEN if n <= steps * BATCH}
        # |p|_2^2 = (gamma + 1)^2 / (2 gamma + 1) / T, and |theta|_2^2 = T mean theta^2
        size = (gamma + 1) / (2 * gamma + 1) ** 0.5
        for name, expected in tracker.average(sigma_rel, steps).items():
            root = torch.stack([weights[name] for weights in tracker.path[:steps]]).square().mean(0).sqrt()
            bound = error * size * root + 1e-6 * (1 + expected.abs())  # float32 in 24 steps
            assert bool(((bundle.state[name].double() - expected).abs() <= bound).all()), name


def test_a_reconstruction_needs_snapshots_and_names_what_is_damaged(images: str, tiny: RunConfig, whole: Path) -> None:
    with pytest.raises(UsageError, match="from 21 to 168"):
        gendi.reconstruct_ema(whole, 0.1, 14)
    with pytest.raises(UsageError, match="out of range"):
        gendi.reconstruct_ema(whole, 0.5)
    path = whole / "ema/images_000000000084/average_1.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(BundleError, match="images_000000000084/average_1.safetensors"):
        gendi.reconstruct_ema(whole, 0.1)
    shutil.rmtree(whole / "ema")
    with pytest.raises(UsageError, match="--optim.posthoc-every 50000"):
        gendi.reconstruct_ema(whole, 0.1)


def test_snapshots_without_averages_of_the_checkpoint_are_refused(
    tmp_path: Path, images: str, posthoc: RunConfig, tiny: RunConfig
) -> None:
    """config.toml was edited by hand to turn it on: the checkpoint does not have the averages."""
    run = tmp_path / "edited"
    train(images, tiny, run, Budget(steps=2))
    config = run / "config.toml"
    config.write_text(config.read_text().replace("posthoc_every = 0", f"posthoc_every = {EVERY}"))
    with pytest.raises(BundleError, match="power_0.safetensors"):
        train(images, posthoc, run, Budget(steps=4))


def test_a_dry_run_says_what_the_snapshots_take(
    tmp_path: Path, images: str, tiny: RunConfig, posthoc: RunConfig, whole: Path
) -> None:
    budget = Budget(steps=STEPS)
    plan, plain = dry_run(images, posthoc, budget=budget), dry_run(images, tiny, budget=budget)
    assert plan["snapshots"] == len(list((whole / "ema").iterdir())) == len(WRITTEN)
    files = sum(path.stat().st_size for path in (whole / "ema/images_000000000021").glob("*.safetensors"))
    assert files <= plan["snapshot_bytes"] <= files + 40_000 + TEXTS  # headers, and the JSON
    assert plan["disk_bytes"] >= plain["disk_bytes"] + len(WRITTEN) * plan["snapshot_bytes"]
    assert (plain["snapshots"], plain["snapshot_bytes"]) == (0, 0)


def test_snapshots_are_counted_as_the_loop_writes_them(posthoc: RunConfig) -> None:
    for every in (1, 3, 7, 8, 20, 21, 1000):
        config = dataclasses.replace(posthoc, optim=dataclasses.replace(posthoc.optim, posthoc_every=every))
        for steps in (1, 2, 3, 24, 143):
            seen = [BATCH * (i + 1) for i in range(steps)]
            written = {n for n in seen if n // every != (n - BATCH) // every} | {seen[-1]}
            assert count_snapshots(config, 0, seen[-1]) == len(written)
            half = seen[steps // 2]  # the last one there is not written by a run that goes on
            assert count_snapshots(config, half, seen[-1]) == sum(n > half for n in written)


def test_dropping_leaves_other_names_alone(tmp_path: Path) -> None:
    for name in ("images_000000000007", "images_000000000008", "images_later", "length_0.05"):
        (tmp_path / "ema" / name).mkdir(parents=True)
    assert drop_later(tmp_path, 7) == 1
    assert sorted(path.name for path in (tmp_path / "ema").iterdir()) == [
        "images_000000000007",
        "images_later",
        "length_0.05",
    ]
    assert drop_later(tmp_path / "none", 0) == 0
