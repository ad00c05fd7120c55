"""The families of diffusion, and what a run asks of its own: Gaussian noise on numbers, or noise on tokens.

Nothing outside this module asks which family a run is of; a family says which process a configuration describes, which
denoiser and which objective belong to it, and how samples are drawn.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from gendi.diffusion.conditions import Conditions
from gendi.diffusion.config import ConditionConfig
from gendi.diffusion.discrete.network import NetworkTokenDenoiser
from gendi.diffusion.discrete.objectives.registry import TOKEN_OBJECTIVES
from gendi.diffusion.discrete.process import TokenProcess, make_process
from gendi.diffusion.discrete.samplers import TOKEN_SAMPLERS
from gendi.diffusion.discrete.samplers import sample as sample_tokens
from gendi.diffusion.discrete.schedules import make_token_schedule
from gendi.diffusion.gaussian.config import FAR
from gendi.diffusion.gaussian.denoiser import NetworkDenoiser, make_denoiser
from gendi.diffusion.gaussian.flow_map.network import FlowMapDenoiser
from gendi.diffusion.gaussian.objectives.base import Learner, Setting
from gendi.diffusion.gaussian.objectives.registry import make_objective
from gendi.diffusion.gaussian.samplers import SAMPLERS, Drawing
from gendi.diffusion.gaussian.samplers import sample as sample_numbers
from gendi.diffusion.gaussian.schedule import Schedule, Tabulated, make_schedule
from gendi.diffusion.networks.told import SCALE
from gendi.diffusion.objective import Objective
from gendi.diffusion.options import WithOptions
from gendi.diffusion.trained import Trained
from gendi.errors import BundleError, UsageError
from gendi.machine.registry import Registry
from gendi.machine.stopping import Poll
from gendi.train.config import RunConfig

TABLE = "schedule.log_snr"
"""The name of the tensor, beside the weights, that holds a learned schedule."""


@dataclass(frozen=True)
class Batches:
    """What an objective must know of the rows: the arguments of `gendi.diffusion.gaussian.objectives.base.Setting`."""

    half_bin: float | None
    device: torch.device
    sigma_data: float = 1.0
    teacher: Callable[[Any], Any] | None = None
    learner: Callable[[Any, tuple[ConditionConfig, ...]], Learner] | None = None


class Family(ABC):
    """A family of diffusion."""

    @property
    @abstractmethod
    def samplers(self) -> Registry[Any]:
        """The samplers by name."""

    @abstractmethod
    def steps(self, config: RunConfig) -> int | None:
        """Return T of a run's chain; None in continuous time."""

    @abstractmethod
    def in_words(self, config: RunConfig) -> str:
        """Return the name of the schedule, and of the process where there are several."""

    @abstractmethod
    def outputs(self, config: RunConfig, shape: tuple[int, ...]) -> int:
        """Return how many channels, or numbers, the network of a run outputs for samples of `shape`."""

    @abstractmethod
    def process(self, config: RunConfig, log_snr: Tensor | None = None) -> Any:
        """Return the schedule, or the process, of a configuration; `log_snr` is the table of a learned schedule.

        Raises `BundleError` if the schedule was learned and its table is missing or bad.
        """

    @abstractmethod
    def denoiser(
        self, config: RunConfig, network: nn.Module, process: Any, sigma_data: float, **options: Any
    ) -> Trained:
        """Return the denoiser of a network under `process`; `options` are `clip` and `precision`."""

    @abstractmethod
    def objective(self, config: RunConfig, about: Batches) -> Objective[Any, Any]:
        """Return the objective of a run."""

    @abstractmethod
    def draw(
        self,
        denoiser: Any,
        shape: tuple[int, ...],
        n: int,
        how: Drawing,
        cond: Conditions | None = None,
        poll: Poll | None = None,
        given: Tensor | None = None,
    ) -> Tensor:
        """Return n samples in model space, on the CPU.

        `given` (n, *shape) holds parts of the samples, where the family can be given any. Raises `UsageError` and
        `DivergedError` as the `sample` of the family does.
        """

    @abstractmethod
    def quick(self, config: RunConfig, calls: int, sampler: str) -> Mapping[str, Any]:
        """Return the fields `sampler` and `steps` of `Drawing` for samples that are drawn while a run trains.

        `calls` and `sampler` are what suits Gaussian noise; a chain never has more steps than its own.
        """

    def find_sampler(self, name: str) -> WithOptions:
        """Return a sampler. Raises `UsageError` with the nearest name for an unknown one."""
        found: WithOptions = self.samplers.find(name)
        return found


class Gaussian(Family):
    """Gaussian noise on numbers."""

    samplers = SAMPLERS

    def steps(self, config: RunConfig) -> int | None:
        return config.process.steps

    def in_words(self, config: RunConfig) -> str:
        return config.process.schedule

    def outputs(self, config: RunConfig, shape: tuple[int, ...]) -> int:
        return shape[0] * config.objective.parameterisation.outputs

    def process(self, config: RunConfig, log_snr: Tensor | None = None) -> Schedule:
        process = config.process
        if process.schedule != "learned":
            return make_schedule(process.schedule, process.steps)
        if log_snr is None:
            raise BundleError(f"The schedule was learned, but its table, {TABLE!r}, is missing.")
        try:
            return Tabulated(log_snr)
        except UsageError as error:
            raise BundleError(f"{TABLE!r}: {error}") from None

    def denoiser(
        self, config: RunConfig, network: nn.Module, process: Any, sigma_data: float, **options: Any
    ) -> NetworkDenoiser:
        meaning, time_input = config.objective.parameterisation, config.network.time_input
        make = FlowMapDenoiser if meaning.flow_map else make_denoiser
        made = make(network, process, meaning, sigma_data, time_input, **options)
        if config.objective.distil.guidance_range:
            made.told = {SCALE: config.sample.guidance}
        made.far = FAR.get(config.objective.loss)
        return made

    def objective(self, config: RunConfig, about: Batches) -> Objective[Any, Any]:
        optional = tuple(spec.name for spec in config.conditions if spec.dropout > 0)
        rows, copies = (about.half_bin, about.device, about.sigma_data), (about.teacher, about.learner)
        return make_objective(Setting(config.objective, config.process, *rows, copies[0], optional, copies[1]))

    def draw(
        self,
        denoiser: Any,
        shape: tuple[int, ...],
        n: int,
        how: Drawing,
        cond: Conditions | None = None,
        poll: Poll | None = None,
        given: Tensor | None = None,
    ) -> Tensor:
        if given is not None:
            raise UsageError("parts of a sample are given to models of sequences; for pictures see gendi inpaint.")
        return sample_numbers(denoiser, shape, n, how, cond=cond, poll=poll)

    def quick(self, config: RunConfig, calls: int, sampler: str) -> Mapping[str, Any]:
        return {"sampler": sampler, "steps": min(calls, self.steps(config) or calls)}


class Discrete(Family):
    """Noise on tokens."""

    samplers = TOKEN_SAMPLERS

    def steps(self, config: RunConfig) -> int | None:
        return config.tokens.steps

    def in_words(self, config: RunConfig) -> str:
        return f"{config.tokens.process}, {config.tokens.schedule}"

    def outputs(self, config: RunConfig, shape: tuple[int, ...]) -> int:
        return config.tokens.vocabulary

    def process(self, config: RunConfig, log_snr: Tensor | None = None) -> TokenProcess:
        tokens = config.tokens
        return make_process(tokens.process, tokens.vocabulary, make_token_schedule(tokens.schedule), tokens.steps)

    def denoiser(
        self, config: RunConfig, network: nn.Module, process: Any, sigma_data: float, **options: Any
    ) -> NetworkTokenDenoiser:
        return NetworkTokenDenoiser(network, process, **options)

    def objective(self, config: RunConfig, about: Batches) -> Objective[Any, Any]:
        return TOKEN_OBJECTIVES.find(config.tokens.loss).build(self.process(config))

    def draw(
        self,
        denoiser: Any,
        shape: tuple[int, ...],
        n: int,
        how: Drawing,
        cond: Conditions | None = None,
        poll: Poll | None = None,
        given: Tensor | None = None,
    ) -> Tensor:
        if how.grid is not None or how.noise_scale != 1:
            raise UsageError(
                "a grid of times and a scale of the noise are for Gaussian noise, and this model has tokens."
            )
        settings: dict[str, Any] = {
            "sampler": how.sampler,
            "steps": how.steps,
            "seed": how.seed,
            "temperature": how.temperature,
        }
        device = "cpu" if torch.device(how.device).type == "mps" else how.device  # MPS has no float64
        settings |= {"batch_size": how.batch_size, "device": device, **how.options}
        return sample_tokens(
            denoiser, shape[0], n, first_index=how.first_index, cond=cond, given=given, poll=poll, **settings
        )

    def quick(self, config: RunConfig, calls: int, sampler: str) -> Mapping[str, Any]:
        """Ancestral steps err at first order, so there are four times as many."""
        return {"sampler": "ancestral", "steps": min(4 * calls, self.steps(config) or 4 * calls)}


GAUSSIAN, DISCRETE = Gaussian(), Discrete()


def family_of(config: RunConfig) -> Family:
    """Return the family of a run."""
    return DISCRETE if config.tokens.used else GAUSSIAN
