"""The configuration of a student: what it takes from its teacher, and which teachers can have one.

A student has the network, the process and the conditions of its teacher, and starts from its weights; its objective,
its learning rate and its sampler are its own. This module does not import torch.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gendi.diffusion.gaussian.config import LEARNED, STUDENTS, DistilConfig
from gendi.errors import UsageError
from gendi.train.config import RunConfig
from gendi.train.kept.folders import place_of
from gendi.train.kept.inherit import inherited

METHODS = {
    "ect": "consistency",
    "progressive": "progressive",
    "mean-flow": "mean-flow",
    "dmd": "distribution-matching",
}
"""The objective of each method, by the name that people give."""
SAMPLERS = {"ect": "consistency", "progressive": "ddim", "mean-flow": "flow-map", "dmd": "consistency"}
"""The sampler of the students of each method."""
STAGES = 8
"""Stages of consistency tuning: with q = 2 the two times end 1 / 256 apart, as those of Geng et al. 2024."""
FIRST_CALLS = 64
"""About how many calls the first teacher of a progressive student makes."""
RATE, RATES = 1 / 3, {"dmd": 1 / 6}
"""The student's learning rate, as a share of the teacher's: its weights are good already. One of distribution matching
is slower, so that its critic, which learns six times as quickly, can follow."""
PICTURES = ("unet", "dit")
"""The networks of pictures, and of their latents."""
MOST_CALLS = 64
"""The most calls that a student is made for; with more, the teacher is as good."""


@dataclass(frozen=True)
class Wish:
    """What is asked of a student."""

    method: str | None = None
    """`ect` (consistency tuning), `progressive`, `mean-flow` or `dmd` (distribution matching); None is the best one for
    the kind of data, see `usual_method`."""
    calls: int = 2
    """Network calls per sample."""
    guidance: float | None = None
    """Guidance to build in; None is the teacher's own."""
    guidance_range: tuple[float, float] | None = None
    """Lowest and highest scale that the student is told; None if it has one built in."""
    lr: float | None = None
    """Peak learning rate; None is a third of the teacher's, or a sixth for `dmd`."""
    seed: int | None = None
    """Seed of every draw; None is the teacher's."""
    derivative: Literal["auto", "forward", "differences"] = "auto"
    """How `mean-flow` differentiates along the path."""


def student_config(teacher: RunConfig, wish: Wish, name: str = "The teacher") -> RunConfig:
    """Return the configuration of a student of `teacher`, which is called `name` in messages.

    Raises `UsageError` if the teacher cannot have a student, or not this one.
    """
    wish = dataclasses.replace(wish, method=wish.method or usual_method(teacher))
    if wish.method not in METHODS:
        raise UsageError(f"the method {wish.method!r} is unknown. Known: {', '.join(METHODS)}.")
    refuse_teacher(teacher, wish, name)
    if wish.derivative != "auto" and wish.method != "mean-flow":
        raise UsageError(f"derivative = {wish.derivative!r} is for the method mean-flow, and {wish.method} takes none.")
    stages = _stages(teacher, wish)
    own = teacher.sample.guidance if any(spec.dropout > 0 for spec in teacher.conditions) else 1.0
    guidance, usual, ends = own if wish.guidance is None else wish.guidance, 1.0, wish.guidance_range or ()
    if ends:
        guidance, usual = 1.0, min(max(own, ends[0]), ends[1])
    distil = DistilConfig(
        stages=stages, calls=wish.calls, guidance=guidance, guidance_range=ends, derivative=wish.derivative
    )
    config = inherited(teacher, teacher)
    config = dataclasses.replace(
        config,
        objective=dataclasses.replace(teacher.objective, loss=METHODS[wish.method], distil=distil),
        optim=dataclasses.replace(teacher.optim, lr=wish.lr or RATES.get(wish.method, RATE) * teacher.optim.lr),
        train=dataclasses.replace(
            teacher.train, stop_when_level=False, seed=teacher.train.seed if wish.seed is None else wish.seed
        ),
        sample=dataclasses.replace(teacher.sample, sampler=SAMPLERS[wish.method], steps=wish.calls, guidance=usual),
    )
    config.validate()
    return config


def usual_method(teacher: RunConfig) -> str:
    """Return the method that made the best students of such data: see docs/distillation.md, "Measured"."""
    return "dmd" if teacher.network.kind in PICTURES else "ect"


def refuse_teacher(teacher: RunConfig, wish: Wish, name: str) -> None:
    """Raise `UsageError` if there is no student of such a teacher, with the reason and the way out."""
    objective = teacher.objective
    if teacher.tokens.used:
        raise UsageError(
            f"{name} is a model of tokens, whose samples jump and follow no path of an ODE, so no student can learn "
            "such paths from it. It can be sampled in fewer calls directly: --sampler ancestral --steps 16."
        )
    if objective.loss in STUDENTS:
        raise UsageError(
            f"{name} is a student itself: its answers are ends of paths, from which no student learns the paths. "
            "Distil the model that it was made from."
        )
    if teacher.process.schedule == LEARNED:
        raise UsageError(
            f"{name} learned its noise schedule, and a student needs a fixed one. Distil a model that has one, for "
            "instance of the preset mnist (process.schedule = 'cosine')."
        )
    if objective.variance == "learned":
        raise UsageError(
            f"{name} has a second output, for the variance of a step, which a student has no use for. Distil a model "
            "with objective.variance = 'fixed'."
        )
    good = ("v", "x0") if wish.method == "progressive" else ("v",)
    if not objective.precondition and objective.prediction not in good:
        raise UsageError(
            f"{name} predicts {objective.prediction}. The first of a few calls is made on noise alone, where this says "
            f"next to nothing about x_0, and the method {wish.method} needs a network that does say it: one trained "
            f"with objective.prediction = 'v' or with objective.precondition."
        )
    if wish.guidance_range is not None and wish.guidance is not None:
        raise UsageError(
            f"guidance = {wish.guidance:g} and a range of guidance exclude each other: a student has one scale built "
            "in, or is told one where it samples. Give one of --guidance and --guidance-range."
        )
    asked = wish.guidance_range if wish.guidance is None else wish.guidance
    if asked not in (None, 1) and not any(spec.dropout > 0 for spec in teacher.conditions):
        flag = "--guidance" if wish.guidance_range is None else "--guidance-range"
        raise UsageError(
            f"guidance = {_words(asked)}: {name} cannot be guided, since it has no condition that it was trained "
            f"without too. Leave {flag} out."
        )


def _words(asked: float | tuple[float, ...] | None) -> str:
    return " to ".join(f"{value:g}" for value in (asked if isinstance(asked, tuple) else (asked or 0.0,)))


def _stages(teacher: RunConfig, wish: Wish) -> int:
    """Return the stages of a student. Raises `UsageError` for calls that it cannot be made for."""
    chain = teacher.process.steps
    longest = None if chain is None else chain // 2 if wish.method == "progressive" else chain
    most = MOST_CALLS if longest is None else min(MOST_CALLS, longest)
    if not 1 <= wish.calls <= most:
        why = "" if most == MOST_CALLS else f", as the chain of its teacher has {chain} steps"
        raise UsageError(
            f"calls = {wish.calls} is out of range: a student is made for 1 to {most} calls per sample{why}. Few calls "
            "are what distillation is for; its teacher makes many."
        )
    if wish.method != "progressive":
        return STAGES
    stages = 1
    while wish.calls * 2 ** (stages + 1) <= min(FIRST_CALLS, chain or FIRST_CALLS):
        stages += 1
    return stages


def usual_folder(teacher: str | Path) -> Path:
    """Return the folder of a student where none is given: that of its teacher, with -student after its name; below
    runs/ for a teacher that comes with gendi.
    """
    place = Path(teacher)
    if place_of(place).shipped:
        return Path("runs") / f"{place.name}-student"
    if place.name.startswith("bundle") and (place.parent / "config.toml").is_file():
        place = place.parent
    place = place if place.name else place.resolve()
    return place.with_name(f"{place.name}-student")
