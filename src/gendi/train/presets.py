"""Presets: a named configuration with what to expect of it. This module imports no torch."""

from dataclasses import dataclass

from gendi.config import (
    NetworkConfig,
    ObjectiveConfig,
    OptimConfig,
    ProcessConfig,
    RunConfig,
    SampleConfig,
    TrainConfig,
)
from gendi.errors import unknown_name


@dataclass(frozen=True)
class Preset:
    """A configuration, the budget it was made for, what it is, and what it scored (measured; see benchmarks/)."""

    name: str
    config: RunConfig
    max_time: str
    about: str
    expected: str


_MNIST = RunConfig(
    preset="mnist",
    network=NetworkConfig(channels=(48, 96), blocks=1, patch=2, classes=-1),
    process=ProcessConfig(schedule="cosine", steps=None),
    objective=ObjectiveConfig(precondition=True, weighting="edm", time_sampling="log-normal"),
    optim=OptimConfig(name="muon", lr=3e-3),
    train=TrainConfig(batch_size=64),
)

_MNIST_LONG = RunConfig(
    preset="mnist-long",
    network=NetworkConfig(channels=(64, 128), blocks=1, patch=2, classes=-1),
    process=_MNIST.process,
    objective=_MNIST.objective,
    optim=OptimConfig(name="muon", lr=3e-3, ema_images=50_000),
    train=TrainConfig(batch_size=64, preview_every=100_000),
)

_REPORT = RunConfig(
    preset="gendi-report",
    network=NetworkConfig(channels=(32, 64, 64), blocks=2, attention=(1,), time_dim=128, time_input="step", groups=8),
    process=ProcessConfig(schedule="linear", steps=1000),
    objective=ObjectiveConfig(prediction="eps", weighting="simple", time_sampling="discrete"),
    optim=OptimConfig(name="adamw", lr=2e-4, betas=(0.9, 0.999), weight_decay=0.01, warmup=0.0, decay=0.0, clip=1.0),
    train=TrainConfig(batch_size=128),
    sample=SampleConfig(sampler="ancestral", steps=1000, clip=True),
)

PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset(
            "mnist",
            _MNIST,
            "8m",
            "the best digits per CPU minute we found; told the classes, where the data have some",
            "on 2 cores: FID 0.28 on digit features (floor 0.25), 19.1 on Inception (11.8), confidence 98.2%",
        ),
        Preset(
            "mnist-long",
            _MNIST_LONG,
            "1h",
            "the same with a wider network, for an hour",
            "on 2 busy cores: FID 14.5 on Inception features (floor 11.8), confidence 98.9%",
        ),
        Preset(
            "gendi-report", _REPORT, "1h", "the GENDI report's DDPM: T = 1000, linear, eps, AdamW, 1.7M parameters", ""
        ),
    )
}


def get_preset(name: str) -> Preset:
    """Return the preset `name`. Raises `UsageError` with the nearest name for an unknown one."""
    if name not in PRESETS:
        raise unknown_name("preset", name, PRESETS)
    return PRESETS[name]
