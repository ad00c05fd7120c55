"""A run that starts from another's weights: what comes along, what starts anew, what is refused, and exact resuming."""

import dataclasses
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import gendi
from gendi.cli import main
from gendi.diffusion.config import ConditionConfig
from gendi.diffusion.networks import NetworkConfig, build_network
from gendi.diffusion.networks.transfer import transferred
from gendi.errors import PreemptedError, UsageError
from gendi.storage.toml import read_toml
from gendi.train.budget import Budget
from gendi.train.config import RunConfig
from gendi.train.kept.bundle import Bundle, load_bundle
from gendi.train.kept.checkpoint import load_latest
from gendi.train.kept.inherit import inherited, starting_config
from gendi.train.kept.start import digest, read_start
from gendi.train.run.loop import train
from gendi.train.step.trainer import Trainer
from stop_at import StopAt

STEPS = 9


@pytest.fixture
def source(tmp_path: Path, images: str, tiny: RunConfig) -> Path:
    """A finished run on 40 pictures of the classes 0 to 2."""
    config = dataclasses.replace(tiny, conditions=(ConditionConfig("class"),))
    train(images, config, tmp_path / "source", Budget(steps=3))
    return tmp_path / "source"


@pytest.fixture
def others(tmp_path: Path) -> str:
    """Other pictures, of the classes 0 to 4, each with a dose."""
    path, rng = tmp_path / "others.npz", np.random.default_rng(1)
    pictures = rng.integers(0, 256, (35, 10, 9, 3), dtype=np.uint8)
    np.savez(path, images=pictures, labels=np.arange(35) % 5, dose=rng.random(35).astype(np.float32))
    return str(path)


def from_source(tiny: RunConfig, source: Path, *names: str) -> RunConfig:
    base = dataclasses.replace(tiny, conditions=tuple(ConditionConfig(name) for name in names))
    return inherited(base, load_bundle(source).config)


def same(a: dict[str, Any], b: dict[str, Any]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(value, b[name]) for name, value in a.items())


def test_weights_and_average_begin_as_the_sources_average(source: Path, others: str, tiny: RunConfig) -> None:
    bundle, data = load_bundle(source), gendi_data(others)
    trainer = Trainer(from_source(tiny, source, "dose"), data, start=read_start(source))
    weights = trainer.network.state_dict()
    assert same(trainer.average(), weights) and trainer.sigma_data == bundle.sigma_data
    kept = [name for name in bundle.state if not name.startswith("conditions.each.0.body")]
    assert all(torch.equal(weights[name], bundle.state[name]) for name in kept) and len(kept) > 20
    table, old = weights["conditions.each.0.body.weight"], bundle.state["conditions.each.0.body.weight"]
    assert table.shape == (5, 16) and torch.equal(table[:3], old) and not torch.equal(table[3:5], old[:2])
    assert trainer.new_parts == ("class: 3", "class: 4", "dose")
    fresh = Trainer(from_source(tiny, source, "dose"), data)
    assert torch.equal(fresh.network.state_dict()["conditions.each.0.body.weight"][3:], table[3:])


def gendi_data(spec: str) -> Any:
    from gendi.data import open_data

    return open_data(spec)


@pytest.mark.parametrize("of", ["run", "bundle", "memory"])
def test_going_on_is_exact_and_the_source_is_not_read_again(
    source: Path, others: str, tiny: RunConfig, tmp_path: Path, of: str
) -> None:
    places: dict[str, Path | Bundle] = {"run": source, "bundle": source / "bundle", "memory": load_bundle(source)}
    config, init = from_source(tiny, source), places[of]
    train(others, config, tmp_path / "whole", Budget(steps=STEPS), init=init)
    with pytest.raises(PreemptedError):
        train(others, config, tmp_path / "parts", Budget(steps=STEPS), init=init, console=StopAt(4, signal.SIGTERM))
    weights = digest(load_bundle(source).state)
    if of != "memory":
        shutil.rmtree(source)
    train(others, config, tmp_path / "parts", Budget(steps=STEPS), init=init)
    one, two = load_latest(tmp_path / "whole"), load_latest(tmp_path / "parts")
    assert one is not None and two is not None and one.step == two.step == STEPS
    assert all(same(group, two.tensors[name]) for name, group in one.tensors.items())
    assert (tmp_path / "whole" / "metrics.jsonl").read_bytes() == (tmp_path / "parts" / "metrics.jsonl").read_bytes()
    began = read_toml(tmp_path / "parts" / "config.toml")["start"]
    assert began["sha256"] == weights and load_bundle(tmp_path / "parts").meta["start"] == began


def test_it_goes_on_without_being_told_again_but_not_from_others(
    source: Path, others: str, images: str, tiny: RunConfig, tmp_path: Path
) -> None:
    run, config = tmp_path / "run", from_source(tiny, source)
    train(others, config, run, Budget(steps=2), init=source)
    train(others, config, run, Budget(steps=4))
    log = (run / "train.log").read_text()
    assert f"beginning with the weights of {source}; class: 3, class: 4 start anew" in log
    assert f"begun with the weights of {source}" in log
    another = tmp_path / "another"
    train(images, dataclasses.replace(tiny, conditions=(ConditionConfig("class"),)), another, Budget(steps=1))
    with pytest.raises(UsageError, match="began with the weights of .*source"):
        train(others, config, run, Budget(steps=6), init=another)
    copy = shutil.copytree(source / "bundle", tmp_path / "copy")
    train(others, config, run, Budget(steps=5), init=copy)
    with pytest.raises(UsageError, match="began with new weights"):
        train(images, dataclasses.replace(tiny), source, Budget(steps=6), init=another)


def test_numbers_are_standardised_as_in_the_source(tiny: RunConfig, tmp_path: Path) -> None:
    rng, places = np.random.default_rng(2), []
    for name, mean in (("a", 40.0), ("b", 20.0)):
        places.append(str(tmp_path / f"{name}.npz"))
        pictures = rng.integers(0, 256, (20, 10, 9, 3), dtype=np.uint8)
        np.savez(places[-1], images=pictures, dose=(mean + rng.random(20)).astype(np.float32))
    config = dataclasses.replace(tiny, conditions=(ConditionConfig("dose"),))
    train(places[0], config, tmp_path / "a", Budget(steps=1))
    began = inherited(config, load_bundle(tmp_path / "a").config)
    for steps in (1, 2):  # it begins, and goes on
        train(places[1], began, tmp_path / "b", Budget(steps=steps), init=tmp_path / "a")
    (old,), (new,) = (load_bundle(tmp_path / name).config.conditions for name in "ab")
    assert new == old and abs(new.mean - 40.5) < 0.5


def test_killed_before_its_first_checkpoint_it_begins_there_once_more(
    source: Path, others: str, tiny: RunConfig, tmp_path: Path
) -> None:
    run, config = tmp_path / "run", from_source(tiny, source)
    train(others, config, run, Budget(steps=3), init=source)
    shutil.rmtree(run / "checkpoints")
    shutil.rmtree(run / "bundle")
    first = load_bundle(source).state["stem.weight"]
    seen: list[torch.Tensor] = []
    with pytest.MonkeyPatch.context() as patch:
        real = Trainer.step

        def step(self: Trainer, progress: float) -> Any:
            seen.append(self.network.state_dict()["stem.weight"].clone())
            return real(self, progress)

        patch.setattr(Trainer, "step", step)
        train(others, config, run, Budget(steps=3))
    assert torch.equal(seen[0], first)


def test_other_channels_and_other_options_are_named(source: Path, tiny: RunConfig, tmp_path: Path) -> None:
    gray = tmp_path / "gray.npz"
    np.savez(gray, images=np.zeros((20, 10, 9), np.uint8), labels=np.arange(20) % 3)
    config = from_source(tiny, source)
    with pytest.raises(UsageError, match=r"stem.weight has shape \(8, 3, 3, 3\) there and \(8, 1, 3, 3\) here"):
        train(str(gray), config, tmp_path / "run", Budget(steps=1), init=source)
    wider = dataclasses.replace(config, network=dataclasses.replace(config.network, channels=(8, 24)))
    with pytest.raises(UsageError, match=r"network.channels was \[8, 16\], is \[8, 24\]"):
        train(str(gray), wider, tmp_path / "run", Budget(steps=1), init=source)
    eps = dataclasses.replace(config, objective=dataclasses.replace(config.objective, prediction="eps"))
    with pytest.raises(UsageError, match="objective.prediction was 'v', is 'eps'"):
        train(str(gray), eps, tmp_path / "run", Budget(steps=1), init=source)
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_data_of_another_kind_are_refused(source: Path, tiny: RunConfig, tmp_path: Path) -> None:
    table = tmp_path / "people.csv"
    table.write_text("age,height\n" + "".join(f"{i % 60},{1.5 + i % 7 / 10}\n" for i in range(60)))
    with pytest.raises(UsageError, match="is a model of the kind image, and people is data of the kind table"):
        train(str(table), from_source(tiny, source), tmp_path / "run", Budget(steps=1), init=source)
    assert not (tmp_path / "run").exists()


def people(path: Path, rows: int, second: str = "height", words: str = "ab") -> str:
    lines = [f"{i % 30},{1.5 + i % 7 / 10},{words[i % 2]}" for i in range(rows)]
    path.write_text("\n".join([f"age,{second},group", *lines, ""]))
    return str(path)


def test_a_tables_codec_comes_along_if_the_columns_are_the_same(tmp_path: Path) -> None:
    first, more = people(tmp_path / "a.csv", 60), people(tmp_path / "b.csv", 100)
    model = gendi.fit(first, out=tmp_path / "a", steps=2, quiet=True)
    again = gendi.fit(more, out=tmp_path / "b", steps=2, quiet=True, init=tmp_path / "a")
    x = torch.tensor([[20.0, 1.6, 0.0], [3.0, 1.9, 1.0]], dtype=torch.float64)
    index = torch.arange(2)
    assert torch.equal(model.codec.encode(x, {}, index), again.codec.encode(x, {}, index))
    for name, bad in (("c.csv", {"second": "weight"}), ("d.csv", {"words": "xy"})):
        with pytest.raises(UsageError, match="does not fit the codec of"):
            gendi.fit(people(tmp_path / name, 60, **bad), out=tmp_path / "c", steps=1, quiet=True, init=tmp_path / "a")


def test_the_flag_takes_network_and_meaning_from_the_source(
    source: Path, others: str, tiny: RunConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    words = ["train", others, "--from", str(source), "--out", str(run), "--train.precision", "fp32"]
    words += ["--train.checkpoint-every", "0", "--batch-size", "5"]
    assert main([*words, "--steps", "2"]) == 0
    config = RunConfig.from_dict(read_toml(run / "config.toml")["config"])
    assert config.network == tiny.network and config.objective == tiny.objective and config.process == tiny.process
    assert config.preset == "mnist" and config.train.batch_size == 5 and config.conditions[0].size == 5
    shutil.rmtree(source)
    assert main([*words, "--steps", "3"]) == 0  # goes on
    assert main([w for w in words if w not in ("--from", str(source))] + ["--steps", "4"]) == 0
    assert main([*words[:2], "--from", str(source), "--out", str(tmp_path / "new"), "--steps", "3"]) == 2
    assert "There is no folder" in capsys.readouterr().err
    assert main([*words, "--steps", "4", "--network.channels", "8"]) == 2
    assert "network.channels was [8, 16], is [8]" in capsys.readouterr().err


def test_a_preset_without_a_start_stays_as_it_is(tmp_path: Path, tiny: RunConfig) -> None:
    assert starting_config(tiny, None, tmp_path / "none", False) is tiny


def test_planes_and_tokens_of_new_conditions_start_anew_beside_the_rest() -> None:
    config = NetworkConfig(channels=(8, 16), blocks=1, attention=(1,), groups=4, patch=2, time_dim=16)
    low, seg = ConditionConfig("low", "image", 3, via="channels"), ConditionConfig("seg", "image", 1, via="channels")
    dose = ConditionConfig("dose", "value", 1, via="tokens")
    old = build_network(config, (3, 8, 8), (seg,))
    new = build_network(config, (3, 8, 8), (low, seg, dose))
    found = transferred(new, old.state_dict(), (seg,), 4)
    assert not found.problems and set(found.new) == {"low", "dose"}
    stem, before, fresh = found.state["stem.weight"], old.state_dict()["stem.weight"], new.state_dict()["stem.weight"]
    assert torch.equal(stem[:, :12], before[:, :12]) and torch.equal(stem[:, 24:], before[:, 12:])
    assert torch.equal(stem[:, 12:24], fresh[:, 12:24])
    back = transferred(old, found.state, (low, seg, dose), 4)
    assert not back.problems and torch.equal(back.state["stem.weight"], before)


def test_tags_are_matched_by_name_and_a_condition_of_another_kind_is_new() -> None:
    config = NetworkConfig("mlp", channels=(8,), blocks=1, time_dim=8)
    old = ConditionConfig("marks", "tags", 2, names=("red", "blue"))
    new = ConditionConfig("marks", "tags", 3, names=("blue", "green", "red"))
    a, b = build_network(config, (4,), (old,)), build_network(config, (4,), (new,))
    found = transferred(b, a.state_dict(), (old,))
    columns, before = found.state["conditions.each.0.body.weight"], a.state_dict()["conditions.each.0.body.weight"]
    assert torch.equal(columns[:, [2, 0]], before) and found.new == ("marks: green",)
    other = build_network(config, (4,), (ConditionConfig("marks", "value", 1),))
    assert transferred(other, a.state_dict(), (old,)).new == ("marks",)
