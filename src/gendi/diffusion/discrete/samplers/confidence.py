"""Confidence-ordered sampling: at each step the positions whose drawn tokens are likeliest keep them.

[Chang et al. 2022, section 3.2]

**It is biased**, however many steps it takes and however good the denoiser is: which positions are kept depends on the
tokens that were drawn, so likely tokens are kept too often. The samples are more typical and less varied than the data,
like those of a temperature below 1, and they have no likelihood. `noise` adds Gumbel noise of that scale to log p
before positions are ranked; the larger it is, the nearer the order is to a random one, which has no such bias.
"""

from collections.abc import Iterator
from itertools import pairwise

import torch
from torch import Tensor

from gendi.diffusion.discrete.denoiser import Bound
from gendi.diffusion.discrete.process import Absorbing
from gendi.diffusion.discrete.samplers.state import Draws, TokenState, categorical
from gendi.errors import UsageError


def confidence(denoiser: Bound, x: Tensor, times: Tensor, draws: Draws, *, noise: float = 0.0) -> Iterator[TokenState]:
    """Keep, at each step from t to s, the likeliest tokens, until a share 1 - alpha_s of the masks is left.

    Raises `UsageError` for a `noise` below 0.
    """
    if not 0 <= noise < float("inf"):
        raise UsageError(f"noise = {noise:g} is out of range: it is the scale of Gumbel noise, 0 or more.")
    process = denoiser.process
    assert isinstance(process, Absorbing)
    first = (x == process.mask).sum(1)
    for t, s in pairwise(times.unbind()):
        masked, p = x == process.mask, denoiser(x, t)
        drawn = categorical(p, draws())
        score = p.gather(-1, drawn[..., None])[..., 0].log() - noise * (-draws().clamp(min=1e-300).log()).log()
        kept = masked.sum(1) - (first * (1 - process.schedule.alpha(s)).to(x.device) + 1e-9).floor().long()
        rank = torch.where(masked, score, -torch.inf).sort(dim=1, descending=True, stable=True).indices.argsort(1)
        x = torch.where(masked & (rank < kept[:, None]), drawn, x)
        yield TokenState(t, s, x)
