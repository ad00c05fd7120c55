"""A temperature of samples of tokens: p(x_0 | x_t)^(1 / temperature), normalised at each position."""

import math
from typing import Any

from torch import Tensor

from gendi.diffusion.discrete.denoiser import TokenDenoiser
from gendi.errors import UsageError


class Tempered:
    """A denoiser at a temperature: below 1 its samples are more typical and less varied than the model's
    distribution."""

    def __init__(self, denoiser: TokenDenoiser, temperature: float) -> None:
        self.denoiser, self.process, self.temperature = denoiser, denoiser.process, temperature

    def __call__(self, x_t: Tensor, t: Tensor, /, **cond: Any) -> Tensor:
        """Return log p(x_0 | x_t) at the temperature."""
        return (self.denoiser(x_t, t, **cond) / self.temperature).log_softmax(-1)


def tempered(denoiser: TokenDenoiser, temperature: float) -> TokenDenoiser:
    """Return `denoiser` at a temperature; at 1 it is itself. Raises `UsageError` for one that is not above 0."""
    if not 0 < temperature < math.inf:
        raise UsageError(f"temperature = {temperature:g} is out of range: for tokens it is above 0.")
    return denoiser if temperature == 1 else Tempered(denoiser, temperature)
