"""The optimal variance of a reverse step, from how far x_0 is from x0_hat.

p(x_s | x_t) should have the covariance that q(x_s | x_t) has. By the law of total variance, and with w_0 the weight of
x_0 in the posterior's mean, its best isotropic value is                       [Bao et al. 2022, theorem 1]

    beta-tilde + w_0^2 spread(t),      spread(t) = E |x_0 - x0_hat(x_t)|^2 / d,

which for the exact denoiser is the mean of tr Cov[x_0 | x_t] / d. The spread is one number per time, estimated once on
data. It is defined by the error of x0_hat and not by the norm of the score, so it is right for an imperfect denoiser
too [Bao et al. 2022b]. It is at most sigma^2 / alpha^2, the error of x_t / alpha [Bao et al. 2022, theorem 2].
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from gendi.diffusion.conditions import Conditions, take
from gendi.diffusion.gaussian.conditioned import conditioned
from gendi.diffusion.gaussian.denoiser import Denoiser
from gendi.diffusion.gaussian.process import Batch, PerSample64, Process
from gendi.diffusion.gaussian.schedule import Schedule
from gendi.diffusion.randomness import normal
from gendi.errors import UsageError


@runtime_checkable
class KnownVariance(Protocol):
    """A denoiser that knows tr Cov[x_0 | x_t], (B,), as the exact ones of `gendi.diffusion.gaussian.exact` do."""

    def variance(self, x_t: Tensor, t: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class Moments:
    """The function spread(t), kept as its values at increasing times in (0, 1]; call it with any time."""

    schedule: Schedule
    times: Float64[Tensor, " n"]
    spread: Float64[Tensor, " n"]

    def __call__(self, t: Float64[Tensor, " *any"]) -> Float64[Tensor, " *any"]:
        """Return spread(t), of t's shape and at most sigma^2 / alpha^2.

        Its logarithm is linear in log-SNR between the times, and constant beyond them.
        """
        places, values = self._log_snr(self.times), self.spread.clamp(min=1e-300).log()
        found = np.interp(self._log_snr(t).cpu(), places.flip(0), values.flip(0))
        return torch.as_tensor(found, dtype=torch.float64).to(t).exp().minimum(torch.exp(-self.schedule.log_snr(t)))

    def _log_snr(self, t: Tensor) -> Tensor:
        return self.schedule.log_snr(t).clamp(-100, 100)


def estimate_moments(
    denoiser: Denoiser,
    x_0: Batch,
    times: Float[Tensor, " n"],
    *,
    seed: int = 0,
    batch_size: int = 250,
    cond: Conditions | None = None,
) -> Moments:
    """Return spread(t) at `times`, estimated on data x_0 (B, ...) with one noise per row and time.

    This takes n B / batch_size calls. If the denoiser knows tr Cov[x_0 | x_t], its value is used in place of the error,
    because it varies less, or on a Gaussian not at all. `cond` has one row for each row of x_0. Raises `UsageError`
    unless the times increase within (0, 1].
    """
    times = times.double()
    if len(times) < 1 or not bool((times.diff() > 0).all()) or times[0] <= 0 or times[-1] > 1:
        raise UsageError(f"moments need increasing times above 0 and up to 1; got {times.tolist()}.")
    process = Process(denoiser.schedule)
    spread = torch.zeros_like(times)
    with torch.no_grad():
        for k, t in enumerate(times):
            eps = normal(tuple(x_0.shape), seed, "moments", step=k).to(x_0)
            for start in range(0, len(x_0), batch_size):
                data = x_0[start : start + batch_size]
                x_t = process.sample(data, t, eps[start : start + batch_size])
                if isinstance(denoiser, KnownVariance):
                    total = denoiser.variance(x_t, t).sum()
                else:
                    rows = slice(start, start + batch_size)
                    guess = conditioned(denoiser, take(cond, rows, x_0.device))(x_t, t)
                    total = (data - guess).double().square().sum()
                spread[k] += total.to(spread) / x_0.numel()
    return Moments(denoiser.schedule, times, spread)


def optimal_variance(process: Process, t: Tensor, s: Tensor, spread: Tensor) -> PerSample64:
    """Return the optimal variance of p(x_s | x_t) for s < t.  [Bao et al. 2022, theorem 1]"""
    _, w_0, variance = process.posterior_weights(t, s)
    return variance + w_0**2 * spread
