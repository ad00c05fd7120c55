"""Small pictures of two classes, and autoencoders of them that train in a second."""

from pathlib import Path
from typing import Any

import numpy as np

from gendi.diffusion.autoencoder.config import AutoencoderConfig
from gendi.diffusion.config import ConditionConfig
from gendi.diffusion.gaussian.config import ObjectiveConfig, ProcessConfig
from gendi.diffusion.networks.config import NetworkConfig
from gendi.train.config import OptimConfig, RunConfig, TrainConfig

LINEAR = AutoencoderConfig(channels=3, factor=4, widths=(), regularise="none", equivariance=0.0)
SMALL = AutoencoderConfig(channels=3, factor=4, patch=2, widths=(8, 16))
TRAINING: dict[str, Any] = {"batch_size": 8, "precision": "fp32"}

RUN = RunConfig(
    preset="latents",
    network=NetworkConfig(channels=(8, 16), blocks=1, patch=1, groups=4, time_dim=16),
    conditions=(ConditionConfig("class", required=False),),
    process=ProcessConfig(schedule="cosine", steps=None),
    objective=ObjectiveConfig(precondition=True, weighting="edm", time_sampling="log-normal"),
    optim=OptimConfig(name="adamw", lr=3e-3),
    train=TrainConfig(batch_size=8, checkpoint_every=0.0, preview_every=0, precision="fp32", layout="contiguous"),
)
"""A run of a tiny network in latents."""


def write_pictures(path: Path, n: int = 60, side: int = 16, seed: int = 0) -> str:
    """Write n pictures of a disc (class 0) or a square (class 1) of any colour, place and size; return the spec."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    rows, columns = np.mgrid[:side, :side]
    images = np.empty((n, side, side, 3), np.uint8)
    for image, label in zip(images, labels, strict=True):
        (y, x), radius = rng.uniform(side / 3, 2 * side / 3, 2), rng.uniform(side / 6, side / 3)
        away = np.hypot(rows - y, columns - x) if label == 0 else np.maximum(abs(rows - y), abs(columns - x))
        paper, ink = rng.integers(0, 256, 3), rng.integers(0, 256, 3)
        image[:] = np.where((away < radius)[..., None], ink, paper)
    np.savez(path, images=images, labels=labels)
    return str(path)
