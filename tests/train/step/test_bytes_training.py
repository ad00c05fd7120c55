"""Training a network that answers with the mean of a byte: its histogram comes from the data and stays with it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from gendi.data import open_data
from gendi.diffusion.gaussian.config import ObjectiveConfig
from gendi.diffusion.networks.byte_posterior import BytePosterior
from gendi.train.budget import Budget
from gendi.train.config import RunConfig
from gendi.train.kept.bundle import load_bundle
from gendi.train.run.loop import train
from gendi.train.step.probe import Choice
from gendi.train.step.trainer import Trainer
from gendi.train.weights.model import run_cost


def with_bytes(config: RunConfig) -> RunConfig:
    objective = ObjectiveConfig(prediction="v", weighting="simple", time_sampling="log-snr")
    return replace(config, network=replace(config.network, output="bytes"), objective=objective)


def histogram(network: torch.nn.Module) -> torch.Tensor:
    (module,) = (m for m in network.modules() if isinstance(m, BytePosterior))
    return module.log_prior


def test_the_histogram_is_that_of_the_training_rows(images: str, tiny: RunConfig) -> None:
    data = open_data(images)
    network = Trainer(with_bytes(tiny), data, Choice("fp32", "contiguous", "given")).network
    rows = np.asarray(data.train.batch(np.arange(len(data.train))))
    for channel in range(rows.shape[-1]):
        seen = np.bincount(rows[..., channel].ravel(), minlength=256) + 1
        np.testing.assert_allclose(histogram(network)[channel].exp().numpy(), seen / seen.sum(), rtol=1e-5)


def test_a_bundle_keeps_it_and_a_second_run_starts_from_it(images: str, tiny: RunConfig, tmp_path: Path) -> None:
    config = with_bytes(tiny)
    train(images, config, tmp_path / "run", Budget(steps=2))
    first = load_bundle(tmp_path / "run")
    kept = histogram(first.denoiser().network)
    expected = histogram(Trainer(config, open_data(images), Choice("fp32", "contiguous", "given")).network)
    assert torch.equal(kept, expected)
    train(images, first.config, tmp_path / "next", Budget(steps=1), init=first)
    assert torch.equal(histogram(load_bundle(tmp_path / "next").denoiser().network), expected)


def test_its_cost_is_counted(tiny: RunConfig) -> None:
    """The last layer has eight outputs for one: 8 times its weights; no other part grows."""
    shape, config = (1, 8, 8), replace(tiny, conditions=())
    plain, answers = (run_cost(c, shape) for c in (config, with_bytes(config)))
    last = 9 * config.network.channels[0] + 1
    assert answers.parameters - plain.parameters == 7 * last * config.network.patch**2
