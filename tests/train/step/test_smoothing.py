"""Noise on training rows keeps their moments and their words, is keyed by the step, and follows the number of rows."""

import dataclasses
import signal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from gendi.data import open_data
from gendi.data.tables.example import mixed_table
from gendi.errors import PreemptedError, UsageError
from gendi.train.budget import Budget
from gendi.train.config import RunConfig
from gendi.train.kept.checkpoint import load_latest
from gendi.train.kept.resume import smoothed_as_before
from gendi.train.kept.stored import stored_config
from gendi.train.presets import get_preset
from gendi.train.run.loop import train
from gendi.train.step.resolve import prepared, resolve
from gendi.train.step.smoothing import Smoothing, width_for
from gendi.train.step.trainer import Trainer
from stop_at import StopAt

H = 0.5


def small(smoothing: float = -1.0) -> RunConfig:
    table = get_preset("table").config
    return dataclasses.replace(
        table,
        network=dataclasses.replace(table.network, channels=(16,), blocks=1, time_dim=16),
        train=dataclasses.replace(
            table.train, smoothing=smoothing, batch_size=32, preview_every=0, evaluate_every=0, precision="fp32"
        ),
    )


@pytest.fixture
def people(tmp_path: Path) -> str:
    mixed_table(100).to_csv(tmp_path / "people.csv", index=False)
    return str(tmp_path / "people.csv")


def test_mean_and_covariance_stay_and_the_correlation_with_the_row_is_that_of_the_noise() -> None:
    """Of 40,000 rows a mean, a covariance and a correlation are known to 0.005 and 0.007: five standard errors."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.standard_normal((400, 3)), columns=["a", "b", "c"])
    data = prepared(small(), open_data(frame))
    smoothing = Smoothing(data, H, 7)
    x = torch.from_numpy(rng.standard_normal((40_000, 3)).astype(np.float32))
    y = smoothing(x, 3, slice(0, 40_000), 40_000)
    both = np.cov(torch.cat([x, y], 1).numpy().T)
    assert float(y.mean(0).abs().max()) < 0.025
    np.testing.assert_allclose(both[3:, 3:], np.eye(3), atol=0.036)
    np.testing.assert_allclose(both[:3, 3:], np.eye(3) / np.sqrt(1 + H**2), atol=0.036)


def test_noise_belongs_to_a_step_and_a_place_in_the_batch_and_words_have_none(people: str) -> None:
    data = prepared(small(), open_data(people))
    smoothing, codec = Smoothing(data, H, 7), data.fitted
    points = sum(each.shape[1] for each in codec.points.values())
    assert points > 0 and smoothing.coordinates == codec.shape[0] - points
    x = torch.from_numpy(np.asarray(data.train.batch(range(32))))
    whole, words = smoothing(x, 5, slice(0, 32), 32), slice(smoothing.coordinates, None)
    assert torch.equal(whole, smoothing(x, 5, slice(0, 32), 32))
    assert torch.equal(whole[8:20], smoothing(x[8:20], 5, slice(8, 20), 32))
    assert torch.equal(whole[:, words], x[:, words])
    other = smoothing(x, 6, slice(0, 32), 32)
    assert not torch.equal(other[:, : smoothing.coordinates], whole[:, : smoothing.coordinates])
    assert torch.equal(Smoothing(data, 0.0, 7)(x, 5, slice(0, 32), 32), x)


def test_a_table_of_words_alone_has_no_noise() -> None:
    frame = pd.DataFrame({"a": ["x", "y", "z", "x"] * 15, "b": ["u", "v"] * 30})
    trainer = Trainer(small(), open_data(frame))
    plain = Trainer(small(0.0), open_data(frame))
    assert trainer.smoothing.coordinates == 0 and trainer.smoothing.in_words(48) == ""
    assert torch.equal(trainer.batch(1)[0], plain.batch(1)[0])


def test_the_trainer_sees_the_rows_of_the_batch_with_this_noise(people: str) -> None:
    data = open_data(people)
    plain, smooth = (Trainer(small(h), data) for h in (0.0, H))
    assert "0.5 of its standard deviation" in smooth.smoothing.in_words(80) and not plain.smoothing.in_words(80)
    x, y = plain.batch(4)[0], smooth.batch(4)[0]
    assert torch.equal(smooth.smoothing(x, 4, slice(0, 32), 32), y) and not torch.equal(x, y)


def test_the_width_is_that_for_the_number_of_rows_and_pictures_have_none(people: str, tmp_path: Path) -> None:
    data = open_data(people)
    assert resolve(small(), data).train.smoothing == width_for(len(data.train))
    assert width_for(32) == 0.45 and width_for(243) == 0.3 and width_for(1000) == 0  # 0.9 / 2, 0.9 / 3
    assert resolve(small(0.2), data).train.smoothing == 0.2
    np.savez(
        tmp_path / "images.npz", images=np.zeros((12, 8, 8), np.uint8) + np.arange(12, dtype=np.uint8)[:, None, None]
    )
    pictures, mnist = open_data(str(tmp_path / "images.npz")), get_preset("mnist").config
    asked = dataclasses.replace(mnist, train=dataclasses.replace(mnist.train, smoothing=-1.0))
    assert resolve(asked, pictures).train.smoothing == 0
    with pytest.raises(UsageError, match="noise on rows of numbers"):
        Smoothing(pictures, 0.1, 0)
    with pytest.raises(UsageError, match="train.smoothing = -0.5 is out of range"):
        small(-0.5).validate()


def test_interrupted_and_resumed_is_exact_and_an_older_run_goes_on_without(tmp_path: Path, people: str) -> None:
    whole, run = tmp_path / "whole", tmp_path / "interrupted"
    train(people, small(), whole, Budget(steps=8))
    with pytest.raises(PreemptedError):
        train(people, small(), run, Budget(steps=8), console=StopAt(5, signal.SIGTERM))
    train(people, small(), run, Budget(steps=8))
    one, two = load_latest(whole), load_latest(run)
    assert one is not None and two is not None and one.step == two.step == 8
    for name, tensor in one.tensors["ema"].items():
        assert torch.equal(tensor, two.tensors["ema"][name]), name
    assert stored_config(run).train.smoothing > 0
    old = tmp_path / "old"
    train(people, small(0.0), old, Budget(steps=2))
    assert smoothed_as_before(small(), old, True).train.smoothing == 0
    assert smoothed_as_before(small(), old, False).train.smoothing == -1
    train(people, small(), old, Budget(steps=4))
    assert stored_config(old).train.smoothing == 0
