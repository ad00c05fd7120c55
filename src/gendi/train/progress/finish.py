"""The bundle of a run's averaged weights, when it has finished and at every checkpoint on the way."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from gendi.train.kept.bundle import Bundle
from gendi.train.kept.folders import UNFINISHED
from gendi.train.kept.resume import versions
from gendi.train.step.trainer import Trainer


def bundle_of(
    trainer: Trainer,
    weights: Mapping[str, Tensor],
    size: int | tuple[int, int] | None,
    seconds: float,
    progress: float | None = None,
) -> Bundle:
    """Return the bundle of a run at the trainer's step.

    Args:
        trainer: the trainer of the run.
        weights: the averaged weights, whole.
        size: the size to which pictures were brought, None for their own.
        seconds: how long the training took.
        progress: the share of the budget that is spent; None if the run ends here. See `UNFINISHED`.
    """
    data = trainer.data
    meta: dict[str, Any] = {
        "data": data.name,
        "data_spec": data.spec,
        "fingerprint": data.fingerprint,
        "size": size if size is None or isinstance(size, int) else list(size),
        "step": trainer.step_count,
        "images": trainer.images_seen,
        "seconds": seconds,
        "precision": trainer.choice.precision,
        "layout": trainer.choice.layout,
        "seed": trainer.config.train.seed,
        **versions(),
    }
    if data.split_by:
        meta["split_by"] = data.split_by
    if trainer.smallest_scale is not None:
        meta["smallest_scale"] = trainer.smallest_scale
    if trainer.start is not None:
        meta["start"] = trainer.start.record()
    if progress is not None:
        meta[UNFINISHED] = progress
    table = trainer.objective.learned_table()
    return Bundle(trainer.config, data.fitted, dict(weights), trainer.sigma_data, meta, table)
