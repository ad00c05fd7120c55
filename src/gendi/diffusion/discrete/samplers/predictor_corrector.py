"""Ancestral steps, each followed by corrections: some tokens are noised again, as the forward process does it, and
drawn anew given what the others have become since.

A correction at time s goes forward from s to r = s + back (t - s), and back to s by one ancestral step. It leaves the
distribution of x_s as it is if the steps are exact, and otherwise moves the sample towards it: tokens that were drawn
together, without knowing of one another, are drawn again one by one.  [Campbell et al. 2022, section 4.4; Wang et al.
2025]
"""

from collections.abc import Iterator
from itertools import pairwise

import torch
from torch import Tensor

from gendi.diffusion.discrete.denoiser import Bound
from gendi.diffusion.discrete.samplers.state import Draws, TokenState, categorical
from gendi.errors import UsageError


def predictor_corrector(
    denoiser: Bound,
    x: Tensor,
    times: Tensor,
    draws: Draws,
    *,
    fixed: Tensor | None = None,
    corrections: int = 1,
    back: float = 0.5,
) -> Iterator[TokenState]:
    """Step from t to s, then correct `corrections` times, one call each.

    Raises `UsageError` for fewer than 0 corrections, or `back` outside (0, 1].
    """
    if corrections < 0 or not 0 < back <= 1:
        raise UsageError(
            f"corrections = {corrections}, back = {back:g}: corrections are 0 or more, and each goes back a share of "
            "the step above 0 and at most 1."
        )
    process = denoiser.process
    for t, s in pairwise(times.unbind()):
        x = categorical(process.reverse(x, denoiser(x, t), t, s), draws())
        r = s + back * (t - s)
        for _ in range(corrections):
            again = process.noised(x, r, draws(), s)
            x_r = again if fixed is None else torch.where(fixed, x, again)
            x = categorical(process.reverse(x_r, denoiser(x_r, r), r, s), draws())
        yield TokenState(t, s, x)
