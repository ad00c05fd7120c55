"""What samplers share: the state that they yield, the pairs of times that they visit, and the noise they are given."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

from jaxtyping import Float, Float64
from torch import Tensor

from gendi.errors import UsageError

Noise: TypeAlias = Callable[[int], Tensor]
"""Maps the index of a step to standard normal noise of x's shape."""


@dataclass(frozen=True)
class State:
    """The state of a sampler after one step from t to s: x is x_s, and x_0 is the denoiser's answer at t."""

    t: Float64[Tensor, ""]
    s: Float64[Tensor, ""]
    x: Float[Tensor, " batch *shape"]
    x_0: Float[Tensor, " batch *shape"]


def pairs(times: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield (t, s) along `times`, as float64 scalars. Raises `UsageError` unless they fall strictly within [0, 1]."""
    if times.ndim != 1 or len(times) < 2 or not bool((times.diff() < 0).all()):
        raise UsageError(f"a time grid must be at least two strictly decreasing times; got {times.tolist()}.")
    if times[0] > 1 or times[-1] < 0:
        raise UsageError(f"a time grid must lie in [0, 1]; got {times[0].item():g} down to {times[-1].item():g}.")
    return pairwise(times.double().unbind())
