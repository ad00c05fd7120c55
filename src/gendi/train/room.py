"""How much disk a run still needs: said before its first step, and refused then rather than hours later.

Counted are the checkpoints that are kept and the one that is being written beside them, the snapshots of averages, the
previews and the bundle, from the shapes of the tensors that they will hold: an optimiser makes its own only in its
first step. What the run's folder holds already is not counted again.
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
from gendi.train.checkpoint import list_checkpoints
from gendi.train.config import RunConfig
from gendi.train.optim import Muon
from gendi.train.previews import PREVIEWS
from gendi.train.trainer import Trainer

MOMENTS: dict[type[Optimizer], tuple[str, ...]] = {Muon: ("momentum",), AdamW: ("exp_avg", "exp_avg_sq")}
"""What each optimiser keeps of the size of a parameter; AdamW counts its steps beside, in one number."""
TEXTS = 16_384
"""Bytes of the JSON beside tensors: state, configuration, manifest."""


@dataclass(frozen=True)
class Need:
    """So many files or folders, of so many bytes each."""

    name: str
    count: int
    each: int

    def __str__(self) -> str:
        return f"{self.count:,} {self.name}{'s of' if self.count > 1 else ' of'} {format_bytes(self.each)}"


def checkpoint_bytes(trainer: Trainer) -> int:
    """Return about how many bytes a checkpoint takes, before the first step too; a little more than it really does."""
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
    """Return how many snapshots of averages are written between `seen` and `end` images: one each so many, and the
    last.
    """
    batch, every = config.train.batch_size, config.optim.posthoc_every
    if not every or end <= seen:
        return 0
    if batch >= every:
        return (end - seen) // batch
    return end // every - seen // every + (end % every >= batch)  # the last is one of them if it is in time for it


def needs(
    trainer: Trainer, budget: Budget, *, step: int, seconds: float, step_seconds: float | None, kept: int
) -> list[Need]:
    """Return what a run will still write.

    Args:
        trainer: at any step.
        budget: how much, in all.
        step, seconds: trained so far.
        step_seconds: how long a step takes, None if that is not known: of a budget in time, one step is counted.
        kept: checkpoints there are.
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
        Need("bundle", 1, bundle),
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
    """Say what disk the run still needs; see `needs`. Raises `ResourceError` if there is less."""
    kept = len(list_checkpoints(run))
    step = trainer.step_count
    found = needs(trainer, budget, step=step, seconds=seconds, step_seconds=step_seconds, kept=kept)
    total, free = sum(need.count * need.each for need in found), free_bytes(run)
    parts = ", ".join(map(str, found))
    many = "" if budget.seconds is None or step_seconds is not None else " at least"
    say(f"needs{many} about {format_bytes(total)} of disk: {parts}; {format_bytes(free)} are free")
    if free >= total:
        return
    fewer = "keep fewer checkpoints (--keep 1), " if trainer.config.train.keep > 1 else ""
    rarer = "take fewer snapshots (--optim.posthoc-every), " if trainer.power is not None else ""
    mend = f"Free some space, {fewer}{rarer}or choose a folder on a larger disk (--out)."
    raise ResourceError(
        f"The disk of {run} has too little room for this run: {format_bytes(total)} are needed ({parts}) and "
        f"{format_bytes(free)} are free. Nothing was trained. {mend}"
    )
