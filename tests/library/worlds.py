"""What several test files share: names, small exact worlds, and functions that stand for a network."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

PRESERVING = ("linear", "cosine", "sigmoid")
SCHEDULES = (*PRESERVING, "variance-exploding")


def f64(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def scalar(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


def gaussian(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def covariance(d: int, seed: int = 0) -> Tensor:
    """Return a well-conditioned covariance without a symmetry that could hide mistakes."""
    factor = gaussian(d, d, seed=seed)
    return factor @ factor.T / d + 0.1 * torch.eye(d, dtype=torch.float64)


def linear_betas(steps: int) -> list[float]:
    """Return the paper's betas, as its text describes them: 1e-4 to 2e-2 at T = 1000, scaled by 1000 / T."""
    if steps == 1:
        return [0.1]
    return [min(0.999, (1e-4 + (2e-2 - 1e-4) * i / (steps - 1)) * 1000 / steps) for i in range(steps)]


def abar_of(betas: Sequence[float]) -> list[float]:
    """Return abar_0 = 1, ..., abar_T."""
    logs = [0.0]
    for beta in betas:
        logs.append(logs[-1] + math.log1p(-beta))
    return [math.exp(value) for value in logs]
