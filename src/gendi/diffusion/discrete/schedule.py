"""Schedules of noise for tokens: alpha(t) is the probability that a token is still unchanged at time t.

    linear       alpha = 1 - t                         the share of noise is the time    [Sahoo et al. 2024, eq. 12]
    cosine       alpha = 1 - cos(pi (1 - t) / 2)       more steps where little is masked    [Shi et al. 2024, table 4]
    polynomial   alpha = 1 - t^2                       [Shi et al. 2024, table 4]

t = 0 is data, where alpha is 1, and t = 1 is noise, where it is 0. All numbers are float64.
"""

import math
from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor


class TokenSchedule(ABC):
    """How the probability that a token is still itself falls from 1 at t = 0 to 0 at t = 1."""

    name: ClassVar[str]

    @abstractmethod
    def alpha(self, t: Tensor) -> Tensor:
        """Return alpha at times in [0, 1], float64 of t's shape."""

    @abstractmethod
    def noise(self, t: Tensor) -> Tensor:
        """Return 1 - alpha at times, float64, with all digits near t = 0."""

    @abstractmethod
    def slope(self, t: Tensor) -> Tensor:
        """Return the derivative of alpha at times, float64 of t's shape, nowhere above 0."""

    @abstractmethod
    def time(self, alpha: Tensor) -> Tensor:
        """Return the time at which alpha has this value, float64."""

    def hazard(self, t: Tensor) -> Tensor:
        """Return -alpha' / (1 - alpha), the rate at which masks are lifted in reverse time, at times above 0."""
        return -self.slope(t) / self.noise(t)


class Linear(TokenSchedule):
    """alpha = 1 - t."""

    name = "linear"

    def alpha(self, t: Tensor) -> Tensor:
        return 1 - t.double()

    def noise(self, t: Tensor) -> Tensor:
        return t.double()

    def slope(self, t: Tensor) -> Tensor:
        return -torch.ones_like(t.double())

    def time(self, alpha: Tensor) -> Tensor:
        return 1 - alpha.double()


class Cosine(TokenSchedule):
    """alpha = 1 - cos(pi (1 - t) / 2)."""

    name = "cosine"

    def alpha(self, t: Tensor) -> Tensor:
        # 1 - cos x = 2 sin^2(x / 2), which keeps its digits near t = 1
        return 2 * torch.sin(math.pi * (1 - t.double()) / 4).square()

    def noise(self, t: Tensor) -> Tensor:
        return torch.sin(math.pi * t.double() / 2)

    def slope(self, t: Tensor) -> Tensor:
        return -math.pi / 2 * torch.sin(math.pi * (1 - t.double()) / 2)

    def time(self, alpha: Tensor) -> Tensor:
        return 1 - 4 / math.pi * torch.asin((alpha.double() / 2).sqrt())


class Polynomial(TokenSchedule):
    """alpha = 1 - t^2."""

    name = "polynomial"

    def alpha(self, t: Tensor) -> Tensor:
        return 1 - t.double().square()

    def noise(self, t: Tensor) -> Tensor:
        return t.double().square()

    def slope(self, t: Tensor) -> Tensor:
        return -2 * t.double()

    def time(self, alpha: Tensor) -> Tensor:
        return (1 - alpha.double()).sqrt()
