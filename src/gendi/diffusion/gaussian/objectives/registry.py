"""The registry of objectives, and the rules that belong to each. This module imports neither torch nor NumPy.

A new objective in gendi is one file with a subclass of `Objective`, and one line here. Your own is added in Python, or
by the entry points `gendi.objectives` of an installed package:

    OBJECTIVES.register("mine", ObjectiveInfo(Mine, "what it is"))
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from gendi.diffusion.gaussian.config import LEARNED, STEPWISE, TOLD, ObjectiveConfig, ProcessConfig
from gendi.errors import UsageError
from gendi.machine.registry import Registry, at_address

if TYPE_CHECKING:
    from gendi.diffusion.gaussian.objectives.base import Objective, Setting
    from gendi.diffusion.gaussian.objectives.times import TimeSampling
    from gendi.diffusion.gaussian.objectives.weightings import Weighting

_HERE = "gendi.diffusion.gaussian.objectives"


@dataclass(frozen=True)
class ObjectiveInfo:
    """An objective in the registry: how to make it, and what its options must satisfy.

    Args:
        make: a class or a function that makes the objective from a `Setting`; or its address
            "package.module:attribute".
        about: one line that says what the objective is.
        chain: whether it is a sum over the steps of a chain. If so, it needs `process.steps`, and times that are steps.
        variance: the settings of `objective.variance` that it can train.
        because: why it can train only these, for the message that refuses another setting.
        check: raises `UsageError` for any other options that cannot work.
    """

    make: "str | Callable[[Setting], Objective]"
    about: str = ""
    chain: bool = False
    variance: tuple[str, ...] = ("fixed",)
    because: str = ""
    check: Callable[[ObjectiveConfig, ProcessConfig], None] | None = None

    def build(self, setting: "Setting") -> "Objective":
        """Return the objective for `setting`."""
        make = self.make
        if isinstance(make, str):
            make = cast("Callable[[Setting], Objective]", at_address(make))
        return make(setting)


def check_consistency(options: ObjectiveConfig, process: ProcessConfig) -> None:
    """Raise `UsageError` unless the denoiser returns x_t itself at t = 0, from which consistency starts."""
    if not options.precondition and options.prediction != "v":
        raise UsageError(
            f"objective.loss = 'consistency' needs a network whose answer is x_t itself where there is no noise, and "
            f"that can say x_0 from noise alone: objective.prediction = {options.prediction!r} must be 'v', or "
            "objective.precondition must be set."
        )


def check_progressive(options: ObjectiveConfig, process: ProcessConfig) -> None:
    """Raise `UsageError` unless x_0 can be predicted from noise alone, and the chain has as many steps as needed."""
    if not options.precondition and options.prediction not in ("v", "x0"):
        raise UsageError(
            f"objective.loss = 'progressive' needs a network that can say x_0 from noise alone (Salimans & Ho 2022, "
            f"section 4): objective.prediction = {options.prediction!r} must be 'v' or 'x0', or objective.precondition "
            "must be set."
        )
    most = options.distil.calls * 2**options.distil.stages
    if process.steps is not None and most > process.steps:
        raise UsageError(
            f"objective.distil.stages = {options.distil.stages} halvings down to {options.distil.calls} calls start "
            f"from a teacher of {most:,} calls, and the chain has {process.steps:,} steps: take fewer of either."
        )


def check_mean_flow(options: ObjectiveConfig, process: ProcessConfig) -> None:
    """Raise `UsageError` unless the output stands for a velocity at every time, and times are drawn without memory."""
    if not options.precondition and options.prediction != "v":
        raise UsageError(
            "objective.loss = 'mean-flow' learns velocities, which the network's output must determine at every "
            f"time: objective.prediction = {options.prediction!r} must be 'v', or objective.precondition must be set."
        )
    if process.schedule == LEARNED or options.time_sampling == "loss-aware":
        what = (
            "process.schedule = 'learned'" if process.schedule == LEARNED else "objective.time_sampling = 'loss-aware'"
        )
        raise UsageError(
            f"objective.loss = 'mean-flow' draws two times for each row, which {what} does not support: change it."
        )


def check_matching(options: ObjectiveConfig, process: ProcessConfig) -> None:
    """Raise `UsageError` unless x_0 can be predicted from noise alone, and the noise from data alone."""
    if not options.precondition and options.prediction != "v":
        raise UsageError(
            "objective.loss = 'distribution-matching' calls the network on noise alone, and its critic at every level: "
            f"objective.prediction = {options.prediction!r} must be 'v', or objective.precondition must be set."
        )


OBJECTIVES: Registry[ObjectiveInfo] = Registry(
    "loss",
    "gendi.objectives",
    {
        "simple": ObjectiveInfo(f"{_HERE}.simple:Simple", "the weighted squared error"),
        "vlb": ObjectiveInfo(
            f"{_HERE}.vlb:VariationalBound",
            "the bound, one drawn term at a time",
            chain=True,
            variance=("fixed", "learned"),
        ),
        "hybrid": ObjectiveInfo(
            f"{_HERE}.hybrid:Hybrid",
            "simple, and the bound for the learned variance alone",
            chain=True,
            variance=("learned",),
            because="its bound trains the variance alone",
        ),
        "consistency": ObjectiveInfo(
            f"{_HERE}.consistency:Consistency",
            "consistency tuning: the answer at t should equal that at an earlier time on the path",
            check=check_consistency,
        ),
        "progressive": ObjectiveInfo(
            f"{_HERE}.progressive:Progressive",
            "progressive distillation: one step of DDIM replaces two of the teacher's",
            check=check_progressive,
        ),
        "mean-flow": ObjectiveInfo(
            f"{_HERE}.mean_flow:MeanFlow",
            "mean flows: the average velocity between two times, for a flow map",
            check=check_mean_flow,
        ),
        "distribution-matching": ObjectiveInfo(
            f"{_HERE}.distribution_matching:DistributionMatching",
            "distribution matching distillation: samples should have the teacher's distribution",
            check=check_matching,
        ),
    },
)
"""The objectives by the names that `objective.loss` may have."""

WEIGHTINGS: "Registry[Weighting]" = Registry(
    "weighting",
    "gendi.weightings",
    {
        "simple": f"{_HERE}.weightings:simple",
        "min-snr": f"{_HERE}.weightings:min_snr",
        "edm": f"{_HERE}.weightings:edm",
        "uniform": f"{_HERE}.weightings:uniform",
        "bound": f"{_HERE}.weightings:bound",
    },
)
"""The weightings by the names that `objective.weighting` may have."""

TIME_SAMPLINGS: "Registry[type[TimeSampling]]" = Registry(
    "time sampling",
    "gendi.time_samplings",
    {
        "discrete": f"{_HERE}.times:Discrete",
        "uniform": f"{_HERE}.times:Uniform",
        "log-normal": f"{_HERE}.times:LogNormal",
        "log-snr": f"{_HERE}.times:LogSNR",
        "loss-aware": f"{_HERE}.loss_aware:LossAware",
    },
)
"""The distributions of times by the names that `objective.time_sampling` may have."""


def make_objective(setting: "Setting") -> "Objective":
    """Return the objective that `setting.options.loss` names. Raises `UsageError` for an unknown name."""
    return OBJECTIVES.find(setting.options.loss).build(setting)


def validate(options: ObjectiveConfig, process: ProcessConfig) -> None:
    """Raise `UsageError` naming the first option of an objective that cannot work, alone or with the process."""
    for name, registry in (("loss", OBJECTIVES), ("weighting", WEIGHTINGS), ("time_sampling", TIME_SAMPLINGS)):
        if (value := getattr(options, name)) not in registry:
            raise UsageError(f"objective.{name} = {value!r} is unknown. Known: {', '.join(map(repr, registry))}.")
    info = OBJECTIVES[options.loss]
    _validate_chain(options, process, info)
    if options.precondition and options.prediction == "mu":
        raise UsageError(
            "objective.prediction = 'mu' and objective.precondition are two different outputs: drop one of them."
        )
    _validate_variance(options, info)
    if info.chain and options.time_sampling not in STEPWISE:
        raise UsageError(
            f"objective.loss = {options.loss!r} is a sum over the chain's steps: objective.time_sampling = "
            f"{options.time_sampling!r} must be 'discrete' or 'loss-aware'."
        )
    if options.log_snr_min >= options.log_snr_max:
        raise UsageError(
            f"objective.log_snr_min = {options.log_snr_min:g} must lie below objective.log_snr_max = "
            f"{options.log_snr_max:g}."
        )
    _validate_continuous(options, process)
    _validate_guidance(options)
    if info.check is not None:
        info.check(options, process)


def _validate_guidance(options: ObjectiveConfig) -> None:
    """Raise `UsageError` for a range of guidance that is none, or that this objective does not tell its network."""
    ends, scale = options.distil.guidance_range, options.distil.guidance
    if not ends:
        return
    if options.loss not in TOLD:
        raise UsageError(
            f"objective.distil.guidance_range = {ends} is for students that are told the scale of guidance, "
            f"objective.loss = {' or '.join(map(repr, TOLD))}, and not for {options.loss!r}: give it one scale instead."
        )
    if len(ends) != 2 or not 0 <= ends[0] < ends[1] <= 100:
        raise UsageError(
            f"objective.distil.guidance_range = {ends} must be two scales between 0 and 100, the lower one first."
        )
    if scale != 1:
        raise UsageError(
            f"objective.distil.guidance = {scale:g} and objective.distil.guidance_range = {ends} exclude each other: a "
            "student has one scale built in, or is told one."
        )


def _validate_chain(options: ObjectiveConfig, process: ProcessConfig, info: ObjectiveInfo) -> None:
    """Raise `UsageError` if an option needs the steps of a chain and there is no chain."""
    needs = {
        "objective.prediction = 'mu'": options.prediction == "mu",
        f"objective.loss = {options.loss!r}": info.chain,
        f"objective.time_sampling = {options.time_sampling!r}": options.time_sampling in STEPWISE,
    }
    for setting in (name for name, needed in needs.items() if needed and process.steps is None):
        raise UsageError(f"{setting} needs process.steps, the T of the chain.")


def _validate_variance(options: ObjectiveConfig, info: ObjectiveInfo) -> None:
    """Raise `UsageError` if a part of the network would not be trained."""
    if options.variance in info.variance:
        return
    others = sorted(name for name in OBJECTIVES.built_in if options.variance in OBJECTIVES[name].variance)
    instead = " or ".join(map(repr, others))
    if options.variance == "learned":
        raise UsageError(
            f"objective.variance = 'learned' with objective.loss = {options.loss!r}: nothing would train the variance. "
            f"Use objective.loss = {instead}."
        )
    why = f": {info.because}" if info.because else ""
    raise UsageError(
        f"objective.loss = {options.loss!r} is for objective.variance = 'learned'{why}. With a fixed one use "
        f"objective.loss = {instead}."
    )


def _validate_continuous(options: ObjectiveConfig, process: ProcessConfig) -> None:
    """Raise `UsageError` for a learned schedule, or weights of the bound, if the loss is no continuous-time bound."""
    learned, bound = process.schedule == LEARNED, options.weighting == "bound"
    who = "process.schedule = 'learned'" if learned else "objective.weighting = 'bound'"
    if (learned or bound) and process.steps is not None:
        raise UsageError(f"{who} is for continuous time: process.steps = {process.steps} must be none.")
    needs = {"loss": "simple", "weighting": "bound", "time_sampling": "uniform"}
    for name, needed in needs.items() if learned or bound else ():
        if getattr(options, name) != needed:
            raise UsageError(
                f"{who} takes the loss to be the bound in continuous time: objective.{name} = "
                f"{getattr(options, name)!r} must be {needed!r}."
            )
