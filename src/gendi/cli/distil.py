"""`gendi distil`."""

import contextlib
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from gendi.cli.console import program, say, show, show_json
from gendi.cli.one_budget import one_budget
from gendi.cli.parse import Calls, Count, Duration, Folder, Number, Seed, Text, named, parse, shows
from gendi.cli.runs import update_timings
from gendi.cli.screen import screen
from gendi.cli.train_words import show_plan
from gendi.cli.values import format_duration
from gendi.errors import UsageError
from gendi.train.kept.distil import Wish, usual_folder

EXAMPLES = """\
  gendi distil runs/mnist                            4 minutes, into runs/mnist-student
  gendi sample runs/mnist-student --n 64             in the 2 calls that it was trained for
  gendi distil runs/mnist --calls 1 --max-time 10m
  gendi distil runs/mnist --guidance 2               the student has the guidance built in
  gendi distil runs/mnist --guidance-range 1 4       its scale is chosen later, by gendi sample --guidance
  gendi distil runs/mnist --method progressive --out runs/halved
  gendi distil runs/mnist --method mean-flow --out runs/flow"""
MINUTES = 4.0


@dataclass(frozen=True)
class Distil:
    """Distil a run into a student: a model that samples in 1 to 4 network calls where its teacher needs 20.

    The student is a run like any other; the same command again continues where it stopped. It does not need its teacher
    to sample.
    """

    run: Annotated[tyro.conf.Positional[str], named("RUN", "(required)")] = ""
    """The teacher: the folder of a run or a bundle, or a model that comes with gendi."""
    method: Annotated[
        Literal["ect", "progressive", "mean-flow", "dmd"] | None, shows("dmd for pictures, ect for cells and tables")
    ] = None
    """ect: consistency tuning; each call jumps from the noise to the end of the path. progressive: one step of the
    student replaces two of its teacher, and the steps are halved until --calls are left. mean-flow: average velocities
    between any two times; the student works in any number of calls, and is a denoiser too. dmd: distribution matching;
    a critic network moves the distribution of the student's samples towards the teacher's, and the student works in the
    number of calls that it was trained for and its divisors.
    """
    calls: Annotated[Calls, shows("2")] = None
    """Network calls per sample that the student is trained for."""
    guidance: Annotated[Number, shows("the teacher's own")] = None
    """Guidance scale to build in, so that the student's samples are guided without --guidance; 1 is no guidance."""
    guidance_range: Annotated[tuple[float, float] | None, named("LOW HIGH", "(default: one scale, built in)")] = None
    """Lowest and highest guidance scale that the student learns; gendi sample --guidance then takes any scale between
    them. Not for progressive.
    """
    data: Annotated[Text, shows("what the teacher was trained on")] = None
    """The data to train the student on."""
    max_time: Annotated[Duration, shows("4m, if no other budget is given")] = None
    """Budget in time of training, in all: 90s, 8m."""
    images: Annotated[Count, shows("none")] = None
    """Budget in images seen, repeats counted."""
    steps: Annotated[Count, shows("none")] = None
    """Budget in optimiser steps."""
    out: Annotated[Folder, shows("the teacher's, with -student after its name")] = None
    """Folder of the student."""
    lr: Annotated[Number, shows("a third of the teacher's, a sixth for dmd")] = None
    """Peak learning rate."""
    seed: Annotated[Seed, shows("the teacher's")] = None
    """Seed of every draw."""
    derivative: Literal["auto", "forward", "differences"] = "auto"
    """How mean-flow differentiates along the path: forward-mode differentiation, central differences, or the first
    where the network allows it.
    """
    dry_run: bool = False
    """Show what it would take (settings, parameters, memory, disk, speed of one step), and write nothing."""
    fresh: bool = False
    """Start over: delete what the student's folder holds."""
    allow_data_change: bool = False
    """Continue although the data are not those that the student began with."""
    json: bool = False
    """Print one JSON object."""

    def wish(self) -> Wish:
        """Return what is asked of the student."""
        calls = 2 if self.calls is None else self.calls
        return Wish(self.method, calls, self.guidance, self.guidance_range, self.lr, self.seed, self.derivative)

    def limits(self) -> dict[str, Any]:
        """Return the one budget, by its name in `Budget`. Raises `UsageError` if several are given."""
        return one_budget(self.max_time, self.images, self.steps) or {"seconds": 60 * MINUTES}


def main(args: Sequence[str]) -> int:
    """Run the command."""
    command = parse(Distil, args, "gendi distil", EXAMPLES)
    if not command.run:
        raise UsageError("RUN is missing: say which run to distil. See gendi distil --help.")
    limits, run = command.limits(), usual_folder(command.run) if command.out is None else Path(command.out)
    if run.resolve() == Path(command.run).resolve():
        raise UsageError(f"{run} is the teacher's folder, and the student needs one of its own: give another --out.")
    if command.dry_run and command.fresh:
        raise UsageError("--dry-run and --fresh cannot be given together: a dry run writes and deletes nothing.")
    wish = command.wish()
    from gendi.api.distil import plan_student, run_student
    from gendi.machine.distributed import together
    from gendi.train.budget import Budget
    from gendi.train.progress.telling import Silent

    if command.dry_run:
        plan = plan_student(command.run, wish, Budget(**limits), command.data)
        plan |= {"run": str(run), "budget": limits}
        show_plan(plan, limits, command.json)
        return 0
    with together() as team:
        shown = screen(run, command.data or "mnist") if team.first else contextlib.nullcontext(Silent())
        options = {"fresh": command.fresh, "allow_data_change": command.allow_data_change}
        with shown as console:
            result = run_student(command.run, wish, run, Budget(**limits), console, command.data, **options)
        if team.first:
            update_timings(run, train_seconds=result.seconds, train_images=result.images)
            if command.json:
                show_json(dataclasses.asdict(result))
                return 0
            done = f"{result.step:,} steps, {result.images:,} images in {format_duration(result.seconds)}"
            show(f"{run}{' is finished' if result.already_finished else ''}: {done}", needed=False)
            say(f"next:\n  {program()} sample {run} --n 64\n  {program()} evaluate {run}")
    return 0
