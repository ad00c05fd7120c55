"""A dry run: what training would take, measured on one step, with nothing written."""

import dataclasses
import time
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from gendi.config import RunConfig
from gendi.data import open_data
from gendi.train.trainer import Trainer


def dry_run(
    spec: str, config: RunConfig, *, size: int | tuple[int, int] | None = None, max_bad: int | None = None
) -> dict[str, Any]:
    """Open the data, build the network, do one step, and return what would be used: nothing is written.

    Returns parameters, FLOPs of a forward pass per image, seconds per step, estimated memory and checkpoint bytes, the
    choice of precision, and the resolved configuration.
    """
    config.validate()
    data = open_data(spec, size=size, max_bad=max_bad)
    trainer = Trainer(config, data)
    x, _ = trainer.batch(0)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        trainer.network(x[:1], torch.zeros(1, device=trainer.device), None)
    trainer.step(0.5)
    start = time.perf_counter()
    result = trainer.step(0.5)
    seconds = time.perf_counter() - start
    parameters = sum(p.numel() for p in trainer.network.parameters())
    stored = sum(v.numel() * v.element_size() for group in trainer.tensors().values() for v in group.values())
    return {
        "data": {
            "name": data.name,
            "train": len(data.train),
            "heldout": len(data.heldout),
            "shape": list(data.codec.shape),
        },
        "parameters": parameters,
        "flops_per_image": counter.get_total_flops(),
        "batch_size": config.train.batch_size,
        "seconds_per_step": seconds,
        "images_per_second": config.train.batch_size / seconds,
        "loss": result.loss,
        "checkpoint_bytes": stored,
        "disk_bytes": stored * (config.train.keep + 1) + 4 * parameters,
        "choice": dataclasses.asdict(trainer.choice),
        "config": trainer.config.to_dict(),
    }
