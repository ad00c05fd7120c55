"""Make a student of a model: one that samples in a few calls."""

from pathlib import Path
from typing import Any, Literal

from gendi.api.teacher import keep_teacher
from gendi.data.kinds import IN_MEMORY
from gendi.errors import UsageError
from gendi.train.budget import Budget
from gendi.train.config import RunConfig
from gendi.train.job import TrainResult
from gendi.train.kept.bundle import Bundle, load_bundle
from gendi.train.kept.classifier_bundle import is_classifier
from gendi.train.kept.distil import METHODS, Wish, student_config, usual_folder
from gendi.train.kept.folders import place_of
from gendi.train.kept.stored import stored_config, stored_start
from gendi.train.progress.console import make_console
from gendi.train.progress.telling import Console, Silent
from gendi.train.run.loop import train
from gendi.train.run.plan import dry_run

SECONDS = 240.0
"""The budget where none is given."""


def distil(
    model: Bundle | str | Path,
    *,
    out: str | Path | None = None,
    data: Any = None,
    method: str | None = None,
    calls: int = 2,
    guidance: float | None = None,
    guidance_range: tuple[float, float] | None = None,
    lr: float | None = None,
    seed: int | None = None,
    derivative: Literal["auto", "forward", "differences"] = "auto",
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
        method: `ect`, consistency tuning; `progressive` distillation; `mean-flow`, average velocities; or `dmd`,
            distribution matching. By default `dmd` for pictures, and `ect` for cells and tables.
        calls: network calls per sample that the student is trained for.
        guidance: guidance to build into the student, which then needs none; by default the teacher's own.
        guidance_range: the lowest and the highest guidance scale that the student learns, instead of one that is built
            in: `gendi.sample(student, guidance=2)` then takes a scale between them, with one call a step. Not for
            `progressive`.
        lr: peak learning rate; by default a third of the teacher's, or a sixth for `dmd`.
        seed: the seed of every draw; by default the teacher's.
        derivative: how `mean-flow` differentiates along the path; see `gendi.diffusion.gaussian.config.DistilConfig`.
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
    wish = Wish(method, calls, guidance, guidance_range, lr, seed, derivative)
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
    refuse_others(model)
    if begun and not isinstance(model, Bundle) and not place_of(model).folder.exists():
        config = _as_begun(stored_config(run), wish)
        if data is None:
            raise UsageError(
                f"{model}, the teacher of {run}, no longer exists. The run can continue without it, if you name the "
                "data that it learns from: --data, or data= in Python."
            )
        return train(data, config, run, budget, console=console, **options)
    spec, config, size = _ready(model, wish, data)
    result = train(spec, config, run, budget, console=console, init=model, **{"size": size, **options})
    keep_teacher(model, run, config, console)
    return result


def plan_student(model: Bundle | str | Path, wish: Wish, budget: Budget, data: Any = None) -> dict[str, Any]:
    """Return what a student would take, by a step without writing anything; see `gendi.train.run.plan.dry_run`."""
    refuse_others(model)
    spec, config, size = _ready(model, wish, data)
    return dry_run(spec, config, size=size, budget=budget, init=model)


def _ready(model: Bundle | str | Path, wish: Wish, data: Any) -> tuple[Any, RunConfig, int | tuple[int, int] | None]:
    """Return what a student learns from, its configuration, and the size of the pictures that it learns from."""
    teacher = model if isinstance(model, Bundle) else load_bundle(model)
    config = student_config(teacher.config, wish, "The model" if isinstance(model, Bundle) else str(model))
    spec = data if data is not None else teacher.meta.get("data_spec")
    if spec is None or (data is None and spec in ("", IN_MEMORY)):
        raise UsageError(
            "the model does not say what it was trained on, or was trained on data in memory: say what its student "
            "learns from, --data mnist or a path (data= in Python)."
        )
    size = teacher.meta.get("size") if data is None else None
    return spec, config, tuple(size) if isinstance(size, list) else size


def refuse_others(model: Any) -> None:
    """Raise `UsageError` for what is no denoiser with its noise schedule: another object, a file, a classifier."""
    what = ""
    if not isinstance(model, Bundle | str | Path):
        what = f"a {type(model).__name__} is no teacher, which is a Bundle in Python"
    elif not isinstance(model, Bundle) and Path(model).is_file():
        what = f"{model} is a file, and a teacher is the folder of a run or of a bundle"
    elif not isinstance(model, Bundle) and is_classifier(Path(model)):
        what = f"{model} is a classifier of noisy pictures, which can guide a teacher but cannot be one"
    if what:
        raise UsageError(
            f"{what}: a denoiser with its noise schedule. Other models, such as the transport of perturbed cells or "
            "the weights of a network alone, have no path from noise to data that a student could learn."
        )


def _as_begun(config: RunConfig, wish: Wish) -> RunConfig:
    """Return the configuration of a run that has begun. Raises `UsageError` if another student is asked for."""
    if wish.method is not None and config.objective.loss != METHODS.get(wish.method):
        raise UsageError(
            f"The folder holds another student, with the objective {config.objective.loss}: choose another folder."
        )
    return config
