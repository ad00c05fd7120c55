"""A dry run: what training would need, estimated from one step, without writing anything."""

import dataclasses
import time
from pathlib import Path
from typing import Any

from gendi.data import open_data
from gendi.data.kinds import kind_of
from gendi.train.budget import Budget
from gendi.train.config import RunConfig
from gendi.train.kept.autoencoder import check_latents, in_latents
from gendi.train.kept.bundle import Bundle
from gendi.train.kept.start import as_before, check_kind, check_start, read_start
from gendi.train.run.room import needs, snapshot_bytes
from gendi.train.step.resolve import grouped, resolve
from gendi.train.step.trainer import Trainer
from gendi.train.weights.model import run_cost


def dry_run(
    spec: Any,
    config: RunConfig,
    *,
    size: int | tuple[int, int] | None = None,
    max_bad: int | None = None,
    budget: Budget | None = None,
    init: str | Path | Bundle | None = None,
    autoencoder: str | Path | None = None,
    allow_data_change: bool = False,
) -> dict[str, Any]:
    """Open the data, build the network, do one step, and return what training would need. Nothing is written.

    The result has the parameters, the FLOPs of a forward pass per image, the seconds per step, the bytes of checkpoints
    and on the disk, the precision, and the resolved configuration. With `optim.posthoc_every`, it also has the number
    of snapshots within `budget` and the bytes of each (without a budget, only of the last one). Where rows have parts,
    such as the columns of a table, `data` lists them, and it has the notes on the data. `init` is a source of weights
    to start from; see `gendi.train.kept.start`. `autoencoder` is the folder of one in whose latents the run works, and
    `allow_data_change` says whether it may be one of other pictures.
    """
    config.validate()
    data = open_data(spec, size=size, max_bad=max_bad)
    parts = kind_of(data.kind).parts(data)
    source = None if init is None else read_start(init)
    check_kind(source, data)
    before = None if source is None or source.bundle is None else source.bundle.codec
    config, data = grouped(config, data, before)
    data = in_latents(data, autoencoder, Path(), going_on=False, start=source, allow_data_change=allow_data_change)
    check_latents(config, data)
    config = as_before(resolve(config, data), source)
    check_start(source, config, data)
    trainer = Trainer(config, data, start=source)
    data = trainer.data
    trainer.step(0.5)
    start = time.perf_counter()
    result = trainer.step(0.5)
    seconds = time.perf_counter() - start
    cost = run_cost(trainer.config, data.fitted.shape)
    stored = sum(v.numel() * v.element_size() for group in trainer.tensors().values() for v in group.values())
    rate = config.train.batch_size / seconds
    needed = needs(trainer, budget or Budget(steps=1), step=0, seconds=0.0, step_seconds=seconds, kept=0)
    counted = {need.name: need for need in needed}
    snapshots = counted["snapshot"].count if "snapshot" in counted else 0
    return {
        "data": {
            "name": data.name,
            "kind": data.kind,
            "train": len(data.train),
            "heldout": len(data.heldout),
            "shape": list(data.fitted.shape),
            "row": data.fitted.description,
            "parts": [list(part) for part in parts],
            "smoothing": trainer.smoothing.in_words(len(data.train)),
            "notes": list(data.remarks()),
        },
        "parameters": cost.parameters,
        "flops_per_image": cost.flops,
        "batch_size": config.train.batch_size,
        "seconds_per_step": seconds,
        "images_per_second": rate,
        "loss": result.loss,
        "checkpoint_bytes": stored,
        "snapshots": snapshots,
        "snapshot_bytes": snapshot_bytes(trainer),
        "disk_bytes": sum(need.count * need.each for need in needed),
        "choice": dataclasses.asdict(trainer.choice),
        "config": trainer.config.to_dict(),
    }
