"""Of which moment of a training a model is: the newest checkpoint of a run that trains, or was stopped."""

from pathlib import Path

from gendi.data.kinds import kind_of
from gendi.errors import BundleError
from gendi.storage.lock import is_held
from gendi.train.kept.bundle import Bundle
from gendi.train.kept.folders import UNFINISHED
from gendi.train.kept.status import read_status

STOPPED = {"interrupted": "was stopped", "preempted": "was stopped", "diverged": "has diverged", "failed": "has failed"}
"""What to say of a run that no process trains, by its status."""


def moment_of(run: Path, bundle: Bundle) -> str | None:
    """Return a sentence on the step of a run's model and on the run; None for the model of a run that has finished.

    Args:
        run: the folder of the run, or of its bundle.
        bundle: the model that was read there.
    """
    progress = bundle.meta.get(UNFINISHED)
    if not isinstance(progress, int | float):
        return None
    folder = run if (run / "config.toml").is_file() else run.parent
    step, images, noun = bundle.meta.get("step") or 0, bundle.meta.get("images") or 0, kind_of(bundle.codec.kind).noun
    return (
        f"this is the model of step {step:,}, after {images:,} {noun} and {progress:.0%} of the budget: {folder} "
        f"{_standing(folder)}."
    )


def _standing(run: Path) -> str:
    """Return the end of a sentence on what the run in the folder `run` does."""
    if is_held(run):
        return "is still training"
    try:
        status = (read_status(run) or {}).get("status")
    except BundleError:
        status = None
    return STOPPED.get(str(status), "has not finished")
