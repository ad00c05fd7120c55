"""What the loop does when something is wrong, and what it writes when nothing is."""

import dataclasses
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import gendi
from gendi.diffusion.config import ConditionConfig
from gendi.diffusion.networks import build_network
from gendi.errors import BundleError, DataError, DivergedError, PreemptedError, UsageError
from gendi.storage.files import read_json
from gendi.storage.lock import RunLock
from gendi.train.budget import Budget
from gendi.train.config import RunConfig
from gendi.train.kept.checkpoint import list_checkpoints
from gendi.train.kept.status import read_lines
from gendi.train.presets import PRESETS
from gendi.train.run.introduction import narrow_patches
from gendi.train.run.loop import train
from gendi.train.run.plan import dry_run
from gendi.train.step import trainer as trainer_module
from stop_at import StopAt

Replace = dataclasses.replace


def test_a_run_folder_holds_what_the_readme_says(tmp_path: Path, images: str, tiny: RunConfig) -> None:
    run = tmp_path / "run"
    bundle = gendi.fit(images, out=run, config=tiny, steps=21, quiet=True)
    names = {path.name for path in run.iterdir()}
    assert names >= {"config.toml", "status.json", "metrics.jsonl", "timings.jsonl", "train.log", "bundle", "previews"}
    lines = read_lines(run / "metrics.jsonl")
    losses = [line["step"] for line in lines if "loss" in line]
    heldout = [line for line in lines if "heldout" in line]
    assert losses == [4, 8, 12, 16, 20]
    assert [line["images"] for line in heldout] == [70, 140]
    with Image.open(run / "previews" / "step_00000010.png") as picture:
        assert min(picture.size) > 6 * 9  # six columns of enlarged images
    assert bundle.sigma_data == pytest.approx(
        float(np.sqrt(np.mean((np.load(images)["images"] / 127.5 - 1) ** 2))), rel=0.05
    )
    status = read_json(run / "status.json")
    assert (status["status"], status["step"], status["images"]) == ("finished", 21, 147)
    samples = gendi.sample(bundle, n=3, steps=3, condition={"class": np.array([0, 1, 2])})
    assert samples.shape == (3, 10, 9, 3) and samples.dtype == np.uint8


def test_training_in_a_thread_of_its_own_draws_from_no_global_state(
    tmp_path: Path, images: str, tiny: RunConfig
) -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    one = gendi.fit(images, out=tmp_path / "a", config=tiny, steps=11, quiet=True)
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(2)
    np.random.seed(3)  # noqa: NPY002
    two = gendi.fit(images, out=tmp_path / "b", config=tiny, steps=11, quiet=True)
    assert all(torch.equal(value, two.state[name]) for name, value in one.state.items())
    other = Replace(tiny, train=Replace(tiny.train, seed=1))
    three = gendi.fit(images, out=tmp_path / "c", config=other, steps=11, quiet=True)
    assert any(not torch.equal(value, three.state[name]) for name, value in one.state.items())


class Poisoned(trainer_module.Trainer):
    """A trainer whose data are NaN at chosen steps."""

    poison: frozenset[int] = frozenset()

    def batch(self, step: int, part: slice = slice(None)) -> Any:
        x_0, cond = super().batch(step, part)
        return (x_0 * torch.nan if step in self.poison else x_0), cond


def test_nan_loss_is_not_applied_and_its_batch_is_written_down(
    tmp_path: Path, images: str, tiny: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Poisoned, "poison", frozenset({3, 4, 8}))
    monkeypatch.setattr("gendi.train.run.loop.Trainer", Poisoned)
    result = train(images, tiny, tmp_path / "run", Budget(steps=12))
    assert result.finished
    entries = [json.loads(line) for line in (tmp_path / "run/bad_steps.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in entries] == [3, 4, 8]
    assert all(len(entry["batch"]) == tiny.train.batch_size for entry in entries)
    bundle = gendi.load(tmp_path / "run")
    assert all(bool(value.isfinite().all()) for value in bundle.state.values())


def test_three_nan_steps_in_a_row_exit_6_and_name_the_last_good_checkpoint(
    tmp_path: Path, images: str, tiny: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Poisoned, "poison", frozenset({5, 6, 7}))
    monkeypatch.setattr("gendi.train.run.loop.Trainer", Poisoned)
    with pytest.raises(DivergedError, match=r"3 steps in a row up to step 7 .*step_0000000\d") as caught:
        train(images, tiny, tmp_path / "run", Budget(steps=12))
    assert caught.value.exit_code == 6
    assert read_json(tmp_path / "run/status.json")["status"] == "diverged"


def test_a_changed_configuration_is_refused_with_every_field(tmp_path: Path, images: str, tiny: RunConfig) -> None:
    train(images, tiny, tmp_path / "run", Budget(steps=2))
    other = Replace(tiny, optim=Replace(tiny.optim, lr=1e-4), train=Replace(tiny.train, batch_size=3, keep=5))
    with pytest.raises(UsageError, match=r"optim.lr was 0.003, is 0.0001; train.batch_size was 7, is 3\. .*--fresh"):
        train(images, other, tmp_path / "run", Budget(steps=4))
    assert train(images, other, tmp_path / "run", Budget(steps=4), fresh=True).step == 4


def test_a_harmless_change_goes_on(tmp_path: Path, images: str, tiny: RunConfig) -> None:
    train(images, tiny, tmp_path / "run", Budget(steps=2))
    other = Replace(tiny, train=Replace(tiny.train, keep=5), sample=Replace(tiny.sample, steps=3))
    assert train(images, other, tmp_path / "run", Budget(steps=4)).step == 4


def test_changed_data_are_refused_unless_allowed(tmp_path: Path, images: str, tiny: RunConfig) -> None:
    train(images, tiny, tmp_path / "run", Budget(steps=2))
    np.savez(images, images=np.zeros((40, 10, 9, 3), np.uint8), labels=np.arange(40) % 3)
    with pytest.raises(DataError, match="fingerprint was .* and is .*--allow-data-change"):
        train(images, tiny, tmp_path / "run", Budget(steps=4))
    assert train(images, tiny, tmp_path / "run", Budget(steps=4), allow_data_change=True).step == 4


def test_data_that_do_not_exist_leave_no_folder_behind(tmp_path: Path, tiny: RunConfig) -> None:
    with pytest.raises(DataError):
        train(str(tmp_path / "nowhere"), tiny, tmp_path / "run", Budget(steps=1))
    assert not (tmp_path / "run").exists()


def test_two_processes_one_run_folder(tmp_path: Path, images: str, tiny: RunConfig) -> None:
    with RunLock(tmp_path / "run"), pytest.raises(UsageError, match="in use by pid"):
        train(images, tiny, tmp_path / "run", Budget(steps=2))


def test_a_flipped_bit_falls_back_to_the_checkpoint_before(tmp_path: Path, images: str, tiny: RunConfig) -> None:
    run = tmp_path / "run"
    train(images, tiny, run, Budget(steps=6))
    (_, newest) = list_checkpoints(run)[-1]
    damaged = bytearray((newest / "model.safetensors").read_bytes())
    damaged[-5] ^= 1
    (newest / "model.safetensors").write_bytes(damaged)
    assert train(images, tiny, run, Budget(steps=8)).step == 8
    assert "model.safetensors" in (run / "train.log").read_text()


def test_all_checkpoints_damaged_exit_4(tmp_path: Path, images: str, tiny: RunConfig) -> None:
    run = tmp_path / "run"
    train(images, tiny, run, Budget(steps=6))
    for _, folder in list_checkpoints(run):
        (folder / "ema.safetensors").write_bytes(b"")
    with pytest.raises(BundleError, match=r"ema\.safetensors"):
        train(images, tiny, run, Budget(steps=8))


def test_classes_are_as_many_as_the_data_have_if_the_data_decide(tmp_path: Path, images: str, tiny: RunConfig) -> None:
    auto = Replace(tiny, conditions=(ConditionConfig("class", dropout=0.2, required=False),))
    bundle = gendi.fit(images, out=tmp_path / "a", config=auto, steps=2, quiet=True)
    assert bundle.config.conditions == (
        ConditionConfig("class", size=3, dropout=0.2, required=False, names=("0", "1", "2")),
    )
    assert bundle.class_names == ("0", "1", "2")
    assert train(images, auto, tmp_path / "a", Budget(steps=3)).step == 3  # the resolved number is no change
    np.save(tmp_path / "bare.npy", np.zeros((5, 8, 8), np.uint8))
    bundle = gendi.fit(str(tmp_path / "bare.npy"), out=tmp_path / "b", config=auto, steps=2, quiet=True)
    assert bundle.config.conditions == ()
    with pytest.raises(UsageError, match="left to the data"):
        build_network(auto.network, (3, 8, 8), auto.conditions)


def test_classes_without_labels_or_too_few_classes(tmp_path: Path, images: str, tiny: RunConfig) -> None:
    few = Replace(tiny, conditions=(ConditionConfig("class", size=2),))
    with pytest.raises(DataError, match="class 2"):
        train(images, few, tmp_path / "a", Budget(steps=1))
    np.save(tmp_path / "bare.npy", np.zeros((5, 8, 8), np.uint8))
    with pytest.raises(UsageError, match="no conditions"):
        train(str(tmp_path / "bare.npy"), tiny, tmp_path / "b", Budget(steps=1))


@pytest.mark.parametrize(("count", "shape"), [(1, (27, 31)), (3, (28, 28)), (30, (96, 64))])
def test_few_images_of_odd_sizes_train(tmp_path: Path, tiny: RunConfig, count: int, shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    np.save(tmp_path / "x.npy", rng.integers(0, 256, (count, *shape), dtype=np.uint8))
    config = Replace(
        tiny, network=Replace(tiny.network, patch=2), conditions=(), train=Replace(tiny.train, preview_every=0)
    )
    bundle = gendi.fit(str(tmp_path / "x.npy"), out=tmp_path / "run", config=config, steps=2, quiet=True)
    assert gendi.sample(bundle, n=2, steps=2).shape == (2, *shape, 1)


def test_a_dry_run_measures_and_writes_nothing(tmp_path: Path, images: str, tiny: RunConfig) -> None:
    before = sorted(tmp_path.rglob("*"))
    plan = dry_run(images, tiny)
    assert plan["parameters"] > 1000
    assert plan["flops_per_image"] > 1e5
    assert plan["images_per_second"] > 0
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("limits", [{}, {"steps": 0}, {"seconds": -1.0}, {"steps": 3, "images": 4}])
def test_a_budget_that_cannot_be(limits: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        Budget(**limits)


def test_a_budget_in_seconds_ends_on_the_clock(
    tmp_path: Path, images: str, tiny: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a clock that moves by a tenth of a second whenever it is read: the end, and the fall of the rate, are its."""
    ticks = itertools.count()
    monkeypatch.setattr("gendi.train.run.loop.time.monotonic", lambda: next(ticks) / 10)
    config = Replace(tiny, train=Replace(tiny.train, log_every=1, checkpoint_every=1e9, preview_every=0))
    result = train(images, config, tmp_path / "run", Budget(seconds=2.0))
    assert result.finished
    assert result.seconds == pytest.approx(2.0, abs=0.11)  # one reading a step
    rates = [line["lr"] for line in read_lines(tmp_path / "run/metrics.jsonl")]
    assert max(rates) == tiny.optim.lr
    assert rates[-1] < 0.3 * tiny.optim.lr  # the last step begins at 95% of the budget: 0.05 / 0.3 of the peak


def test_memorises_four_images(tmp_path: Path, tiny: RunConfig) -> None:
    """Four images, a few hundred steps: every sample must be one of them, far closer than the images are to each
    other.
    """
    rng = np.random.default_rng(1)
    pictures = np.where(rng.random((4, 8, 8)) < 0.5, 30, 220).astype(np.uint8)
    np.savez(tmp_path / "four.npz", images=pictures.repeat(16, axis=0), x_test=pictures)
    config = Replace(
        tiny,
        network=Replace(tiny.network, channels=(32, 32), dropout=0.0, time_dim=64),
        conditions=(),
        optim=Replace(tiny.optim, lr=1e-2, ema_images=2000.0),
        train=Replace(tiny.train, batch_size=32, checkpoint_every=1e6, preview_every=0),
    )
    bundle = gendi.fit(str(tmp_path / "four.npz"), out=tmp_path / "run", config=config, steps=160, quiet=True)
    samples = gendi.sample(bundle, n=16, steps=20).astype(np.float64)[..., 0]
    distance = np.sqrt(((samples[:, None] - pictures[None].astype(np.float64)) ** 2).mean((2, 3)))
    apart = np.sqrt(((pictures[:, None].astype(float) - pictures[None]) ** 2).mean((2, 3)))
    assert np.median(distance.min(1)) < 0.2 * apart[apart > 0].min()
    assert len(set(distance.argmin(1).tolist())) >= 3  # 16 draws of 4 leave two or more out with probability 3e-4


def test_a_run_that_was_stopped_is_said_to_be_where_it_was_saved(tmp_path: Path, images: str, tiny: RunConfig) -> None:
    """Also between two lines of its log: step 10 of 20, after 10 steps of 7 images."""
    with pytest.raises(PreemptedError):
        train(images, tiny, tmp_path / "run", Budget(steps=20), console=StopAt(10))
    status = read_json(tmp_path / "run" / "status.json")
    assert (status["status"], status["step"], status["images"]) == ("preempted", 10, 70)
    assert status["progress"] == 0.5
    assert list_checkpoints(tmp_path / "run")[-1][0] == 10


@pytest.mark.parametrize(
    ("patch", "prediction", "precondition", "grainy"),
    [(2, "v", True, True), (2, "x0", False, False), (2, "x0", True, True), (1, "v", True, False)],
)
def test_patches_with_more_numbers_than_channels_are_noticed(
    tiny: RunConfig, patch: int, prediction: str, precondition: bool, grainy: bool
) -> None:
    network = Replace(tiny.network, patch=patch, channels=(8, 8))
    objective = Replace(tiny.objective, prediction=prediction, precondition=precondition)
    said = narrow_patches(Replace(tiny, network=network, objective=objective), (3, 8, 8))
    assert (said is not None) == grainy
    if said:
        assert "has 12 numbers, and network.channels begins with 8" in said


def test_no_preset_is_narrower_than_its_patches() -> None:
    for preset in PRESETS.values():
        assert narrow_patches(preset.config, (3, 64, 64)) is None, preset.name
