"""Temperature: samples of a sharper distribution than the model's, as an option that any sampler can take.

At temperature T the samples of a Gaussian N(m, s^2) have the distribution N(m, T s^2), whose density is the model's to
the power 1 / T. At noise level (alpha, sigma) the score of the one is that of the other times

    k = (alpha^2 s^2 + sigma^2) / (alpha^2 s^2 T + sigma^2),

which is 1 in pure noise and 1 / T in the data  [Ingraham et al. 2023, appendix C, with s = 1]. In terms of x0_hat,

    x0_hat' = x0_hat + (k - 1) (x0_hat - x_t / alpha).

With s = 1, the scale that every codec of gendi gives its data, this is exact for a standard normal distribution under
an exact sampler. For any other distribution it is a temperature of the same kind near each mode and no more than that:
it moves modes together where their distance is s or less. T = 1 changes no bit.

The other way to lower the temperature is to scale the fresh noise of a stochastic sampler. It belongs to no known
distribution, depends on the number of calls, and has a name of its own, `noise_scale`.
"""

import math
from typing import Any

from torch import Tensor

from gendi.diffusion.gaussian.denoiser import Denoiser, LearnedVariance
from gendi.diffusion.gaussian.process import PerSample, like
from gendi.diffusion.gaussian.samplers.state import Noise
from gendi.errors import UsageError


class Tempered:
    """A denoiser at another temperature.

    Args:
        denoiser: E[x_0 | x_t].
        temperature: T, above 0: 1 is the model's own distribution, and a smaller T draws less varied samples, nearer to
            the modes.
        scale: s, the standard deviation of the data for which T is exact.

    Raises:
        UsageError: the temperature is not a finite number above 0.
    """

    def __init__(self, denoiser: Denoiser, temperature: float, scale: float = 1.0) -> None:
        check_heat(temperature, 1.0)
        self.denoiser, self.schedule = denoiser, denoiser.schedule
        self.temperature, self.scale = temperature, scale

    def __call__(self, x_t: Tensor, t: Tensor, /, **cond: Any) -> Tensor:
        """Return x0_hat at the temperature, of x_t's shape."""
        return self._tempered(x_t, t, self.denoiser(x_t, t, **cond))

    def _tempered(self, x_t: Tensor, t: PerSample, x_0: Tensor) -> Tensor:
        alpha, sigma = self.schedule(t)
        variance = (alpha * self.scale) ** 2
        # (k - 1) / alpha, which stays finite where alpha is 0
        gain = alpha * self.scale**2 * (1 - self.temperature) / (variance * self.temperature + sigma**2)
        return x_0 + like(gain, x_t) * (like(alpha, x_t) * x_0 - x_t)


class TemperedVariance(Tempered):
    """A denoiser with a learned variance at another temperature; the variance's share stays what it is."""

    denoiser: LearnedVariance

    def predict(self, x_t: Tensor, t: Tensor, /, **cond: Any) -> tuple[Tensor, Tensor]:
        """Return x0_hat at the temperature and the share of the variance, both of x_t's shape."""
        x_0, share = self.denoiser.predict(x_t, t, **cond)
        return self._tempered(x_t, t, x_0), share


def tempered(denoiser: Denoiser, temperature: float) -> Denoiser:
    """Return `denoiser` at a temperature, or `denoiser` itself at 1. Raises `UsageError` as `Tempered` does."""
    if temperature == 1:
        return denoiser
    kind = TemperedVariance if isinstance(denoiser, LearnedVariance) else Tempered
    return kind(denoiser, temperature)


def scaled(noise: Noise, scale: float) -> Noise:
    """Return fresh noise times `scale`, or `noise` itself at 1. Raises `UsageError` unless 0 <= scale < infinity."""
    check_heat(1.0, scale)
    return noise if scale == 1 else lambda step: scale * noise(step)


def check_heat(temperature: float, noise_scale: float) -> None:
    """Raise `UsageError` unless the temperature is above 0, the noise scale at least 0, and both are finite."""
    if not 0 < temperature < math.inf:
        raise UsageError(f"temperature = {temperature:g} is out of range: a number above 0; 1 is the model's own.")
    if not 0 <= noise_scale < math.inf:
        raise UsageError(
            f"noise_scale = {noise_scale:g} is out of range: 0 (no fresh noise) or more; 1 is the sampler's own."
        )
