"""A denoiser together with the conditions of a batch.

Samplers, solvers and likelihoods call `denoiser(x_t, t)` and know nothing of conditions, which are bound to the
denoiser before. So a sampler's options and a model's conditions share no namespace, and a condition may have any name.
"""

from typing import Any

from torch import Tensor

from gendi.diffusion.conditions import Conditions
from gendi.diffusion.gaussian.denoiser import Denoiser, LearnedVariance
from gendi.diffusion.gaussian.flow_map.contract import FlowMap


class Conditioned:
    """A denoiser that knows the conditions of its batch and passes them on by name.

    Args:
        denoiser: E[x_0 | x_t, c].
        cond: conditions by name, with one row for each row of every batch to come.
    """

    def __init__(self, denoiser: Denoiser, cond: Conditions) -> None:
        self.denoiser, self.schedule, self.cond = denoiser, denoiser.schedule, dict(cond)

    def __call__(self, x_t: Tensor, t: Tensor, /, **cond: Any) -> Tensor:
        """Return E[x_0 | x_t, c], of x_t's shape; a condition in `cond` replaces the bound one of the same name."""
        return self.denoiser(x_t, t, **{**self.cond, **cond})


class ConditionedVariance(Conditioned):
    """A denoiser with a learned variance that knows the conditions of its batch and passes them on by name."""

    denoiser: LearnedVariance

    def predict(self, x_t: Tensor, t: Tensor, /, **cond: Any) -> tuple[Tensor, Tensor]:
        """Return E[x_0 | x_t, c] and the share of `Process.reverse_log_variance`, both of x_t's shape."""
        return self.denoiser.predict(x_t, t, **{**self.cond, **cond})


class ConditionedFlow(Conditioned):
    """A flow map that knows the conditions of its batch and passes them on by name."""

    denoiser: FlowMap

    def move(self, x_t: Tensor, t: Tensor, s: Tensor, /, **cond: Any) -> Tensor:
        """Return x_s under the conditions, of x_t's shape."""
        return self.denoiser.move(x_t, t, s, **{**self.cond, **cond})


def conditioned(denoiser: Denoiser, cond: Conditions | None) -> Denoiser:
    """Return `denoiser` with the conditions of a batch bound to it, or `denoiser` itself if there are none."""
    if not cond:
        return denoiser
    if isinstance(denoiser, FlowMap):
        return ConditionedFlow(denoiser, cond)
    kind = ConditionedVariance if isinstance(denoiser, LearnedVariance) else Conditioned
    return kind(denoiser, cond)
