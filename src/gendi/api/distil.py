"""Make a student of a model: one that samples in a few calls."""

from pathlib import Path
from typing import Any

from gendi.api.teacher import keep_teacher
from gendi.data.kinds import IN_MEMORY
from gendi.errors import UsageError
from gendi.train.budget import Budget
from gendi.train.config import RunConfig
from gendi.train.job import TrainResult
from gendi.train.kept.bundle import Bundle, load_bundle
from gendi.train.kept.distil import METHODS, Wish, student_config, usual_folder
from gendi.train.kept.folders import place_of
from gendi.train.kept.stored import stored_config, stored_start
from gendi.train.progress.console import make_console
from gendi.train.progress.telling import Console, Silent
from gendi.train.run.loop import train

SECONDS = 240.0
"""The budget where none is given."""


def distil(
    model: Bundle | str | Path,
    *,
    out: str | Path | None = None,
    data: Any = None,
    method: str = "ect",
    calls: int = 2,
    guidance: float | None = None,
    lr: float | None = None,
    seconds: float | None = None,
    images: int | None = None,
    steps: int | None = None,
    quiet: bool = False,
    **options: Any,
) -> Bundle:
    """Train a student of `model` until the budget is spent, or go on with it; return the student's bundle.

    Args:
        model: the teacher: a bundle, or the folder of a run or bundle.
        out: the student's folder; by default that of the teacher with -student after its name.
        data: what to learn from; by default the data of the teacher.
        method: `ect`, consistency tuning, or `progressive` distillation.
        calls: network calls per sample that the student is made for.
        guidance: guidance to build into the student, which then needs none; by default the teacher's own.
        lr: peak learning rate; by default a third of the teacher's.
        seconds, images, steps: the budget, at most one of them; 4 minutes by default.
        quiet: say nothing.
        options: `size`, `max_bad`, `fresh`, `allow_data_change` of `gendi.train.run.loop.train`.

    Raises:
        UsageError: the teacher cannot have this student; `gendi.train.kept.distil` says which can.
        GendiError: as `gendi.fit` does.
    """
    if out is None and isinstance(model, Bundle):
        raise UsageError("out is missing: a student of a model in memory needs a folder.")
    run = usual_folder(str(model)) if out is None else Path(out)
    if seconds is None and images is None and steps is None:
        seconds = SECONDS
    budget = Budget(seconds=seconds, images=images, steps=steps)
    wish = Wish(method, calls, guidance, lr)
    if quiet:
        run_student(model, wish, run, budget, Silent(), data, **options)
    else:
        with make_console() as console:
            run_student(model, wish, run, budget, console, data, **options)
    return load_bundle(run)


def run_student(
    model: Bundle | str | Path,
    wish: Wish,
    run: Path,
    budget: Budget,
    console: Console,
    data: Any = None,
    **options: Any,
) -> TrainResult:
    """Begin the run of a student in the folder `run`, or go on with it; `distil` explains the rest.

    A run that has begun does not need its teacher any more.
    """
    begun = not options.get("fresh") and stored_start(run) is not None
    if not isinstance(model, Bundle) and Path(model).is_file():
        raise UsageError(
            f"{model} is a file, and a teacher is the folder of a run or of a bundle: a denoiser with its noise "
            "schedule. Other models, such as the transport of perturbed cells, have no path from noise to data."
        )
    if begun and not isinstance(model, Bundle) and not place_of(model).folder.exists():
        config = _as_begun(stored_config(run), wish)
        if data is None:
            raise UsageError(
                f"{model}, the teacher of {run}, is gone. The run goes on without it, but say what it learns from: "
                "--data, or data= in Python."
            )
        return train(data, config, run, budget, console=console, **options)
    teacher = model if isinstance(model, Bundle) else load_bundle(model)
    config = student_config(teacher.config, wish, "The model" if isinstance(model, Bundle) else str(model))
    spec = data if data is not None else teacher.meta.get("data_spec")
    if spec is None or (data is None and spec in ("", IN_MEMORY)):
        raise UsageError(
            "the model does not say what it was trained on, or was trained on data in memory: say what its student "
            "learns from, --data mnist or a path (data= in Python)."
        )
    size = teacher.meta.get("size") if data is None else None
    options = {"size": tuple(size) if isinstance(size, list) else size, **options}
    result = train(spec, config, run, budget, console=console, init=model, **options)
    keep_teacher(teacher, None if isinstance(model, Bundle) else model, run, config, console)
    return result


def _as_begun(config: RunConfig, wish: Wish) -> RunConfig:
    """Return the configuration of a run that has begun. Raises `UsageError` if another student is asked for."""
    if config.objective.loss != METHODS.get(wish.method):
        raise UsageError(f"The folder holds another student, of the objective {config.objective.loss}: choose another.")
    return config
