"""What samplers of tokens share: the state that they yield, times, and draws."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from gendi.diffusion.discrete.process import Probabilities, TokenProcess, Tokens
from gendi.diffusion.randomness import stream
from gendi.errors import UsageError

Draws: TypeAlias = Callable[[], Tensor]
"""Returns fresh uniform numbers in [0, 1), (B, L) float64."""


@dataclass(frozen=True)
class TokenState:
    """The state of a sampler after one step from t to s: x is x_s. The times are (), or (B,) where rows differ."""

    t: Tensor
    s: Tensor
    x: Tokens


class TokenNoise:
    """Uniform numbers for a batch: row j always comes from the stream of sample indices[j]."""

    def __init__(self, seed: int, indices: Sequence[int], length: int, device: torch.device | str = "cpu") -> None:
        self.streams = [stream(seed, "tokens", index=i) for i in indices]
        self.length, self.device = length, device

    def __call__(self) -> Float64[Tensor, "batch length"]:
        """Return the next numbers."""
        rows = np.empty((len(self.streams), self.length))
        for row, own in zip(rows, self.streams, strict=True):
            own.random(out=row)
        return torch.from_numpy(rows).to(self.device)


def categorical(p: Probabilities, u: Float64[Tensor, "batch length"]) -> Tokens:
    """Return draws from distributions p (B, L, S), which need not sum to 1, made from uniform numbers u (B, L)."""
    heights = p.cumsum(-1)
    return (heights <= u[..., None] * heights[..., -1:]).sum(-1).clamp(max=p.shape[-1] - 1)


def times_of(process: TokenProcess, intervals: int) -> Float64[Tensor, " n_plus_1"]:
    """Return the times of a sampler, from 1 down to 0; those of a chain of T are among i / T.

    Raises `UsageError` for fewer than one interval, or more than a chain has steps.
    """
    if intervals < 1:
        raise UsageError(f"sampling needs at least 1 step; got {intervals}.")
    if process.steps is not None and intervals > process.steps:
        raise UsageError(f"{intervals} steps were asked of a chain of {process.steps}: choose 1 to {process.steps}.")
    times = torch.arange(intervals, -1, -1, dtype=torch.float64) / intervals
    return times if process.steps is None else (times * process.steps).round() / process.steps
