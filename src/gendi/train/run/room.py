"""The disk space that a run still needs. It is shown before the first step, and the run is refused if it is not there.

It is the sum of the checkpoints that are kept, the one that is being written beside them, the snapshots of averages,
the previews and the bundles. The sizes come from the shapes of tensors, because an optimiser allocates its own tensors
only in its first step. Files that are already in the run's folder are not counted again.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.optim import AdamW, Optimizer

from gendi.data.kinds import kind_of
from gendi.errors import ResourceError
from gendi.machine.units import format_bytes
from gendi.storage.disk import free_bytes
from gendi.storage.safe_tensors import tensor_bytes
from gendi.train.budget import Budget
from gendi.train.config import RunConfig
from gendi.train.kept.checkpoint import list_checkpoints
from gendi.train.progress.previews import PREVIEWS
from gendi.train.step.muon import Muon
from gendi.train.step.trainer import Trainer

MOMENTS: dict[type[Optimizer], tuple[str, ...]] = {Muon: ("momentum",), AdamW: ("exp_avg", "exp_avg_sq")}
"""The tensors that each optimiser keeps in the shape of a parameter; AdamW also keeps one number, its steps."""
TEXTS = 16_384
"""Bytes of the JSON files beside tensors: state, configuration, manifest."""


@dataclass(frozen=True)
class Need:
    """Files or folders that will be written: their name, their count, and the bytes of each."""

    name: str
    count: int
    each: int

    def __str__(self) -> str:
        return f"{self.count:,} {self.name}{'s of' if self.count > 1 else ' of'} {format_bytes(self.each)}"


def checkpoint_bytes(trainer: Trainer) -> int:
    """Return about how many bytes a checkpoint takes: a little too many, and known even before the first step."""
    model = trainer.network.state_dict()
    total = 2 * tensor_bytes(model) + tensor_bytes(dict(_moments(trainer))) + TEXTS
    if trainer.power is not None:
        total += snapshot_bytes(trainer)
    return total + sum(map(tensor_bytes, trainer.objective.tensors().values()))


def snapshot_bytes(trainer: Trainer) -> int:
    """Return about how many bytes a snapshot of the power-function averages takes; 0 if none is written."""
    if trainer.power is None:
        return 0
    average = {name: _like(value.shape) for name, value in trainer.network.state_dict().items()}
    return len(trainer.power.gammas) * tensor_bytes(average) + TEXTS


def _moments(trainer: Trainer) -> Iterator[tuple[str, Tensor]]:
    names = {id(p): name for name, p in trainer.network.named_parameters()}
    for optimizer in trainer.optimizers:
        for group in optimizer.param_groups:
            for p in group["params"]:
                for key in MOMENTS[type(optimizer)]:
                    yield f"{names[id(p)]}:{key}", torch.empty(p.shape, dtype=p.dtype, device="meta")
                if isinstance(optimizer, AdamW):
                    yield f"{names[id(p)]}:step", _like(torch.Size())


def _like(shape: torch.Size) -> Tensor:
    return torch.empty(shape, dtype=torch.float32, device="meta")


def count_snapshots(config: RunConfig, seen: int, end: int) -> int:
    """Return how many snapshots of averages are written between `seen` and `end` images.

    There is one for every `optim.posthoc_every` images, and one at the end.
    """
    batch, every = config.train.batch_size, config.optim.posthoc_every
    if not every or end <= seen:
        return 0
    if batch >= every:
        return (end - seen) // batch
    return end // every - seen // every + (end % every >= batch)  # the last step may write a regular one


def needs(
    trainer: Trainer, budget: Budget, *, step: int, seconds: float, step_seconds: float | None, kept: int
) -> list[Need]:
    """Return the files and folders that a run will still write.

    Args:
        trainer: the run's trainer, at any step.
        budget: the budget of the whole run.
        step, seconds: the steps and seconds that were trained so far.
        step_seconds: the seconds of a step; if they are not known (None), a budget in time counts as one step.
        kept: the number of checkpoints that exist.
    """
    config = trainer.config
    every, batch = config.train.preview_every, config.train.batch_size
    seen = batch * step
    end = seen + batch * (budget.steps_left(seconds, step, batch, step_seconds) or 1)
    bundle = tensor_bytes(trainer.network.state_dict()) + TEXTS
    if fitted := trainer.data.fitted.tensors():
        bundle += tensor_bytes(fitted)
    shown = kind_of(trainer.data.kind).preview_bytes(trainer.data.fitted, PREVIEWS)
    found = [
        Need("checkpoint", max(1, config.train.keep + 1 - kept), checkpoint_bytes(trainer)),
        Need("snapshot", count_snapshots(config, seen, end), snapshot_bytes(trainer)),
        Need("preview", end // every - seen // every if every else 0, shown),
        Need("bundle", 3 if config.train.evaluate_every else 2, bundle),  # one of them is being written
    ]
    return [need for need in found if need.count and need.each]


def require_room(
    run: Path,
    trainer: Trainer,
    budget: Budget,
    say: Callable[[str], None],
    *,
    seconds: float,
    step_seconds: float | None,
) -> None:
    """Say how much disk space the run still needs; see `needs`. Raises `ResourceError` if less is free."""
    kept = len(list_checkpoints(run))
    step = trainer.step_count
    found = needs(trainer, budget, step=step, seconds=seconds, step_seconds=step_seconds, kept=kept)
    total, free = sum(need.count * need.each for need in found), free_bytes(run)
    parts = ", ".join(map(str, found))
    at_least = "" if budget.seconds is None or step_seconds is not None else " at least"
    say(f"needs{at_least} about {format_bytes(total)} of disk: {parts}; {format_bytes(free)} are free")
    if free >= total:
        return
    fewer = "keep fewer checkpoints (--keep 1), " if trainer.config.train.keep > 1 else ""
    rarer = "take fewer snapshots (--optim.posthoc-every), " if trainer.power is not None else ""
    mend = f"Free some space, {fewer}{rarer}or choose a folder on a larger disk (--out)."
    raise ResourceError(
        f"The disk of {run} has too little room for this run: {format_bytes(total)} are needed ({parts}) and "
        f"{format_bytes(free)} are free. Nothing was trained. {mend}"
    )
