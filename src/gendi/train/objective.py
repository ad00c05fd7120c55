"""What is minimised: noise levels drawn, targets formed, errors weighed.

The loss is the mean over dimensions of w(t) c_out^2 |F - F*|^2 = w(t) |x_0 - x0_hat|^2, where F* is the network output
that would be right (gendi.denoiser) and w(t) the weight of the squared x_0 error:

    simple     alpha^2 / sigma^2                                  the eps error, unit weight  [Ho et al. 2020, eq. 14]
    min-snr    min(alpha^2 / sigma^2, gamma)                      [Hang et al. 2023, section 3.4]
    edm        (sigma^2 + alpha^2 s^2) / (sigma^2 s^2)            unit weight on EDM's F  [Karras et al. 2022, eq. 8]
    uniform    1 / c_out^2                                        unit weight on whatever F is
"""

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from gendi.config import ObjectiveConfig
from gendi.denoiser import NetworkDenoiser
from gendi.errors import unknown_name
from gendi.process import Batch, like
from gendi.randomness import stream
from gendi.schedule import Schedule

WEIGHTINGS = ("simple", "min-snr", "edm", "uniform")


def draw_times(
    config: ObjectiveConfig, schedule: Schedule, batch: int, seed: int, step: int
) -> Float64[Tensor, " batch"]:
    """Return the times (batch,), float64, of training step `step`.

    `discrete` is Algorithm 1 to the letter: independent, uniform on 1/T, ..., T/T. The continuous ones are stratified:
    one draw in each of `batch` equal slices of probability, in random order, so a batch covers the noise levels evenly.
    [low-discrepancy times: Kingma et al. 2021, appendix I.1]
    """
    rng = stream(seed, "time", step)
    if config.time_sampling == "discrete":
        assert schedule.steps is not None  # the configuration was validated
        return torch.from_numpy(rng.integers(1, schedule.steps + 1, batch)).double() / schedule.steps
    share = torch.from_numpy((rng.permutation(batch) + rng.random(batch)) / batch)
    if config.time_sampling == "uniform":
        return share.clamp(min=1e-5)
    quantile = torch.special.ndtri(share.clamp(1e-9, 1 - 1e-9))
    return schedule.time(-2 * (config.log_sigma_mean + config.log_sigma_std * quantile)).clamp(min=1e-7)


def loss_weight(config: ObjectiveConfig, alpha: Tensor, sigma: Tensor, sigma_data: float, c_out: Tensor) -> Tensor:
    """Return w(t) of the squared x_0 error. Raises `UsageError` for an unknown weighting."""
    snr = (alpha / sigma) ** 2
    match config.weighting:
        case "simple":
            return snr
        case "min-snr":
            return snr.clamp(max=config.min_snr_gamma)
        case "edm":
            return snr / sigma_data**2 * (sigma**2 + (alpha * sigma_data) ** 2) / alpha**2
        case "uniform":
            return 1 / c_out**2
    raise unknown_name("weighting", config.weighting, WEIGHTINGS)


def denoising_loss(
    denoiser: NetworkDenoiser,
    x_0: Batch,
    t: Float64[Tensor, " batch"],
    eps: Batch,
    labels: Int64[Tensor, " batch"] | None = None,
) -> Float[Tensor, " batch"]:
    """Return the loss of each sample, (B,) float32, for clean x_0 (B, ...), times (B,) and noise of x_0's shape."""
    alpha, sigma = denoiser.schedule(t)
    c = denoiser.coefficients(alpha, sigma)
    x_t = like(alpha, x_0) * x_0 + like(sigma, x_0) * eps
    error = denoiser.raw(x_t, t, c.c_in, labels) - c.target(x_0, eps, alpha, sigma)
    weight = loss_weight(denoiser.objective, alpha, sigma, denoiser.sigma_data, c.c_out) * c.c_out**2
    return weight.to(error) * error.square().flatten(1).mean(1)


def batch_indices(n: int, batch: int, seed: int, step: int) -> np.ndarray:
    """Return the data indices (batch,) of training step `step` (0-based): epochs of keyed permutations, laid end to
    end.
    """
    first = step * batch
    epochs = range(first // n, (first + batch - 1) // n + 1)
    order = np.concatenate([stream(seed, "order", epoch).permutation(n) for epoch in epochs])
    start = first - epochs[0] * n
    return order[start : start + batch]
