"""One term of the variational bound as a loss.

    L_t = KL(q(x_s | x_t, x_0) || p(x_s | x_t)),  s = t - 1/T > 0;      L_1 = -log p(x_0 | x_1)  [Ho et al. 2020, eq. 5]

in nats per dimension. The means of the Gaussians are w_t x_t + w_0 x_0 and w_t x_t + w_0 x0_hat. Only their difference

    w_0 (x_0 - x0_hat) = -w_0 c_out (F - F*)

is computed, so no large terms cancel. The variances are beta-tilde and the variance of the model, which is `small`,
`large` or learned. If t is uniform on the T steps, the mean of T L_t is the bound without the term of the prior, which
has no gradient.
"""

import math

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from gendi.diffusion.gaussian.denoiser import Coefficients, NetworkDenoiser, step_before
from gendi.diffusion.gaussian.likelihood.terms import discretised_log_likelihood, gaussian_kl
from gendi.diffusion.gaussian.process import Batch, Process, like


def bound_term(
    denoiser: NetworkDenoiser,
    x_0: Batch,
    t: Float64[Tensor, " batch"],
    error: Batch,
    c: Coefficients,
    share: Batch | None,
    half_bin: float | None,
    large: bool = False,
) -> Float[Tensor, " batch"]:
    """Return T L_t of each sample, (B,) nats per dimension.

    Args:
        denoiser: the denoiser that is trained.
        x_0: clean data (B, ...).
        t: times (B,), each a step i / T of the schedule's chain.
        error: F - F* of the network's output, of x_0's shape.
        c: the coefficients at t.
        share: the network's output for the learned variance, of x_0's shape; None if the variance is fixed.
        half_bin: half a bin of the decoder of discretised data; None if data have a density.
        large: whether a fixed variance is beta; otherwise it is beta-tilde.
    """
    steps = denoiser.schedule.steps
    assert steps is not None  # the configuration was validated
    s = step_before(denoiser.schedule, t)
    process = Process(denoiser.schedule)
    _, w_0, variance = process.posterior_weights(t, s)
    log_variance = _log_variance(process, t, s, share, x_0, large)
    first, later = (torch.nonzero(rows).flatten().to(x_0.device) for rows in (s == 0, s > 0))
    gap = like(w_0 * c.c_out, x_0) * error
    kl = gaussian_kl(gap[later], like(variance, x_0)[later].log(), torch.zeros_like(gap[later]), log_variance[later])
    mean = x_0 + like(c.c_out, x_0) * error
    decoder = -_log_likelihood(x_0[first], mean[first], log_variance[first] / 2, half_bin)
    nats = torch.cat([kl, decoder.to(kl)]).flatten(1).mean(1)
    return steps * nats[torch.cat([later, first]).argsort()]


def _log_variance(process: Process, t: Tensor, s: Tensor, share: Batch | None, x_0: Batch, large: bool) -> Batch:
    """Return the log variance of p(x_s | x_t), of x_0's shape. At the first step, `large` uses the value of `small`."""
    if share is None:
        share = like((s > 0).to(x_0.dtype) * large, x_0).expand_as(x_0)
    return process.reverse_log_variance(t, s, share)


def _log_likelihood(x_0: Batch, mean: Batch, log_std: Batch, half_bin: float | None) -> Batch:
    if half_bin is not None:  # float64, because the logarithms of the tails are differences of squares
        return discretised_log_likelihood(x_0.double(), mean.double(), log_std.double(), half_bin)
    return -0.5 * (((x_0 - mean) / log_std.exp()) ** 2 + math.log(2 * math.pi)) - log_std
