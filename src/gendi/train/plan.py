"""A dry run: what training would take, measured on one step, with nothing written."""

import dataclasses
import math
import time
from typing import Any

from gendi.config import RunConfig
from gendi.data import open_data
from gendi.data.codec import described
from gendi.networks.cost import cost_of
from gendi.train.budget import Budget
from gendi.train.trainer import Trainer


def dry_run(
    spec: Any,
    config: RunConfig,
    *,
    size: int | tuple[int, int] | None = None,
    max_bad: int | None = None,
    budget: Budget | None = None,
) -> dict[str, Any]:
    """Open the data, build the network, do one step, and return what would be used: nothing is written.

    Returns parameters, FLOPs of a forward pass per image, seconds per step, checkpoint and disk bytes, the choice
    of precision, the resolved configuration, and, with `optim.posthoc_every`, the snapshots within `budget` and the
    bytes of each (without a budget, of the last one alone).
    """
    config.validate()
    data = open_data(spec, size=size, max_bad=max_bad)
    trainer = Trainer(config, data)
    data = trainer.data
    trainer.step(0.5)
    start = time.perf_counter()
    result = trainer.step(0.5)
    seconds = time.perf_counter() - start
    cost = cost_of(trainer.config, data.codec.shape)
    stored = sum(v.numel() * v.element_size() for group in trainer.tensors().values() for v in group.values())
    rate = config.train.batch_size / seconds
    snapshot = 0 if trainer.power is None else sum(v.nbytes for a in trainer.power.averages for v in a.values())
    snapshots = count_snapshots(config, budget, rate) if snapshot else 0
    return {
        "data": {
            "name": data.name,
            "train": len(data.train),
            "heldout": len(data.heldout),
            "shape": list(data.codec.shape),
            "row": described(data.codec),
        },
        "parameters": cost.parameters,
        "flops_per_image": cost.flops,
        "batch_size": config.train.batch_size,
        "seconds_per_step": seconds,
        "images_per_second": rate,
        "loss": result.loss,
        "checkpoint_bytes": stored,
        "snapshots": snapshots,
        "snapshot_bytes": snapshot,
        "disk_bytes": stored * (config.train.keep + 1) + 4 * cost.parameters + snapshots * snapshot,
        "choice": dataclasses.asdict(trainer.choice),
        "config": trainer.config.to_dict(),
    }


def count_snapshots(config: RunConfig, budget: Budget | None, rate: float) -> int:
    """Return how many snapshots of averages a run will have written: one each so many images, and the last."""
    if budget is None:
        return 1
    batch, every = config.train.batch_size, config.optim.posthoc_every
    wanted = budget.images or (budget.seconds or 0) * rate
    images = (budget.steps or max(1, math.ceil(wanted / batch))) * batch
    if batch >= every:
        return images // batch
    return images // every + (images % every >= batch)  # the last is one of them if it is in time for it
