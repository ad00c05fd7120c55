"""The optimal variance of a reverse step, from how far x_0 is from x0_hat.

p(x_s | x_t) should have the covariance that q(x_s | x_t) has. By the law of total variance, and with w_0 the weight of
x_0 in the posterior's mean, its best isotropic value is                       [Bao et al. 2022, theorem 1]

    beta-tilde + w_0^2 spread(t),      spread(t) = E |x_0 - x0_hat(x_t)|^2 / d,

which for the exact denoiser is the mean of tr Cov[x_0 | x_t] / d. The spread is one number per time, estimated once on
data. It is defined by the error of x0_hat and not by the norm of the score, so it is right for an imperfect denoiser
too [Bao et al. 2022b]. In a basis of directions the same holds for each of them; with all principal directions of a
Gaussian the step is exact. It is at most sigma^2 / alpha^2, the error of x_t / alpha [Bao et al. 2022, theorem 2].
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
from gendi.diffusion.gaussian.process import Batch, Process, like
from gendi.diffusion.gaussian.schedule import Schedule
from gendi.diffusion.randomness import normal
from gendi.errors import UsageError


@runtime_checkable
class KnownVariance(Protocol):
    """A denoiser that knows tr Cov[x_0 | x_t], (B,), as the exact ones of `gendi.diffusion.gaussian.exact` do."""

    def variance(self, x_t: Tensor, t: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class Moments:
    """The function spread(t), kept as its values at increasing times in (0, 1]; call it with any time.

    With a `basis` of r orthonormal directions it is kept for each of them and, last, for all other directions together,
    so that the covariance of a step has the shape of the data's and not that of a ball.
    """

    schedule: Schedule
    times: Float64[Tensor, " n"]
    spread: Float64[Tensor, " n"] | Float64[Tensor, " n r_plus_1"]
    basis: Float[Tensor, " d r"] | None = None

    def __call__(self, t: Float64[Tensor, "*any"]) -> Float64[Tensor, "..."]:
        """Return spread(t), of t's shape (and r + 1 values for each t if there is a basis), at most sigma^2 / alpha^2.

        Its logarithm is linear in log-SNR between the times, and constant beyond them.
        """
        places, values = self._log_snr(self.times).flip(0), self.spread.clamp(min=1e-300).log().flip(0)
        at, most = self._log_snr(t).cpu(), torch.exp(-self.schedule.log_snr(t))
        if self.basis is None:
            found = np.asarray(np.interp(at, places, values))
        else:
            found, most = np.stack([np.interp(at, places, column) for column in values.T], axis=-1), most[..., None]
        return torch.as_tensor(found, dtype=torch.float64).to(t).exp().minimum(most)

    def spread_out(self, z: Tensor, deviation: Float64[Tensor, "..."]) -> Tensor:
        """Return noise z (B, *shape) times a deviation () in all directions, or times the (r + 1,) of the basis."""
        if self.basis is None:
            return like(deviation, z) * z
        basis, deviation = self.basis.to(z), deviation.to(z)
        rest = deviation[-1]
        inside: Tensor = (z.flatten(1) @ basis) * (deviation[:-1] - rest)
        out: Tensor = rest * z + (inside @ basis.T).reshape(z.shape)
        return out

    def _log_snr(self, t: Tensor) -> Tensor:
        return self.schedule.log_snr(t).clamp(-100, 100)


def principal_directions(x_0: Batch, rank: int) -> Float[Tensor, "d r"]:
    """Return the `rank` directions in which x_0 (B, ...) varies most, as orthonormal columns over its d numbers.

    Raises `UsageError` unless 1 <= rank < d and there are more rows than that.
    """
    rows = x_0.flatten(1).double()
    if not 1 <= rank < rows.shape[1] or len(rows) <= rank:
        raise UsageError(f"rank = {rank} is out of range for {len(rows)} rows of {rows.shape[1]} numbers.")
    directions: Tensor = torch.linalg.svd(rows - rows.mean(0), full_matrices=False)[2][:rank]
    return directions.T.contiguous()


def estimate_moments(
    denoiser: Denoiser,
    x_0: Batch,
    times: Float[Tensor, " n"],
    *,
    rank: int = 0,
    seed: int = 0,
    batch_size: int = 250,
    cond: Conditions | None = None,
) -> Moments:
    """Return spread(t) at `times`, estimated on data x_0 (B, ...) with one noise per row and time.

    This takes n B / batch_size calls. With `rank` above 0 the spread is kept for each of that many principal directions
    of x_0, and for the others together. If the denoiser knows tr Cov[x_0 | x_t] and rank is 0, its value is used in
    place of the error, because it varies less, or on a Gaussian not at all. `cond` has one row for each row of x_0.
    Raises `UsageError` unless the times increase within (0, 1], and as `principal_directions` does.
    """
    times = times.double()
    if len(times) < 1 or not bool((times.diff() > 0).all()) or times[0] <= 0 or times[-1] > 1:
        raise UsageError(f"moments need increasing times above 0 and up to 1; got {times.tolist()}.")
    process = Process(denoiser.schedule)
    basis = principal_directions(x_0, rank) if rank else None
    spread = torch.zeros(len(times), rank + 1, dtype=torch.float64)
    with torch.no_grad():
        for k, t in enumerate(times):
            eps = normal(tuple(x_0.shape), seed, "moments", step=k).to(x_0)
            for start in range(0, len(x_0), batch_size):
                rows = slice(start, start + batch_size)
                x_t = process.sample(x_0[rows], t, eps[rows])
                if basis is None and isinstance(denoiser, KnownVariance):
                    spread[k, -1] += denoiser.variance(x_t, t).sum().to(spread)
                    continue
                error = x_0[rows] - conditioned(denoiser, take(cond, rows, x_0.device))(x_t, t)
                squares = error.double().square().sum().to(spread)
                if basis is not None:
                    inside = (error.double().flatten(1) @ basis.to(x_0.device)).square().sum(0).to(spread)
                    spread[k, :-1] += inside
                    squares = squares - inside.sum()
                spread[k, -1] += squares
    spread /= len(x_0)
    spread[:, -1] = spread[:, -1].clamp(min=0) / (x_0[0].numel() - rank)
    return Moments(denoiser.schedule, times, spread if rank else spread[:, 0], basis)


def optimal_variance(process: Process, t: Tensor, s: Tensor, spread: Tensor) -> Float64[Tensor, "..."]:
    """Return the optimal variance of p(x_s | x_t) for s < t, of spread's shape.  [Bao et al. 2022, theorem 1]"""
    _, w_0, variance = process.posterior_weights(t, s)
    return variance + w_0**2 * spread
