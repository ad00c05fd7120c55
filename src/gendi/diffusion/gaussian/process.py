"""The forward process q of a schedule, in closed form, and the four names of the same prediction.

For any 0 <= s < t <= 1,

    q(x_t | x_0)       = N(alpha_t x_0, sigma_t^2)                                   [Ho et al. 2020, eq. 4]
    q(x_t | x_s)       = N(alpha_ts x_s, sigma_ts^2),  alpha_ts = alpha_t / alpha_s,
                         sigma_ts^2 = sigma_t^2 - alpha_ts^2 sigma_s^2
                                    = sigma_t^2 (1 - SNR_t / SNR_s)                  [Kingma et al. 2021, appendix A]
    q(x_s | x_t, x_0)  = N(w_t x_t + w_0 x_0, var)                                   [Ho et al. 2020, eqs. 6, 7]

The second form of sigma_ts^2 has no cancellation, and it is exact at s = 0, where SNR_s is infinite. A prediction may
be stated as x_0, as the noise eps, as v or as the score:

    x_t = alpha x_0 + sigma eps,    v = alpha eps - sigma x_0,    score = -eps / sigma

Coefficients are float64 and shaped like their times; `like` casts them to a batch.
"""

from dataclasses import dataclass
from typing import TypeAlias

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from gendi.diffusion.gaussian.schedule import Schedule, as_times

Batch: TypeAlias = Float[Tensor, " batch *shape"]
PerSample: TypeAlias = Float[Tensor, ""] | Float[Tensor, " batch"]
"""A time or a coefficient: one for the whole batch, or one per sample."""
Time: TypeAlias = float | int | PerSample
"""A time in [0, 1] as people may give it: a plain number, one for the whole batch, or one per sample."""
PerSample64: TypeAlias = Float64[Tensor, ""] | Float64[Tensor, " batch"]


def like(coefficient: Tensor, x: Tensor) -> Tensor:
    """Return a coefficient, () or (B,), in x's dtype and on its device, shaped to broadcast against x (B, ...)."""
    coefficient = coefficient.to(device=x.device, dtype=x.dtype)
    return coefficient.reshape(coefficient.shape + (1,) * (x.ndim - 1)) if coefficient.ndim else coefficient


@dataclass(frozen=True)
class Process:
    """The forward process q of one schedule. Times are numbers, or tensors of shape () or (B,)."""

    schedule: Schedule

    def sample(self, x_0: Batch, t: Time, eps: Batch) -> Batch:
        """Return x_t = alpha_t x_0 + sigma_t eps, shape of x_0.  [Ho et al. 2020, eq. 4]"""
        alpha, sigma = self.schedule(t)
        return like(alpha, x_0) * x_0 + like(sigma, x_0) * eps

    def transition(self, t: Time, s: Time) -> tuple[PerSample64, PerSample64]:
        """Return (alpha_ts, variance) of q(x_t | x_s) for s < t.

        If t is the step after s, these are sqrt(1 - beta_t) and beta_t.
        """
        return _transition(*self.schedule(t), *self.schedule(s))

    def posterior_weights(self, t: Time, s: Time) -> tuple[PerSample64, PerSample64, PerSample64]:
        """Return (w_t, w_0, variance) of q(x_s | x_t, x_0) for s < t.  [Ho et al. 2020, eqs. 6, 7]"""
        (alpha_t, sigma_t), (alpha_s, sigma_s) = self.schedule(t), self.schedule(s)
        alpha_ts, var_ts = _transition(alpha_t, sigma_t, alpha_s, sigma_s)
        return alpha_ts * (sigma_s / sigma_t) ** 2, alpha_s * var_ts / sigma_t**2, var_ts * (sigma_s / sigma_t) ** 2

    def reverse_log_variance(self, t: Time, s: Time, share: Batch | float, before: PerSample | None = None) -> Tensor:
        """Return the log variance of p(x_s | x_t) for s < t.

            share log beta + (1 - share) log beta-tilde                            [Nichol & Dhariwal 2021, eq. 15]

        Here beta is the variance of q(x_t | x_s) and beta-tilde that of the posterior, so a share of 0 is the variance
        `small`, 1 is `large`, and a share between them is what `learned` uses. At s = 0 beta-tilde is 0, and the value
        of the step that comes before in sampling, from `before` to t, takes its place (the paper's step 2).

        Args:
            t, s: the times, () or (B,).
            share: (B, ...) for one share per dimension, or a number for all.
            before: the chain's time above t, which matters where s = 0; by default 2 t, or 1 if that is less.

        Returns:
            For a number the times' shape, float64; otherwise share's shape and dtype.
        """
        t, s = as_times(t), as_times(s)
        large = self.transition(t, s)[1].log()
        one = torch.ones((), dtype=torch.float64)
        above = (2 * t).clamp(max=one) if before is None else before
        low, high = torch.where(s > 0, s, t), torch.where(s > 0, t, above)
        small = self.posterior_weights(high, torch.where(low < high, low, high / 2))[2].log()
        if isinstance(share, float):
            return share * large + (1 - share) * small
        return share * like(large, share) + (1 - share) * like(small, share)

    def posterior(self, x_t: Batch, x_0: Batch, t: Time, s: Time) -> tuple[Batch, PerSample64]:
        """Return the mean (of x_t's shape) and the variance (of t's shape) of q(x_s | x_t, x_0)."""
        w_t, w_0, variance = self.posterior_weights(t, s)
        return like(w_t, x_t) * x_t + like(w_0, x_t) * x_0, variance


def _transition(alpha_t: Tensor, sigma_t: Tensor, alpha_s: Tensor, sigma_s: Tensor) -> tuple[Tensor, Tensor]:
    gap = 2 * (alpha_t.log() - sigma_t.log()) - 2 * (
        alpha_s.log() - sigma_s.log()
    )  # of log-SNRs; at s = 0 they are inf
    return alpha_t / alpha_s, sigma_t**2 * -torch.expm1(gap)


def eps_from_x0(x_t: Batch, x_0: Batch, alpha: PerSample, sigma: PerSample) -> Batch:
    """Return the noise in x_t given x_0."""
    return (x_t - like(alpha, x_t) * x_0) / like(sigma, x_t)


def x0_from_eps(x_t: Batch, eps: Batch, alpha: PerSample, sigma: PerSample) -> Batch:
    """Return x_0 given the noise in x_t.  [Ho et al. 2020, text before eq. 8]"""
    return (x_t - like(sigma, x_t) * eps) / like(alpha, x_t)


def v_from_x0(x_t: Batch, x_0: Batch, alpha: PerSample, sigma: PerSample) -> Batch:
    """Return v = alpha eps - sigma x_0.  [Salimans & Ho 2022, appendix D]"""
    return like(alpha, x_t) * eps_from_x0(x_t, x_0, alpha, sigma) - like(sigma, x_t) * x_0


def x0_from_v(x_t: Batch, v: Batch, alpha: PerSample, sigma: PerSample) -> Batch:
    """Return x_0 = (alpha x_t - sigma v) / (alpha^2 + sigma^2), for any schedule."""
    return (like(alpha, x_t) * x_t - like(sigma, x_t) * v) / like(alpha**2 + sigma**2, x_t)


def score_from_x0(x_t: Batch, x_0: Batch, alpha: PerSample, sigma: PerSample) -> Batch:
    """Return the score of q(x_t) at x_t when x_0 is E[x_0 | x_t]: (alpha x_0 - x_t) / sigma^2 (Tweedie)."""
    return (like(alpha, x_t) * x_0 - x_t) / like(sigma**2, x_t)


def x0_from_score(x_t: Batch, score: Batch, alpha: PerSample, sigma: PerSample) -> Batch:
    """Return E[x_0 | x_t] = (x_t + sigma^2 score) / alpha (Tweedie)."""
    return (x_t + like(sigma**2, x_t) * score) / like(alpha, x_t)
