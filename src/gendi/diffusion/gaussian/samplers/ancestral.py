"""Ancestral sampling: draw x_s from p(x_s | x_t), which is the posterior of q with x0_hat in the place of x_0."""

from collections.abc import Iterator

import torch
from torch import Tensor

from gendi.diffusion.gaussian.denoiser import Denoiser, LearnedVariance
from gendi.diffusion.gaussian.process import Process, like
from gendi.diffusion.gaussian.samplers.analytic import Moments, optimal_variance
from gendi.diffusion.gaussian.samplers.state import Noise, State, pairs
from gendi.errors import UsageError, unknown_name

VARIANCES = ("small", "large", "learned", "analytic")


def ancestral(
    denoiser: Denoiser,
    x: Tensor,
    times: Tensor,
    noise: Noise,
    *,
    variance: str = "small",
    moments: Moments | None = None,
) -> Iterator[State]:
    """Sample by Algorithm 2, over any decreasing times.  [Ho et al. 2020, algorithm 2 and section 3.2]

    The variance is one of

        small      the posterior's variance (beta-tilde), the best for a single point x_0
        large      the variance of q(x_t | x_s) (beta), the best for x_0 ~ N(0, I)
        learned    a value between them that the denoiser predicts         [Nichol & Dhariwal 2021, eq. 15]
        analytic   the best for the data, by `moments`, which may know directions    [Bao et al. 2022, theorem 1]

    The last step, to s = 0, adds no noise. Raises `UsageError` for an unknown variance, for `learned` if the denoiser
    learned none, and for `analytic` without `moments`.
    """
    if variance not in VARIANCES:
        raise unknown_name("variance", variance, VARIANCES)
    if variance == "learned" and not isinstance(denoiser, LearnedVariance):
        raise UsageError("variance = 'learned' needs a denoiser that learned one; this one knows E[x_0 | x_t] alone.")
    if variance == "analytic" and moments is None:
        raise UsageError("variance = 'analytic' needs moments = estimate_moments(denoiser, x_0, times), from data x_0.")
    process, share = Process(denoiser.schedule), None
    for k, (t, s) in enumerate(pairs(times)):
        if variance == "learned" and isinstance(denoiser, LearnedVariance):
            x_0, share = denoiser.predict(x, t)
        else:
            x_0 = denoiser(x, t)
        x, posterior_variance = process.posterior(x, x_0, t, s)
        if s > 0:
            if share is not None:
                x = x + torch.exp(process.reverse_log_variance(t, s, share) / 2) * noise(k)
            elif moments is not None and variance == "analytic":
                x = x + moments.spread_out(noise(k), optimal_variance(process, t, s, moments(t)).sqrt())
            else:
                spread = posterior_variance if variance == "small" else process.transition(t, s)[1]
                x = x + like(torch.sqrt(spread), x) * noise(k)
        yield State(t, s, x, x_0)
