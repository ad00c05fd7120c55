"""The contract of a flow map."""

from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from gendi.diffusion.gaussian.denoiser import Denoiser


@runtime_checkable
class FlowMap(Denoiser, Protocol):
    """Anything that moves x_t to x_s along the probability-flow ODE of `schedule`, for any two times.

    What it returns as a denoiser is its own: an exact map the end of the path, f(x_t, t) = move(x_t, t, 0), which is no
    mean over x_0; a network that also knows the velocity at t the mean E[x_0 | x_t], so that all samplers can use it.
    """

    def move(self, x_t: Tensor, t: Tensor, s: Tensor, /, **cond: Any) -> Tensor:
        """Return x_s, of x_t's shape, for times t and s of shape () or (B,)."""
        ...
