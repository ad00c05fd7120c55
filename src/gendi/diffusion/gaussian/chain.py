"""The chain as a whole: the densities of its paths, from which the bound is derived.

A path is x_1, ..., x_T, drawn from q given x_0 (or at any increasing times 0 = t_0 < t_1 < ... < t_T = 1):

    q(x_1..x_T | x_0)  = product over i of q(x_i | x_{i-1})                             [GENDI report, eq. 28]
    p(x_0..x_T)        = p(x_T) product over i of p(x_{i-1} | x_i)                      [Ho et al. 2020, eq. 1]
    log p(x_0)         = log E_q[p(x_0..x_T) / q(x_1..x_T | x_0)]                       [GENDI report, eq. 16]
                       >= E_q[log p(x_0..x_T) - log q(x_1..x_T | x_0)]                  (Jensen: the bound)

Nobody needs these functions to train or to sample: `variational_bound` computes the same bound from one call of the
denoiser per term. They are here so that each line of its derivation can be computed, path by path.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float64
from torch import Tensor

from gendi.diffusion.gaussian.denoiser import Denoiser
from gendi.diffusion.gaussian.likelihood.terms import gaussian_log_density
from gendi.diffusion.gaussian.process import Batch, PerSample64, Process, Time, like
from gendi.diffusion.gaussian.samplers.state import Noise
from gendi.diffusion.gaussian.schedule import Schedule, as_times
from gendi.diffusion.gaussian.sde import simulate_chain
from gendi.errors import UsageError

Times = Float64[Tensor, " steps_plus_1"]
Path = list[Tensor]
"""x_1, ..., x_T, each (B, ...)."""


def draw_path(schedule: Schedule, x_0: Batch, times: Times, noise: Noise) -> Path:
    """Return a path x_1, ..., x_T of the forward process from x_0 at times[0] = 0, one state per later time."""
    return [x for _, x in simulate_chain(schedule, x_0, times, noise)]


def log_q_path(schedule: Schedule, x_0: Batch, path: Path, times: Times) -> Float64[Tensor, " batch"]:
    """Return log q(x_1..x_T | x_0) of each row, (B,) nats: the sum over the steps of the chain."""
    process, before, total = Process(schedule), x_0.double(), torch.zeros(len(x_0), dtype=torch.float64)
    for x, s, t in zip(path, times[:-1], times[1:], strict=True):
        factor, variance = process.transition(t, s)
        total = total + _log_normal(x, like(factor, before) * before, variance.log())
        before = x.double()
    return total


def log_p_path(
    denoiser: Denoiser, x_0: Batch, path: Path, times: Times, variance: str = "small"
) -> Float64[Tensor, " batch"]:
    """Return log p(x_0..x_T) of each row, (B,) nats: log p(x_T), and one term for every step of the reverse process."""
    total = log_prior(denoiser.schedule, path[-1])
    for i in range(len(path), 0, -1):
        total = total + log_p_step(denoiser, path[i - 1], _state(x_0, path, i - 1), times, i, variance)
    return total


def log_prior(schedule: Schedule, x_1: Batch) -> Float64[Tensor, " batch"]:
    """Return log p(x_T) = log N(x_T; 0, sigma_T^2) of each row, (B,) nats."""
    sigma = schedule(1.0)[1]
    return _log_normal(x_1, torch.zeros_like(x_1, dtype=torch.float64), 2 * sigma.log())


def log_p_step(
    denoiser: Denoiser, x_t: Batch, x_s: Batch, times: Times, i: int, variance: str = "small"
) -> Float64[Tensor, " batch"]:
    """Return log p(x_s | x_t) of the step from times[i] to times[i - 1], (B,) nats.

    The mean is that of the posterior with the denoiser's answer for x_0, and the variance is `small` or `large`. The
    step to data, whose posterior has no variance, has the value of the step before it, as in `variational_bound`.
    Raises `UsageError` for another variance.
    """
    if variance not in ("small", "large"):
        raise UsageError(f"variance = {variance!r}: a path has densities for 'small' and for 'large'.")
    process, t, s = Process(denoiser.schedule), times[i], times[i - 1]
    mean, _ = process.posterior(x_t.double(), denoiser(x_t, t).double(), t, s)
    before = times[i + 1] if i + 1 < len(times) else None
    share = 1.0 if variance == "large" and i > 1 else 0.0
    return _log_normal(x_s, mean, process.reverse_log_variance(t, s, share, before))


@dataclass(frozen=True)
class PathTerms:
    """What a path costs, grouped as in the bound; nats of each row. The sum of all is log q(path | x_0) - log p(x_0,
    path), whatever the path: only their means are divergences."""

    prior: Float64[Tensor, " batch"]
    """log q(x_T | x_0) - log p(x_T)."""
    steps: Float64[Tensor, "steps_minus_1 batch"]
    """log q(x_{t-1} | x_t, x_0) - log p(x_{t-1} | x_t), for t = 2, ..., T."""
    decoder: Float64[Tensor, " batch"]
    """-log p(x_0 | x_1)."""

    @property
    def total(self) -> Float64[Tensor, " batch"]:
        """The sum of all terms."""
        return self.prior + self.steps.sum(0) + self.decoder


def path_terms(denoiser: Denoiser, x_0: Batch, path: Path, times: Times, variance: str = "small") -> PathTerms:
    """Return the terms of a path after Bayes' rule and the telescoping sum.  [GENDI report, eqs. 34 to 47]"""
    process, last = Process(denoiser.schedule), path[-1]
    alpha, sigma = denoiser.schedule(times[-1])
    marginal = _log_normal(last, like(alpha, x_0.double()) * x_0.double(), 2 * sigma.log())
    steps = []
    for i in range(2, len(path) + 1):
        x_t, x_s = path[i - 1], path[i - 2]
        mean, spread = process.posterior(x_t.double(), x_0.double(), times[i], times[i - 1])
        ours = _log_normal(x_s, mean, spread.log())
        steps.append(ours - log_p_step(denoiser, x_t, x_s, times, i, variance))
    return PathTerms(
        marginal - log_prior(denoiser.schedule, last),
        torch.stack(steps) if steps else torch.zeros(0, len(x_0), dtype=torch.float64),
        -log_p_step(denoiser, path[0], x_0, times, 1, variance),
    )


def log_likelihood(costs: Float64[Tensor, "draws batch"]) -> Float64[Tensor, " batch"]:
    """Return the estimate of log p(x_0) from the costs log q - log p of several paths of each row.

    It is log mean exp(-cost), the logarithm of an unbiased estimate of p(x_0), so on average it lies below log p(x_0)
    and above the bound, mean(-cost).  [GENDI report, eqs. 14 to 19]
    """
    return torch.logsumexp(-costs, 0) - math.log(len(costs))


def product_of_gaussians(
    mean_1: Tensor, variance_1: Tensor, mean_2: Tensor, variance_2: Tensor
) -> tuple[Tensor, Tensor]:
    """Return mean and variance of the Gaussian that N(mean_1, variance_1) N(mean_2, variance_2) is proportional to.

    Precisions add, and the mean weighs the two means by them.  [GENDI report, eqs. 56 and 57]
    """
    variance = 1 / (1 / variance_1 + 1 / variance_2)
    return variance * (mean_1 / variance_1 + mean_2 / variance_2), variance


def mean_from_eps(schedule: Schedule, x_t: Batch, eps: Batch, t: Time, s: Time) -> Batch:
    """Return the mean of q(x_s | x_t, x_0) from the noise in x_t instead of x_0, for a variance-preserving schedule.

        (x_t - (1 - alpha_t) / sqrt(1 - abar_t) eps) / sqrt(alpha_t)                    [Ho et al. 2020, eqs. 10, 11]

    Here alpha_t is that of the step from s to t. The GENDI report drops the factor 1 / sqrt(alpha_t).
    """
    factor, variance = Process(schedule).transition(t, s)
    sigma = schedule(as_times(t))[1]
    return (x_t - like(variance / sigma, x_t) * eps) / like(factor, x_t)


def noise_weight(schedule: Schedule, t: Time, s: Time, variance: str = "small") -> PerSample64:
    """Return the weight of |eps - eps_hat|^2 in the term of the bound for the step from t to s > 0.

        (1 - alpha_t)^2 / (2 variance alpha_t (1 - abar_t))                             [Ho et al. 2020, eq. 12]

    The variance is `small`, beta-tilde, or `large`, beta.
    """
    process = Process(schedule)
    factor, beta = process.transition(t, s)
    spread = beta if variance == "large" else process.posterior_weights(t, s)[2]
    return beta**2 / (2 * spread * factor**2 * schedule(as_times(t))[1] ** 2)


def _state(x_0: Tensor, path: Path, i: int) -> Tensor:
    return x_0 if i == 0 else path[i - 1]


def _log_normal(x: Tensor, mean: Tensor, log_variance: Tensor) -> Float64[Tensor, " batch"]:
    log_std = like(log_variance / 2, x.double())
    return gaussian_log_density(x.double(), mean, log_std).flatten(1).sum(1)
