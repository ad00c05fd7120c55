"""What samplers, bounds and guidance see of a model of tokens: log p(x_0 | x_t) of each position.

The distribution of a position is that of its token given all of x_t, so a denoiser says nothing on how the tokens of
two positions depend on one another: that is what the steps of a sampler are for.
"""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from gendi.diffusion.conditions import Conditions
from gendi.diffusion.discrete.process import Absorbing, TokenProcess, Tokens
from gendi.errors import UsageError, diverged
from gendi.machine.stopping import Poll, may_stop

LogP = Float[Tensor, "batch length tokens"]


@runtime_checkable
class TokenDenoiser(Protocol):
    """Anything that maps x_t (B, L) and t, () or (B,), to log p(x_0 | x_t) (B, L, K) under `process`."""

    process: TokenProcess

    def __call__(self, x_t: Tensor, t: Tensor, /, **cond: Any) -> Tensor: ...


def carried_over(process: TokenProcess, logits: Tensor, x_t: Tokens) -> LogP:
    """Return log p (B, L, K) from a network's outputs. What is not masked is known.  [MDLM, section 3.2.3]"""
    log_p = logits.log_softmax(-1)
    if not isinstance(process, Absorbing):
        return log_p
    known = torch.full_like(log_p, -torch.inf)
    known.scatter_(-1, x_t.clamp(max=process.tokens - 1)[..., None], 0.0)
    return torch.where((x_t == process.mask)[..., None], log_p, known)


class Bound:
    """A denoiser with the conditions of a batch, whose answers are checked and counted.

    Args:
        denoiser: log p(x_0 | x_t).
        cond: conditions by name, one row for each row of the batch.
        poll: called after every call; raises to stop.
        limits: (B, L), how many tokens, from the first on, may be drawn at each position; all by default.
    """

    def __init__(
        self,
        denoiser: TokenDenoiser,
        cond: Conditions | None = None,
        poll: Poll | None = None,
        limits: Tensor | None = None,
    ) -> None:
        self.denoiser, self.process, self.cond, self.poll = denoiser, denoiser.process, dict(cond or {}), poll
        self.limits = limits
        self.calls = 0
        """Calls so far."""
        self.rows = 0
        """Rows of all calls together."""

    def __call__(self, x_t: Tokens, t: Tensor, rows: Tensor | None = None) -> Float64[Tensor, "batch length tokens"]:
        """Return p(x_0 | x_t) in float64, for the rows of the batch at the indices `rows` (b,), all by default.

        Raises:
            UsageError: an answer of another shape.
            DivergedError: an answer that is no distribution: NaN, or probabilities that do not sum to 1.
        """
        cond: Mapping[str, Tensor] = self.cond
        if rows is not None:
            cond = {name: value[rows.to(value.device)] for name, value in cond.items()}
        log_p = self.denoiser(x_t, t, **cond)
        wanted = (*x_t.shape, self.process.tokens)
        if log_p.shape != wanted:
            raise UsageError(f"the denoiser returned shape {tuple(log_p.shape)} for {tuple(x_t.shape)}: not {wanted}.")
        p = log_p.double().exp()
        total = p.sum(-1)
        if not bool(((total - 1).abs() < 1e-3).all()):
            raise diverged(
                f"the denoiser returned values that are no probabilities in call {self.calls + 1}: their sums at a "
                f"position are {total.min().item():.4g} at least and {total.max().item():.4g} at most."
            )
        self.calls, self.rows = self.calls + 1, self.rows + len(x_t)
        may_stop(self.poll)
        if self.limits is None:
            return p / total[..., None]
        limits = self.limits if rows is None else self.limits[rows]
        allowed = torch.arange(self.process.tokens, device=p.device) < limits[..., None]
        p = torch.where(allowed, p.clamp(min=1e-300), 0.0)
        return p / p.sum(-1, keepdim=True)
