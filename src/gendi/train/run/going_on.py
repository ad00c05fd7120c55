"""Resuming a run from its newest checkpoint."""

from pathlib import Path

from gendi.errors import UsageError
from gendi.machine.distributed import Team
from gendi.storage.safe_tensors import compare_specs, specs
from gendi.train.kept.checkpoint import Checkpoint, load_latest
from gendi.train.run.introduction import setting_of
from gendi.train.step.trainer import Trainer


def newest_checkpoint(run: Path, team: Team) -> Checkpoint | None:
    """Return the newest complete checkpoint of a run, which every process reads; None if there is none.

    Raises:
        BundleError: there are checkpoints, but none can be used.
        UsageError: the processes do not see the same folder.
    """
    checkpoint = team.first_before_others(lambda: load_latest(run))
    steps = team.gathered(None if checkpoint is None else checkpoint.step)
    if set(steps) != {steps[0]}:
        raise UsageError(
            f"{run} is not the same folder for every process: they found the steps {steps}. Put it on a disk "
            "that all machines share."
        )
    return checkpoint


def restore(trainer: Trainer, checkpoint: Checkpoint) -> str:
    """Restore a trainer from a checkpoint; return the names of versions that have changed since, or an empty text.

    Raises `BundleError` naming the tensor if the checkpoint is of another network.
    """
    expected, power = specs(trainer.network), trainer.power
    for group in ("model", "ema", *(power.tensors() if power is not None else ())):
        found = specs(checkpoint.tensors.get(group, {}))
        compare_specs(f"{checkpoint.path / group}.safetensors", found, expected)
    trainer.restore(checkpoint)
    train = trainer.config.train
    if train.accumulate == 0:  # start with the parts that fitted in memory before
        trainer.parts.count = min(int(checkpoint.state.get("parts", 1)), train.batch_size)
    now = setting_of(trainer)
    return ", ".join(name for name, value in checkpoint.state["versions"].items() if now.get(name) != value)
