"""The model of a run at any moment: while it trains, after it was stopped, and whatever is killed in between."""

import json
import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import gendi
from gendi.errors import InterruptedRunError, PreemptedError, ResourceError
from gendi.train.budget import Budget
from gendi.train.config import RunConfig
from gendi.train.kept import bundle as bundle_module
from gendi.train.kept.bundle import Bundle, load_bundle, save_bundle
from gendi.train.kept.checkpoint import list_checkpoints, load_latest
from gendi.train.kept.folders import has_ended
from gendi.train.kept.moment import moment_of
from gendi.train.kept.status import read_lines
from gendi.train.progress import keeping, occasions
from gendi.train.progress.telling import Silent
from gendi.train.run import loop as loop_module
from gendi.train.run.loop import train


class At(Silent):
    """Calls `work` once, when the steps of `step` are done."""

    def __init__(self, step: int, work: Callable[[], object]) -> None:
        self.step, self.work = step, work

    def progress(self, done: float, **fields: Any) -> None:
        if fields["step"] == self.step:
            self.work()


def equals_newest_checkpoint(run: Path, bundle: Bundle) -> bool:
    newest = load_latest(run)
    assert newest is not None and bundle.meta["step"] == newest.step
    average = newest.tensors["ema"]
    return average.keys() == bundle.state.keys() and all(
        torch.equal(value, average[name]) for name, value in bundle.state.items()
    )


def test_while_it_trains_the_model_is_the_average_of_the_newest_checkpoint(
    tmp_path: Path, images: str, tiny: RunConfig
) -> None:
    run, found = tmp_path / "run", list[tuple[bool, str | None]]()

    def look() -> None:
        bundle = load_bundle(run)
        found.append((equals_newest_checkpoint(run, bundle), moment_of(run, bundle)))
        assert gendi.sample(run, n=2, steps=2).shape == (2, 10, 9, 3)
        assert not has_ended(run)

    train(images, tiny, run, Budget(steps=10), console=At(6, look))
    said = f"this is the model of step 5, after 35 images and 50% of the budget: {run} is still training."
    assert found == [(True, said)]
    ended = load_bundle(run)
    assert has_ended(run) and moment_of(run, ended) is None and "progress" not in ended.meta


@pytest.mark.parametrize(("number", "error"), [(signal.SIGTERM, PreemptedError), (signal.SIGINT, InterruptedRunError)])
def test_a_run_that_is_stopped_leaves_the_model_of_its_last_step_and_goes_on_exactly(
    tmp_path: Path, images: str, tiny: RunConfig, number: int, error: type[Exception]
) -> None:
    rarely = replace(tiny, train=replace(tiny.train, checkpoint_every=1e9))
    run, whole = tmp_path / "run", tmp_path / "whole"
    with pytest.raises(error):
        train(images, rarely, run, Budget(steps=12), console=At(5, lambda: os.kill(os.getpid(), number)))
    bundle = load_bundle(run)
    assert bundle.meta["step"] == 5 and equals_newest_checkpoint(run, bundle)
    assert moment_of(run / "bundle", bundle) == (
        f"this is the model of step 5, after 35 images and 42% of the budget: {run} was stopped."
    )
    train(images, rarely, run, Budget(steps=12))
    train(images, rarely, whole, Budget(steps=12))
    for name in ("model.safetensors", "codec.safetensors"):
        if (whole / "bundle" / name).exists():
            assert (run / "bundle" / name).read_bytes() == (whole / "bundle" / name).read_bytes()
    assert (run / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()


def test_a_run_with_a_budget_in_time_ends_with_a_final_model(tmp_path: Path, images: str, tiny: RunConfig) -> None:
    train(images, tiny, tmp_path / "run", Budget(seconds=0.2))
    assert has_ended(tmp_path / "run") and "progress" not in load_bundle(tmp_path / "run").meta


def test_killed_between_its_last_checkpoint_and_its_last_bundle_it_is_not_taken_for_finished(
    tmp_path: Path, images: str, tiny: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"

    def killed(*args: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(loop_module, "save_bundle", killed)
        with pytest.raises(KeyboardInterrupt):
            train(images, tiny, run, Budget(steps=3))
    assert list_checkpoints(run)[-1][0] == 3 and not has_ended(run)
    assert not train(images, tiny, run, Budget(steps=3)).already_finished
    assert has_ended(run) and train(images, tiny, run, Budget(steps=3)).already_finished


def test_a_disk_that_refuses_the_bundle_leaves_the_checkpoint_and_the_model_before(
    tmp_path: Path, images: str, tiny: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, real, saved = tmp_path / "run", save_bundle, list[int]()

    def full(folder: Path, bundle: Bundle) -> Path:
        if bundle.meta["step"] > 2:
            raise ResourceError("The disk is full.")
        saved.append(bundle.meta["step"])
        return real(folder, bundle)

    monkeypatch.setattr(keeping, "save_bundle", full)
    with pytest.raises(InterruptedRunError):
        train(images, tiny, run, Budget(steps=9), console=At(4, lambda: os.kill(os.getpid(), signal.SIGINT)))
    assert saved == [1, 2] and load_bundle(run).meta["step"] == 2 and list_checkpoints(run)[-1][0] == 4
    assert "The model in" in (run / "train.log").read_text()


def test_a_bundle_that_is_replaced_while_it_is_read_is_read_once_more(
    tmp_path: Path, images: str, tiny: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = gendi.fit(images, out=tmp_path / "a", config=tiny, steps=1, quiet=True)
    new = gendi.fit(images, out=tmp_path / "b", config=tiny, steps=3, quiet=True)
    real, calls = bundle_module.read_json, list[Path]()

    def meanwhile(path: Path, *args: Any) -> Any:
        """Replace the bundle after its config.json was read and before its weights are."""
        found = real(path, *args)
        if path.name == "config.json":
            calls.append(path)
            if len(calls) == 1:
                save_bundle(tmp_path / "a" / "bundle", new)
        return found

    monkeypatch.setattr(bundle_module, "read_json", meanwhile)
    read = load_bundle(tmp_path / "a")
    assert read.meta["step"] == 3 and len(calls) == 2
    assert all(torch.equal(value, new.state[name]) for name, value in read.state.items())
    assert any(not torch.equal(value, old.state[name]) for name, value in read.state.items())


def test_early_previews_are_chosen_once_and_a_resumed_run_makes_the_same(
    tmp_path: Path, images: str, tiny: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """56 images are 8 steps of 7: previews after 1, 2, 4 and 8 steps, whatever the pace of the second sitting is."""
    config = replace(tiny, train=replace(tiny.train, preview_every=56, checkpoint_every=1e9))
    chosen = [3]
    monkeypatch.setattr(occasions, "SPARE", 0.0)
    monkeypatch.setattr(occasions.Occasions, "choose", lambda *args: chosen[0])
    run, whole = tmp_path / "run", tmp_path / "whole"
    train(images, config, whole, Budget(steps=16))
    steps = [line["step"] for line in read_lines(whole / "metrics.jsonl") if "heldout" in line]
    assert steps == [1, 2, 4, 8, 16]
    assert [int(path.stem[5:]) for path in sorted((whole / "previews").iterdir())] == steps
    saved = [json.loads((path / "state.json").read_text())["state"] for _, path in list_checkpoints(whole)]
    assert all(state["previews"] == {"halvings": 3} for state in saved)
    with pytest.raises(InterruptedRunError):
        train(images, config, run, Budget(steps=16), console=At(3, lambda: os.kill(os.getpid(), signal.SIGINT)))
    chosen[0] = 1
    train(images, config, run, Budget(steps=16))
    assert (run / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()
    for path in (whole / "previews").iterdir():
        assert (run / "previews" / path.name).read_bytes() == path.read_bytes()


def test_an_early_preview_brings_a_checkpoint_and_a_model_at_once(
    tmp_path: Path, images: str, tiny: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(tiny, train=replace(tiny.train, preview_every=56, checkpoint_every=1e6))
    monkeypatch.setattr(occasions.Occasions, "choose", lambda *args: 1)
    run, found = tmp_path / "run", list[int]()
    train(images, config, run, Budget(steps=7), console=At(5, lambda: found.append(load_bundle(run).meta["step"])))
    assert found == [4]


def test_a_checkpoint_without_a_word_on_previews_goes_on_without_early_ones(
    tmp_path: Path, images: str, tiny: RunConfig
) -> None:
    """As gendi 0.1.0 wrote them."""
    run = tmp_path / "run"
    config = replace(tiny, train=replace(tiny.train, preview_every=0))
    train(images, config, run, Budget(steps=2))
    shutil.rmtree(run / "bundle")
    again = replace(tiny, train=replace(tiny.train, preview_every=56))
    train(images, again, run, Budget(steps=9))
    assert [line["step"] for line in read_lines(run / "metrics.jsonl") if "heldout" in line] == [8]
