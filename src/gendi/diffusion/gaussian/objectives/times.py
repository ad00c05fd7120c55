"""The distributions of the times, that is of the noise levels, of a training step.

    discrete     t = i / T with i uniform on 1..T, independent                          [Ho et al. 2020, algorithm 1]
    uniform      uniform in t
    log-normal   ln(sigma / alpha) normal                                               [Karras et al. 2022, table 1]
    log-snr      ln(alpha^2 / sigma^2) uniform between two ends
    loss-aware   see `loss_aware.py`

Continuous times are stratified: there is one draw in each of B equal slices of probability, in random order, so that a
batch covers the noise levels evenly.  [low-discrepancy times: Kingma et al. 2021, appendix I.1]

In continuous time the bound is 1/2 of the integral of the squared eps error over the log signal-to-noise ratio [Kingma
et al. 2021, eq. 18]. `log-snr` with unit weight on the eps error estimates it for any schedule.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, Self

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from gendi.diffusion.gaussian.config import ObjectiveConfig
from gendi.diffusion.gaussian.schedule import Schedule


class TimeSampling(ABC):
    """A distribution of the times of a batch. If it has state, `group` names its tensors in a checkpoint."""

    group: ClassVar[str] = ""

    @classmethod
    @abstractmethod
    def of(cls, options: ObjectiveConfig, schedule: Schedule) -> Self:
        """Return the distribution for the validated options of an objective, under `schedule`."""

    @abstractmethod
    def draw(self, rng: np.random.Generator, batch: int) -> Float64[Tensor, " batch"]:
        """Return the times (batch,), float64, of a training step."""

    def draw_heldout(self, rng: np.random.Generator, batch: int) -> Float64[Tensor, " batch"]:
        """Return times (batch,), float64, that do not depend on the state."""
        return self.draw(rng, batch)

    def weights(self, t: Float64[Tensor, " batch"]) -> Float64[Tensor, " batch"] | None:
        """Return the weights (B,) with which the mean over draws estimates the mean over all noise levels.

        None if all are 1.
        """
        return None

    def remember(self, t: Float64[Tensor, " batch"], losses: Float[Tensor, " batch"], lr: float) -> None:  # noqa: B027
        """Update the state from the losses (B,) at times (B,), after a step of learning rate `lr`."""

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors that a checkpoint holds."""
        return {}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:  # noqa: B027
        """Restore what `tensors` returned. Raises `BundleError` naming a tensor that is missing or of another shape."""


class Discrete(TimeSampling):
    """The steps of a chain of `steps`, uniform and independent."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    @classmethod
    def of(cls, options: ObjectiveConfig, schedule: Schedule) -> Self:
        assert schedule.steps is not None  # the configuration was validated
        return cls(schedule.steps)

    def draw(self, rng: np.random.Generator, batch: int) -> Float64[Tensor, " batch"]:
        return torch.from_numpy(rng.integers(1, self.steps + 1, batch)).double() / self.steps


class Uniform(TimeSampling):
    """Uniform in t, at least 1e-5."""

    @classmethod
    def of(cls, options: ObjectiveConfig, schedule: Schedule) -> Self:
        return cls()

    def draw(self, rng: np.random.Generator, batch: int) -> Float64[Tensor, " batch"]:
        return stratified(rng, batch).clamp(min=1e-5)


class LogNormal(TimeSampling):
    """ln(sigma / alpha) normal with `mean` and standard deviation `std`; t at least 1e-7."""

    def __init__(self, schedule: Schedule, mean: float, std: float) -> None:
        self.schedule, self.mean, self.std = schedule, mean, std

    @classmethod
    def of(cls, options: ObjectiveConfig, schedule: Schedule) -> Self:
        return cls(schedule, options.log_sigma_mean, options.log_sigma_std)

    def draw(self, rng: np.random.Generator, batch: int) -> Float64[Tensor, " batch"]:
        quantile = torch.special.ndtri(stratified(rng, batch).clamp(1e-9, 1 - 1e-9))
        return self.schedule.time(-2 * (self.mean + self.std * quantile)).clamp(min=1e-7)


class LogSNR(TimeSampling):
    """ln(alpha^2 / sigma^2) uniform between `low` and `high`."""

    def __init__(self, schedule: Schedule, low: float, high: float) -> None:
        self.schedule, self.low, self.high = schedule, low, high

    @classmethod
    def of(cls, options: ObjectiveConfig, schedule: Schedule) -> Self:
        return cls(schedule, options.log_snr_min, options.log_snr_max)

    def draw(self, rng: np.random.Generator, batch: int) -> Float64[Tensor, " batch"]:
        low, high = torch.tensor([self.low, self.high], dtype=torch.float64)
        return self.schedule.time(torch.lerp(low, high, stratified(rng, batch)))


def stratified(rng: np.random.Generator, batch: int) -> Float64[Tensor, " batch"]:
    """Return uniform numbers (batch,) in [0, 1), one in each of `batch` equal slices, in random order."""
    return torch.from_numpy((rng.permutation(batch) + rng.random(batch)) / batch)
