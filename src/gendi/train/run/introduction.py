"""What a run says of itself before its first step."""

from collections.abc import Iterator
from pathlib import Path

import torch

from gendi.data.kinds import kind_of
from gendi.train.budget import Budget
from gendi.train.config import RunConfig
from gendi.train.kept.resume import versions
from gendi.train.run.expectation import expected_of
from gendi.train.step.trainer import Trainer


def setting_of(trainer: Trainer) -> dict[str, str]:
    """Return what a bit-for-bit repetition depends on beside the configuration."""
    several = {"number of processes": trainer.team.size, "train.shard": trainer.sharded}
    named = several | {"train.accumulate": trainer.parts.count}
    return versions() | {name: str(value) for name, value in named.items()}


def introduction(trainer: Trainer, config: RunConfig, budget: Budget, run: Path, *, going_on: bool) -> Iterator[str]:
    """Yield lines on what is trained, on what, where and how."""
    data, team, train = trainer.data, trainer.team, config.train
    parameters = sum(p.numel() for p in trainer.network.parameters())
    rows = kind_of(data.kind).noun
    yield (
        f"{'going on with' if going_on else 'learning'} {data.name}: {len(data.train) // data.forms:,} {rows} "
        f"({data.fitted.description}), {parameters / 1e6:.2f}M parameters (preset {config.preset}), {budget}, "
        f"from step {trainer.step_count}, in {run}"
    )
    if trainer.start is not None:
        anew = f"; {', '.join(trainer.new_parts)} start anew" if trainer.new_parts else ""
        yield f"{'begun' if going_on else 'beginning'} with the weights of {trainer.start.place}{anew}"
    if smoothed := trainer.smoothing.in_words(len(data.train)):
        yield smoothed
    if train.shard and not trainer.sharded:
        yield "note: --train.shard changes nothing with one process; start several by torchrun."
    shared = " that share the network" if trainer.sharded else ""
    several = f"{team.size} processes{shared}, " if team.size > 1 else ""
    yield f"{several}device {trainer.device.type}, {torch.get_num_threads()} threads; {trainer.choice.reason}"
    if (rate := trainer.choice.rate) and budget.seconds is not None and not going_on:
        seen = rate * budget.seconds
        foretold = expected_of(config, data.name, seen)
        yield f"about {round(seen, -3):,.0f} {rows} in {budget} at that rate{'; ' + foretold if foretold else ''}"
    if narrow := narrow_patches(config, data.fitted.shape):
        yield f"note: {narrow}"
    if trainer.parts.count > 1:
        yield f"each batch of {train.batch_size} is computed in {trainer.parts.count} parts"


def narrow_patches(config: RunConfig, shape: tuple[int, ...]) -> str | None:
    """Return why samples of `shape` (C, H, W) stay grainy, if a patch has more numbers than channels that take it.

    A network whose output has the noise in it must hand on every number of its input. One that predicts x_0 without
    preconditioning need not (Li & He 2025).
    """
    network, objective = config.network, config.objective
    if len(shape) != 3 or network.patch == 1 or (objective.prediction == "x0" and not objective.precondition):
        return None
    numbers, channels = shape[0] * network.patch**2, network.channels[0]
    if numbers <= channels:
        return None
    return (
        f"a patch of {network.patch} x {network.patch} pixels has {numbers} numbers, and network.channels begins with "
        f"{channels}, so the noise of single pixels does not get through and samples stay grainy. Begin "
        f"--network.channels with {numbers} or more, make --network.patch smaller, or give --objective.prediction x0 "
        "--objective.no-precondition."
    )
