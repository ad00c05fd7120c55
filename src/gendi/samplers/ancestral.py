"""Ancestral sampling: draw x_s from p(x_s | x_t), the posterior of q with x0_hat in the place of x_0."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from gendi.denoiser import Denoiser
from gendi.errors import unknown_name
from gendi.process import Process, like
from gendi.samplers.state import Noise, State, pairs

VARIANCES = ("small", "large")


def ancestral(
    denoiser: Denoiser, x: Tensor, times: Tensor, noise: Noise, *, variance: str = "small", **cond: Any
) -> Iterator[State]:
    """Algorithm 2, over any decreasing times.  [Ho et al. 2020, algorithm 2 and section 3.2]

    `small` takes the posterior's variance (beta-tilde), the best for a single point x_0; `large` that of q(x_t | x_s)
    (beta), the best for x_0 ~ N(0, I). No noise is added in the last step. Raises `UsageError` for another variance.
    """
    if variance not in VARIANCES:
        raise unknown_name("variance", variance, VARIANCES)
    process = Process(denoiser.schedule)
    for k, (t, s) in enumerate(pairs(times)):
        x_0 = denoiser(x, t, **cond)
        mean, posterior_variance = process.posterior(x, x_0, t, s)
        x = mean
        if s > 0:
            spread = posterior_variance if variance == "small" else process.transition(t, s)[1]
            x = x + like(torch.sqrt(spread), x) * noise(k)
        yield State(t, s, x, x_0)
