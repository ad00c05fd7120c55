"""Something to break: a network of a few thousand weights on 24 pictures, and the words of a command that trains it."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gendi.diffusion.config import ConditionConfig
from gendi.diffusion.gaussian.config import ObjectiveConfig, ProcessConfig, SampleConfig
from gendi.diffusion.networks.config import NetworkConfig
from gendi.train.config import OptimConfig, RunConfig, TrainConfig

TINY = RunConfig(
    preset="tiny",
    network=NetworkConfig(channels=(8,), blocks=1, groups=4, time_dim=8, dropout=0.1),
    conditions=(ConditionConfig("class", size=3),),
    process=ProcessConfig(schedule="cosine", steps=None),
    objective=ObjectiveConfig(precondition=True, weighting="edm", time_sampling="log-normal"),
    optim=OptimConfig(name="adamw", lr=3e-3, posthoc_every=30),
    train=TrainConfig(
        batch_size=6, checkpoint_every=0.0, preview_every=30, log_every=2, precision="fp32", layout="contiguous"
    ),
    sample=SampleConfig(steps=3),
)

FLAGS = (
    *("--network.channels", "8", "--network.blocks", "1", "--network.groups", "4", "--network.time-dim", "8"),
    *("--batch-size", "4", "--train.precision", "fp32", "--train.layout", "contiguous", "--sample.steps", "2"),
    *("--train.log-every", "1"),
)


def started(*words: str, **settings: Any) -> subprocess.Popen[str]:
    """Start a real `gendi` process on one thread."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command: Sequence[str] = (sys.executable, "-m", "gendi", *words)
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, **settings
    )


def flip(path: Path, bit: int) -> None:
    """Turn one bit of a file over."""
    with path.open("r+b") as file:
        file.seek(bit // 8)
        byte = file.read(1)[0]
        file.seek(bit // 8)
        file.write(bytes([byte ^ 1 << bit % 8]))
