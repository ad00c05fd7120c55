"""Steps drawn as often as their losses ask, weighed back, remembered exactly."""

import dataclasses
import json
import math
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from losses import draw_times
from scipy import stats
from torch import Tensor

from gendi.diffusion.gaussian.config import ObjectiveConfig, ProcessConfig
from gendi.diffusion.gaussian.objectives.loss_aware import REMEMBERED, UNIFORM_SHARE, LossAware, LossHistory
from gendi.diffusion.gaussian.schedule import make_schedule
from gendi.diffusion.randomness import stream
from gendi.errors import BundleError, PreemptedError
from gendi.train.budget import Budget
from gendi.train.config import RunConfig
from gendi.train.kept.checkpoint import load_latest
from gendi.train.run.loop import train
from stop_at import StopAt

T = 12
LEVEL = torch.linspace(1, 6, T, dtype=torch.float64) ** 2
"""A loss of each step, from 1 to 36."""


def times(index: Tensor | np.ndarray) -> Tensor:
    return (torch.as_tensor(index) + 1).double() / T


def warm(losses: np.ndarray) -> LossHistory:
    """Return a history that has seen losses (T, n) of each step, oldest first."""
    history = LossHistory(T)
    for column in losses.T:
        history.update(times(np.arange(T)), torch.from_numpy(column))
    return history


def test_probabilities_follow_the_root_of_the_mean_square_of_the_last_ten() -> None:
    losses = np.random.default_rng(0).exponential(LEVEL.numpy()[:, None], (T, 17))
    root = np.sqrt((losses[:, -REMEMBERED:] ** 2).mean(1))
    expected = (1 - UNIFORM_SHARE) * root / root.sum() + UNIFORM_SHARE / T
    np.testing.assert_allclose(warm(losses).probabilities(), expected, rtol=1e-12)


def test_they_are_uniform_until_ten_losses_of_every_step_are_known() -> None:
    losses = np.random.default_rng(0).exponential(LEVEL.numpy()[:, None], (T, 10))
    history = warm(losses[:, :9])
    history.update(times(np.arange(1, T)), torch.from_numpy(losses[1:, 9]))
    np.testing.assert_array_equal(history.probabilities(), np.full(T, 1 / T))
    history.update(times(np.array([0])), torch.from_numpy(losses[:1, 9]))
    assert history.probabilities().max() > 2 * history.probabilities().min()


def test_one_step_several_times_in_a_batch_and_a_loss_that_is_not_finite() -> None:
    history = LossHistory(T)
    history.update(times(np.array([3, 3, 5, 3])), torch.tensor([1.0, math.nan, 2.0, 4.0]))
    assert history.counts[[3, 5]].tolist() == [2, 1]
    assert history.losses[3, :2].tolist() == [1.0, 4.0]
    assert history.losses.sum() == 7


@pytest.mark.parametrize("steps", [7, 100, 1000])
def test_every_step_has_its_own_losses_though_its_time_times_T_may_fall_short(steps: int) -> None:
    """0.29 * 100 is 28.999999999999996, and that is step 29."""
    history = LossHistory(steps)
    history.update(torch.arange(1, steps + 1).double() / steps, torch.arange(1, steps + 1).double())
    assert history.counts.tolist() == [1] * steps
    assert history.losses[:, 0].tolist() == list(range(1, steps + 1))


def test_losses_of_zero_are_drawn_evenly() -> None:
    np.testing.assert_array_equal(warm(np.zeros((T, 10))).probabilities(), np.full(T, 1 / T))


@pytest.mark.statistical
def test_draws_follow_the_probabilities() -> None:
    """Pearson's statistic of 12 cells stays below its quantile of 1 - 10^-6."""
    history, n = warm(LEVEL.numpy()[:, None].repeat(10, 1)), 20_000
    draws = history.draw(stream(0, "time"), n)
    counts = np.bincount((draws * T).round().long().numpy() - 1, minlength=T)
    expected = n * history.probabilities()
    assert ((counts - expected) ** 2 / expected).sum() < stats.chi2.ppf(1 - 1e-6, T - 1)


@pytest.mark.statistical
def test_the_weighed_mean_is_unbiased_and_spreads_less() -> None:
    """Losses vary around their level by a known factor, so both estimators' mean and variance are sums over T.

    Five deviations of the mean of n; the variance, which is a mean of squares of losses with moments, to 10%.
    """
    history, n = warm(LEVEL.numpy()[:, None].repeat(10, 1)), 40_000
    factor = torch.from_numpy(np.random.default_rng(1).uniform(0.5, 1.5, n))
    t = history.draw(stream(1, "time"), n)
    estimate = LEVEL[(t * T).round().long() - 1] * factor * history.weights(t)
    p = torch.from_numpy(history.probabilities())
    mean, square = LEVEL.mean(), (LEVEL / T / p) ** 2 * (1 + 1 / 12) * p
    spread = square.sum() - mean**2
    assert abs(estimate.mean() - mean) < 5 * (spread / n).sqrt()
    assert estimate.var().item() == pytest.approx(spread.item(), rel=0.1)
    uniform = (LEVEL**2 * (1 + 1 / 12)).mean() - mean**2
    assert spread < 0.15 * uniform


def test_draws_are_keyed_and_a_missing_history_is_uniform() -> None:
    config, schedule = ObjectiveConfig(time_sampling="loss-aware", loss="vlb"), make_schedule("linear", T)
    aware = LossAware(T)
    aware.history = warm(LEVEL.numpy()[:, None].repeat(10, 1))
    first = aware.draw(stream(0, "time", 5), 64)
    assert torch.equal(first, aware.draw(stream(0, "time", 5), 64))
    assert not torch.equal(first, aware.draw(stream(0, "time", 6), 64))
    discrete = dataclasses.replace(config, time_sampling="discrete")
    assert torch.equal(aware.draw_heldout(stream(0, "time", 5), 64), draw_times(discrete, schedule, 64, 0, 5))
    assert set((first * T).round().long().tolist()) <= set(range(1, T + 1))


def test_a_history_comes_back_exactly_and_another_chains_is_refused() -> None:
    history, other = warm(np.random.default_rng(0).exponential(1.0, (T, 13))), LossHistory(T)
    other.restore(history.tensors())
    np.testing.assert_array_equal(other.losses, history.losses)
    history.update(times(np.array([2])), torch.tensor([9.0]))
    other.update(times(np.array([2])), torch.tensor([9.0]))
    np.testing.assert_array_equal(other.probabilities(), history.probabilities())
    for wrong in (LossHistory(T + 1).tensors(), {"losses": history.tensors()["losses"]}):
        with pytest.raises(BundleError, match="history of losses"):
            other.restore(wrong)


def test_going_on_is_exact_with_loss_aware_times_and_a_learned_variance(
    tmp_path: Path, images: str, tiny: RunConfig
) -> None:
    """Three steps of the chain, so that 24 batches of 7 warm the history up before the stop."""
    objective = ObjectiveConfig(prediction="eps", loss="vlb", variance="learned", time_sampling="loss-aware")
    config = dataclasses.replace(
        tiny,
        process=ProcessConfig(schedule="linear", steps=3),
        objective=objective,
        train=dataclasses.replace(tiny.train, checkpoint_every=1e9),
    )
    train(images, config, tmp_path / "whole", Budget(steps=24))
    with pytest.raises(PreemptedError):
        train(images, config, tmp_path / "parts", Budget(steps=24), console=StopAt(13, signal.SIGTERM))
    stopped = load_latest(tmp_path / "parts")
    assert stopped is not None and stopped.step == 13
    assert int(stopped.tensors["losses"]["counts"].min()) >= REMEMBERED
    assert int(stopped.tensors["losses"]["counts"].sum()) == 13 * 7
    train(images, config, tmp_path / "parts", Budget(steps=24))
    one, two = load_latest(tmp_path / "whole"), load_latest(tmp_path / "parts")
    assert one is not None and two is not None
    assert one.tensors.keys() == two.tensors.keys() == {"model", "ema", "optimizer", "losses"}
    for group, tensors in one.tensors.items():
        assert tensors.keys() == two.tensors[group].keys()
        assert all(torch.equal(value, two.tensors[group][name]) for name, value in tensors.items()), group
    metrics = [(tmp_path / run / "metrics.jsonl").read_bytes() for run in ("whole", "parts")]
    assert metrics[0] == metrics[1]
    assert all(math.isfinite(json.loads(line).get("loss", 0.0)) for line in metrics[0].splitlines())
