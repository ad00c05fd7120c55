"""The base class of objectives of tokens: noise is put on sequences, and log p(x_0 | x_t) is compared with them.

Times are stratified: there is one in each of B equal slices of (0, 1], in random order [Kingma et al. 2021, appendix
I.1]. Losses are nats per position, so that those of the bound times L are an estimate of the bound of a sequence.
"""

from abc import abstractmethod

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from gendi.diffusion.conditions import Conditions
from gendi.diffusion.discrete.network import NetworkTokenDenoiser
from gendi.diffusion.discrete.process import TokenProcess, Tokens
from gendi.diffusion.objective import ALL, Draw, Objective
from gendi.diffusion.randomness import stream


class TokenObjective(Objective[NetworkTokenDenoiser, TokenProcess]):
    """A way to train a denoiser of tokens under `schedule`, which is a process.

    Args:
        process: the forward process.
    """

    def __init__(self, process: TokenProcess) -> None:
        self.schedule = process

    def draw(self, size: int, seed: int, step: int) -> Draw:
        rng = stream(seed, "token times", step)
        return Draw(_stratified(rng, size, shuffled=True), seed, "token noise", step)

    def draw_heldout(self, size: int, seed: int) -> Draw:
        return Draw(_stratified(stream(seed, "heldout token times"), size, shuffled=False), seed, "heldout token noise")

    def losses(
        self,
        denoiser: NetworkTokenDenoiser,
        x_0: Tokens,
        cond: Conditions | None,
        draw: Draw,
        rows: slice = ALL,
    ) -> Float[Tensor, " rows"]:
        if x_0.device.type == "mps":  # which has no float64
            x_0 = x_0.cpu()
        t = draw.t[rows].to(x_0.device)
        return self.at(denoiser, x_0, t, draw.uniform(x_0, rows), cond or {}).float()

    @abstractmethod
    def at(
        self,
        denoiser: NetworkTokenDenoiser,
        x_0: Tokens,
        t: Float64[Tensor, " batch"],
        u: Float64[Tensor, "batch length"],
        cond: Conditions,
    ) -> Float[Tensor, " batch"]:
        """Return the loss of each row, nats per position, at times t in (0, 1] with uniform numbers u."""


def _stratified(rng: np.random.Generator, size: int, shuffled: bool) -> Float64[Tensor, " size"]:
    """Return times in (0, 1], one in each of `size` slices, in order or at random."""
    times = 1 - (np.arange(size)[::-1] + rng.random(size)) / size
    return torch.from_numpy(rng.permutation(times) if shuffled else np.ascontiguousarray(times))
