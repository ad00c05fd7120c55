"""A run that learns its schedule: the loss is the bound, going on is exact, and its bundle samples and is measured."""

import dataclasses
import signal
from pathlib import Path

import pytest
import torch

from gendi.api.likelihood import bits_per_dim
from gendi.api.sample import sample
from gendi.data import open_data
from gendi.diffusion.gaussian.config import ObjectiveConfig, ProcessConfig
from gendi.diffusion.gaussian.objectives import NoisingObjective
from gendi.diffusion.gaussian.schedule.learned import MonotoneNetwork
from gendi.diffusion.randomness import normal
from gendi.errors import BundleError, PreemptedError
from gendi.train.budget import Budget
from gendi.train.config import RunConfig
from gendi.train.kept.bundle import TABLE, Bundle, load_bundle, save_bundle
from gendi.train.kept.checkpoint import load_latest
from gendi.train.run.loop import train
from gendi.train.step.trainer import Trainer
from stop_at import StopAt

STEPS = 24


@pytest.fixture
def config(tiny: RunConfig) -> RunConfig:
    return dataclasses.replace(
        tiny,
        process=ProcessConfig(schedule="learned", steps=None),
        objective=ObjectiveConfig(prediction="v", weighting="bound", time_sampling="uniform"),
        train=dataclasses.replace(tiny.train, checkpoint_every=1e9),
    )


def test_the_loss_is_half_the_fall_times_the_squared_error_of_eps(images: str, config: RunConfig) -> None:
    trainer = Trainer(config, open_data(images))
    denoiser, x_0 = trainer.denoiser.eval(), trainer.batch(0)[0]
    t, eps = torch.linspace(0.1, 0.9, len(x_0), dtype=torch.float64), normal(tuple(x_0.shape), 0, "test")
    cond = {"class": torch.zeros(len(x_0), dtype=torch.int64)}
    objective = trainer.objective
    assert isinstance(objective, NoisingObjective) and objective.learner is not None
    with torch.no_grad():
        for p in denoiser.network.parameters():  # the head starts at zero
            p.add_(torch.linspace(-0.02, 0.02, p.numel()).reshape(p.shape))
        found = objective.at(denoiser, x_0, t, eps, cond)
        value, fall, _ = objective.learner.network(t)
        alpha, sigma = (torch.sigmoid(s * value).sqrt().float()[:, None, None, None] for s in (1, -1))
        x_t = alpha * x_0 + sigma * eps
        eps_hat = (x_t - alpha * denoiser(x_t, t, **cond)) / sigma
    wanted = -fall / 2 * (eps - eps_hat).square().flatten(1).mean(1)
    torch.testing.assert_close(found.double(), wanted, rtol=1e-3, atol=0)  # float32, divided by sigma down to 1e-2


def test_going_on_is_exact_and_the_bundle_samples_and_has_a_likelihood(
    tmp_path: Path, images: str, config: RunConfig
) -> None:
    train(images, config, tmp_path / "whole", Budget(steps=STEPS))
    with pytest.raises(PreemptedError):
        train(images, config, tmp_path / "parts", Budget(steps=STEPS), console=StopAt(13, signal.SIGTERM))
    train(images, config, tmp_path / "parts", Budget(steps=STEPS))
    one, two = load_latest(tmp_path / "whole"), load_latest(tmp_path / "parts")
    assert one is not None and two is not None
    assert one.tensors.keys() == two.tensors.keys() == {"model", "ema", "optimizer", "schedule"}
    for group, tensors in one.tensors.items():
        assert tensors.keys() == two.tensors[group].keys()
        assert all(torch.equal(value, two.tensors[group][name]) for name, value in tensors.items()), group
    for name in ("metrics.jsonl", "bundle/model.safetensors"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes()
    previews = [sorted((tmp_path / run / "previews").iterdir()) for run in ("whole", "parts")]
    assert previews[0] and [p.read_bytes() for p in previews[0]] == [p.read_bytes() for p in previews[1]]

    network = MonotoneNetwork(-8.0, 13.0)
    start = network(torch.linspace(0, 1, 1001, dtype=torch.float64))[0].detach()
    network.load_state_dict({name: one.tensors["schedule"][name] for name, _ in network.named_parameters()})
    wanted = network(torch.linspace(0, 1, 1001, dtype=torch.float64))[0].detach()
    assert (wanted - start).abs().max() > 0.1  # it learned something
    bundle = load_bundle(tmp_path / "whole")
    assert bundle.log_snr is not None and torch.equal(bundle.log_snr, wanted)
    assert TABLE not in bundle.state

    drawn = sample(bundle, 4, steps=6, condition={"class": 0})
    assert drawn.shape == (4, 10, 9, 3)
    assert sample(bundle, 2, steps=6, sampler="ddim").shape == (2, 10, 9, 3)
    for method in ("elbo", "ode"):
        options = {"draws": 4} if method == "elbo" else {"rtol": 1e-2, "atol": 1e-2}
        assert 0 < bits_per_dim(bundle, method=method, n=2, **options).total.bits < 1000


def learned_bundle(tmp_path: Path, images: str, config: RunConfig) -> Bundle:
    train(images, config, tmp_path / "run", Budget(steps=1))
    return load_bundle(tmp_path / "run")


def test_a_bundles_table_is_checked(tmp_path: Path, images: str, config: RunConfig) -> None:
    bundle = learned_bundle(tmp_path, images, config)
    assert bundle.log_snr is not None
    tables = {
        "missing": None,
        "has shape": bundle.log_snr[:-1],
        "float32": bundle.log_snr.float(),
        "strictly falling": bundle.log_snr.flip(0),
        "strictly falling entries": torch.full_like(bundle.log_snr, float("nan")),
    }
    for message, table in tables.items():
        folder = save_bundle(tmp_path / "changed", dataclasses.replace(bundle, log_snr=table))
        with pytest.raises(BundleError, match=message):
            load_bundle(folder)
    fixed = dataclasses.replace(config, process=ProcessConfig(schedule="cosine", steps=None))
    folder = save_bundle(tmp_path / "changed", dataclasses.replace(bundle, config=fixed))
    with pytest.raises(BundleError, match="unexpected"):
        load_bundle(folder)
    with pytest.raises(BundleError, match="missing"):
        dataclasses.replace(bundle, log_snr=None).denoiser()
