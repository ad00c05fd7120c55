"""Classifier-free guidance of tokens: p_c^w p_u^(1 - w) at each position, normalised.

With w = 1 it is the conditional model, with w = 0 the unconditional one, and above 1 it moves away from the latter. For
a single token it is the distribution tilted by p(c | x_0)^w; for sequences it tilts each position's distribution given
the others at its time.  [Nisonoff et al. 2024, eq. 6; Schiff et al. 2024, eq. 3]
"""

from typing import Any

import torch
from torch import Tensor

from gendi.diffusion.conditions import null_like
from gendi.diffusion.discrete.denoiser import TokenDenoiser


class TokenGuidance:
    """A guided denoiser.

    Args:
        denoiser: log p(x_0 | x_t, c), which was trained without conditions too.
        scale: w.
        names: the conditions that are forgotten in p_u; all by default.
    """

    def __init__(self, denoiser: TokenDenoiser, scale: float, names: list[str] | None = None) -> None:
        self.denoiser, self.process, self.scale, self.names = denoiser, denoiser.process, scale, names

    def __call__(self, x_t: Tensor, t: Tensor, /, **cond: Any) -> Tensor:
        """Return w log p(x_0 | x_t, c) + (1 - w) log p(x_0 | x_t), normalised; one call of twice the rows."""
        if self.scale == 1 or not cond:
            return self.denoiser(x_t, t, **cond)
        free = {name: null_like(v) if self.names is None or name in self.names else v for name, v in cond.items()}
        if self.scale == 0:
            return self.denoiser(x_t, t, **free)
        both = {name: torch.cat([v, free[name]]) for name, v in cond.items()}
        log_p, log_free = self.denoiser(torch.cat([x_t] * 2), t if t.ndim == 0 else torch.cat([t] * 2), **both).chunk(2)
        moved = self.scale * log_p + (1 - self.scale) * log_free
        # a token that either distribution rules out stays out: infinity less infinity is no number
        ruled_out = log_p.isneginf() | log_free.isneginf()
        return torch.where(ruled_out, -torch.inf, moved).log_softmax(-1)
