"""What objectives with Gaussian noise are made from; their contract is `gendi.diffusion.objective`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from jaxtyping import Float64
from torch import Tensor

from gendi.diffusion import objective
from gendi.diffusion.conditions import Conditions
from gendi.diffusion.config import ConditionConfig
from gendi.diffusion.gaussian.config import ObjectiveConfig, ProcessConfig
from gendi.diffusion.gaussian.denoiser import NetworkDenoiser
from gendi.diffusion.gaussian.schedule import Schedule
from gendi.diffusion.networks.told import SCALE
from gendi.diffusion.objective import ALL as ALL
from gendi.diffusion.objective import Draw as Draw


class Learner(Protocol):
    """A second network that an objective trains beside the first one, with optimisers of its own."""

    denoiser: NetworkDenoiser

    def learn(self, gradients: Sequence[Tensor | None], lr: float) -> None:
        """Take a step of learning rate `lr`.

        `gradients` has an entry for each weight that has a gradient, in the order of `denoiser.parameters()`: the sum
        over this process's rows of the batch. Those of several processes are added.
        """
        ...

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """Return the state for a checkpoint, as `Objective.tensors` does."""
        ...

    def restore(self, groups: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Restore what `tensors` returned. Raises `BundleError` naming a tensor that is missing."""
        ...


@dataclass(frozen=True)
class Setting:
    """What an objective is made from.

    Args:
        options: the options of the objective.
        process: the forward process whose reversal is learned.
        half_bin: half the distance between neighbouring values of x_0 (from the codec), for the decoder's term of the
            bound; None if x_0 is continuous.
        device: where batches are.
        sigma_data: root mean square of the encoded training data.
        teacher: makes a frozen copy of the denoiser, with the weights from which the run starts; None if these are new.
        optional: the conditions that the teacher can do without, as guidance needs it.
        learner: makes a second network to be trained, which begins as the teacher and can be told more than it; None if
            there is none.
    """

    options: ObjectiveConfig
    process: ProcessConfig
    half_bin: float | None = None
    device: torch.device | str = "cpu"
    sigma_data: float = 1.0
    teacher: Callable[[Schedule], NetworkDenoiser] | None = None
    optional: tuple[str, ...] = ()
    learner: Callable[[Schedule, tuple[ConditionConfig, ...]], Learner] | None = None


class ToldDraw(Draw):
    """The draws of a step, with the scales of guidance (B,), float32, that a student is told; None if it is told none.

    The other arguments are those of `gendi.diffusion.objective.Draw`.
    """

    def __init__(
        self, t: Float64[Tensor, " batch"], seed: int, purpose: str, step: int = 0, scale: Tensor | None = None
    ) -> None:
        super().__init__(t, seed, purpose, step)
        self.scale = scale

    def told(self, cond: Conditions | None, rows: slice = ALL) -> dict[str, Tensor]:
        """Return the conditions of `rows`, with the scale of guidance among them if the student is told one."""
        return {**(cond or {}), **({} if self.scale is None else {SCALE: self.scale[rows]})}


class PairDraw(ToldDraw):
    """The draws of a step, with an earlier time r (B,), float64, for each time t."""

    def __init__(
        self,
        t: Float64[Tensor, " batch"],
        r: Float64[Tensor, " batch"],
        seed: int,
        purpose: str,
        step: int = 0,
        scale: Tensor | None = None,
    ) -> None:
        super().__init__(t, seed, purpose, step, scale)
        self.r = r


class Objective(objective.Objective[NetworkDenoiser, Schedule]):
    """A way to train a denoiser of Gaussian noise; see `gendi.diffusion.objective`."""
