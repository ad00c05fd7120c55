"""A training run small enough to repeat many times: 40 images of 10x9, a network of a few thousand weights."""

from pathlib import Path

import numpy as np
import pytest

from gendi.diffusion.config import ConditionConfig
from gendi.diffusion.gaussian.config import ObjectiveConfig, ProcessConfig
from gendi.diffusion.networks.config import NetworkConfig
from gendi.train.config import OptimConfig, RunConfig, TrainConfig

TINY = RunConfig(
    preset="tiny",
    network=NetworkConfig(channels=(8, 16), blocks=1, patch=1, groups=4, time_dim=16, dropout=0.1),
    conditions=(ConditionConfig("class", size=3),),
    process=ProcessConfig(schedule="cosine", steps=None),
    objective=ObjectiveConfig(precondition=True, weighting="edm", time_sampling="log-normal"),
    optim=OptimConfig(name="muon", lr=3e-3),
    train=TrainConfig(
        batch_size=7, checkpoint_every=0.0, preview_every=70, log_every=4, precision="fp32", layout="channels-last"
    ),
)


@pytest.fixture
def tiny() -> RunConfig:
    return TINY


@pytest.fixture
def images(tmp_path: Path) -> str:
    path = tmp_path / "images.npz"
    rng = np.random.default_rng(0)
    np.savez(path, images=rng.integers(0, 256, (40, 10, 9, 3), dtype=np.uint8), labels=np.arange(40) % 3)
    return str(path)
