"""Shares of a batch computed by threads beside one another: the same gradients, the same run however it is timed."""

import functools
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from gendi.data import open_data
from gendi.errors import PreemptedError, UsageError
from gendi.machine.threads import beside
from gendi.train.budget import Budget
from gendi.train.config import RunConfig
from gendi.train.kept.checkpoint import load_latest
from gendi.train.run.loop import train
from gendi.train.step.probe import Choice
from gendi.train.step.trainer import Trainer
from gendi.train.step.workers import summed_gradients
from stop_at import StopAt


def with_workers(config: RunConfig, workers: int) -> RunConfig:
    network = replace(config.network, dropout=0.0)
    return replace(config, network=network, train=replace(config.train, workers=workers))


def test_gradients_are_those_of_the_whole_batch() -> None:
    """The mean over 7 rows, in shares of 2, 2 and 3 and at once, in float64."""
    network, x = nn.Sequential(nn.Linear(3, 4), nn.SiLU(), nn.Linear(4, 1)).double(), torch.randn(7, 3).double()
    network(x).square().mean().backward()
    whole = [p.grad.clone() for p in network.parameters() if p.grad is not None]
    network.zero_grad()

    def share(rows: Tensor) -> tuple[Tensor, Tensor]:
        losses = network(rows).square()
        return losses.sum() / 7, losses.detach()

    losses = summed_gradients([functools.partial(share, part) for part in (x[:2], x[2:4], x[4:])], network)
    torch.testing.assert_close(torch.cat(losses), network(x).square())
    for p, expected in zip(network.parameters(), whole, strict=True):
        torch.testing.assert_close(p.grad, expected)


def test_a_step_has_the_loss_and_the_gradient_of_one_without_workers(images: str, tiny: RunConfig) -> None:
    data = open_data(images)
    choices = [Choice("fp32", "channels-last", "given", workers=k) for k in (1, 3)]
    one, three = (Trainer(with_workers(tiny, 1), data, choice).step(0.5) for choice in choices)
    assert one.loss == pytest.approx(three.loss, rel=1e-6)
    assert one.grad_norm == pytest.approx(three.grad_norm, rel=1e-5)


def test_the_sum_is_in_order_whoever_is_first() -> None:
    """1 + 1e8 - 1e8 in float32 is 0 or 1, by the order; the first share is made the slowest, and then the last."""
    network = nn.Linear(1, 1, bias=False)

    def loss(factor: float, delay: float) -> tuple[Tensor, Tensor]:
        time.sleep(delay)
        return network.weight.sum() * factor, torch.tensor(factor)

    found = []
    for delays in ((0.2, 0.1, 0.0), (0.0, 0.1, 0.2)):
        network.zero_grad()
        works = [functools.partial(loss, *each) for each in zip((1.0, 1e8, -1e8), delays, strict=True)]
        assert [float(value) for value in summed_gradients(works, network)] == [1.0, 1e8, -1e8]
        assert network.weight.grad is not None
        found.append(network.weight.grad.item())
    assert found == [0.0, 0.0]  # (1 + 1e8) - 1e8 in float32


def test_an_error_in_a_share_is_raised_when_all_have_ended_and_threads_are_as_before() -> None:
    ended, threads = [], torch.get_num_threads()

    def slow() -> None:
        time.sleep(0.2)
        ended.append(True)

    def fail() -> None:
        raise RuntimeError("out of memory")

    for works in ([slow, fail], [fail, slow]):
        with pytest.raises(RuntimeError, match="out of memory"):
            beside(works)
    assert ended == [True, True]
    assert torch.get_num_threads() == threads


def test_a_run_with_workers_goes_on_exactly(tmp_path: Path, images: str, tiny: RunConfig) -> None:
    config = with_workers(tiny, 2)
    train(images, config, tmp_path / "whole", Budget(steps=8))
    with pytest.raises(PreemptedError):
        train(images, config, tmp_path / "stopped", Budget(steps=8), console=StopAt(3))
    train(images, config, tmp_path / "stopped", Budget(steps=8))
    one, two = load_latest(tmp_path / "whole"), load_latest(tmp_path / "stopped")
    assert one is not None and two is not None
    assert one.state["choice"]["workers"] == 2
    for group in ("model", "ema", "optimizer"):
        for name, tensor in one.tensors[group].items():
            assert torch.equal(tensor, two.tensors[group][name]), (group, name)


def test_workers_are_refused_where_shares_would_not_be_the_batch(tiny: RunConfig) -> None:
    with pytest.raises(UsageError, match=r"train.workers above 1 needs network.dropout = 0"):
        replace(tiny, train=replace(tiny.train, workers=2)).validate()
