"""Ancestral sampling that calls the network only for rows in which a mask was lifted since its last answer.

What a denoiser of masked tokens answers depends on x_t alone, not on the time. So the last answer still holds for a row
that did not change, and the samples are those of ancestral sampling with the same draws, while no row takes more calls
than it has masks.  [Sahoo et al. 2024, section 3.4; Ou et al. 2024]
"""

from collections.abc import Iterator
from itertools import pairwise

import torch
from torch import Tensor

from gendi.diffusion.discrete.denoiser import Bound
from gendi.diffusion.discrete.process import Absorbing
from gendi.diffusion.discrete.samplers.state import Draws, TokenState, categorical


def cached(denoiser: Bound, x: Tensor, times: Tensor, draws: Draws) -> Iterator[TokenState]:
    """Draw x_s from p(x_s | x_t), with the last answer of the denoiser where it still holds."""
    process = denoiser.process
    assert isinstance(process, Absorbing)
    p = torch.zeros(*x.shape, process.tokens, dtype=torch.float64, device=x.device)
    stale = torch.ones(len(x), dtype=torch.bool, device=x.device)
    for t, s in pairwise(times.unbind()):
        due = (stale & (x == process.mask).any(1)).nonzero()[:, 0]
        if len(due):
            p[due] = denoiser(x[due], t, due)
        before, x = x, categorical(process.reverse(x, p, t, s), draws())
        stale = (x != before).any(1)
        yield TokenState(t, s, x)
