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
from gendi.train.step.resolve import prepared, resolve, training_rows
from gendi.train.step.smoothing import Smoothing, moves, width_for
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
    smoothing = Smoothing(data, H, 7, lambda: training_rows(data))
    x = torch.from_numpy(rng.standard_normal((40_000, 3)).astype(np.float32))
    y = smoothing(x, 3, slice(0, 40_000), 40_000)
    both = np.cov(torch.cat([x, y], 1).numpy().T)
    assert float(y.mean(0).abs().max()) < 0.025
    np.testing.assert_allclose(both[3:, 3:], np.eye(3), atol=0.036)
    np.testing.assert_allclose(both[:3, 3:], np.eye(3) / np.sqrt(1 + H**2), atol=0.036)


def test_noise_belongs_to_a_step_and_a_place_in_the_batch_and_words_have_none(people: str) -> None:
    data = prepared(small(), open_data(people))
    smoothing, codec = Smoothing(data, H, 7, lambda: training_rows(data)), data.fitted
    axes, steady = codec.steady()
    assert 0 < len(steady) < codec.shape[0] == smoothing.coordinates + len(steady)
    assert set(range(codec.scores, codec.shape[0])) <= set(steady)  # the points of words
    x = torch.from_numpy(np.asarray(data.train.batch(range(32))))
    whole = smoothing(x, 5, slice(0, 32), 32)
    assert torch.equal(whole, smoothing(x, 5, slice(0, 32), 32))
    torch.testing.assert_close(whole[8:20], smoothing(x[8:20], 5, slice(8, 20), 32), rtol=0, atol=1e-5)
    before, after = (each.double() @ axes for each in (x, whole))
    torch.testing.assert_close(before[:, steady], after[:, steady], rtol=0, atol=1e-4)
    moving = [k for k in range(codec.shape[0]) if k not in steady]
    assert float((before - after)[:, moving].abs().mean()) > 0.1
    assert not torch.equal(smoothing(x, 6, slice(0, 32), 32), whole)
    assert torch.equal(Smoothing(data, 0.0, 7, lambda: training_rows(data))(x, 5, slice(0, 32), 32), x)


def test_rows_are_moved_among_the_rows_of_their_class() -> None:
    """a follows a class of three, 0.8 of its variance is between classes: the noise leaves means and variances of each.

    200 copies of 300 rows: the mean of a class of 100 rows is known to sqrt(0.2 * 0.2 / 20,000) = 0.0015, its variance
    to 0.5%; shrunk to the middle of all rows, the means of the outer classes would move by 0.1. Ridge adds 2 / 302.
    """
    rng, classes = np.random.default_rng(1), np.repeat([-1.0, 0.0, 1.0], 100)
    z = np.column_stack([classes * np.sqrt(1.5), np.sqrt(0.8) * classes * np.sqrt(1.5), np.zeros(300)])
    z[:, 1:] += np.sqrt([0.2, 1.0]) * rng.standard_normal((300, 2))
    z -= z.mean(0)
    kept, noise = moves(torch.from_numpy(z), [0], H)
    rows = np.tile(z, (200, 1))
    moved = rows @ kept.numpy() + rng.standard_normal((len(rows), 2)) @ noise.numpy()
    np.testing.assert_allclose(moved[:, 0], rows[:, 0], atol=1e-12)
    for k in (-1, 0, 1):
        mine, before = moved[np.tile(classes, 200) == k, 1], z[classes == k, 1]
        assert mine.mean() == pytest.approx(before.mean(), abs=0.03) and mine.var() == pytest.approx(
            before.var(), rel=0.15
        )
    np.testing.assert_allclose(np.cov(moved.T), np.cov(z.T), atol=0.03)


def test_a_table_of_words_alone_has_no_noise() -> None:
    frame = pd.DataFrame({"a": ["x", "y", "z", "x"] * 15, "b": ["u", "v"] * 30})
    trainer = Trainer(small(), open_data(frame))
    plain = Trainer(small(0.0), open_data(frame))
    assert trainer.smoothing.coordinates == 0 and trainer.smoothing.in_words(48) == ""
    assert torch.equal(trainer.batch(1)[0], plain.batch(1)[0])


def test_the_trainer_sees_the_rows_of_the_batch_with_this_noise(people: str) -> None:
    data = open_data(people)
    plain, smooth = (Trainer(small(h), data) for h in (0.0, H))
    assert "noise of 0.5 standard deviations is added to the 80 rows" in smooth.smoothing.in_words(
        80
    ) and not plain.smoothing.in_words(80)
    x, y = plain.batch(4)[0], smooth.batch(4)[0]
    assert torch.equal(smooth.smoothing(x, 4, slice(0, 32), 32), y) and not torch.equal(x, y)


def test_the_width_is_that_for_the_number_of_rows_and_pictures_have_none(people: str, tmp_path: Path) -> None:
    data = open_data(people)
    assert resolve(small(), data).train.smoothing == width_for(len(data.train))
    assert width_for(32) == 0.45 and width_for(243) == 0.3 and width_for(500) == 0  # 0.9 / 2, 0.9 / 3
    assert resolve(small(0.2), data).train.smoothing == 0.2
    np.savez(
        tmp_path / "images.npz", images=np.zeros((12, 8, 8), np.uint8) + np.arange(12, dtype=np.uint8)[:, None, None]
    )
    pictures, mnist = open_data(str(tmp_path / "images.npz")), get_preset("mnist").config
    asked = dataclasses.replace(mnist, train=dataclasses.replace(mnist.train, smoothing=-1.0))
    assert resolve(asked, pictures).train.smoothing == 0
    with pytest.raises(UsageError, match="noise on rows of numbers"):
        Smoothing(pictures, 0.1, 0, lambda: training_rows(pictures))
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
