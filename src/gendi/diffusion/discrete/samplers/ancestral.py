"""Ancestral sampling: at each step from t to s every position is drawn from p(x_s | x_t), all at once.

With the exact denoiser the distribution of each position is exact, but positions that change in the same step are drawn
independently of one another. The error of the distribution is of the first order in the step: for two tokens that are
masked at first and N equal steps of a linear schedule, both change in the same step with probability 1 / N, so the
total variation from the right distribution is 1 / N of that of two independent tokens.
"""

from collections.abc import Iterator
from itertools import pairwise

from torch import Tensor

from gendi.diffusion.discrete.denoiser import Bound
from gendi.diffusion.discrete.samplers.state import Draws, TokenState, categorical


def ancestral(denoiser: Bound, x: Tensor, times: Tensor, draws: Draws) -> Iterator[TokenState]:
    """Draw x_s from p(x_s | x_t), step by step.  [Austin et al. 2021, eq. 4; Sahoo et al. 2024, eq. 7]"""
    for t, s in pairwise(times.unbind()):
        x = categorical(denoiser.process.reverse(x, denoiser(x, t), t, s), draws())
        yield TokenState(t, s, x)
