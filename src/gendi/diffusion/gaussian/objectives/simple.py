"""What is minimised: targets formed, errors weighed.

    simple    mean over dimensions of w(t) c_out^2 |F - F*|^2 = w(t) |x_0 - x0_hat|^2
    vlb       T L_t, one of the T terms of the bound (`bound.py`)          [Ho et al. 2020, eq. 5]
    hybrid    simple + vlb_weight T L_t, in which L_t trains the variance alone     [Nichol & Dhariwal 2021, eq. 16]

F* is the network output that would be right (`gendi.diffusion.gaussian.denoiser`), w(t) the weight of the squared x_0
error:

    simple     alpha^2 / sigma^2                                  the eps error, unit weight  [Ho et al. 2020, eq. 14]
    min-snr    min(alpha^2 / sigma^2, gamma)                      [Hang et al. 2023, section 3.4]
    edm        (sigma^2 + alpha^2 s^2) / (sigma^2 s^2)            unit weight on EDM's F  [Karras et al. 2022, eq. 8]
    uniform    1 / c_out^2                                        unit weight on whatever F is
    bound      alpha^2 / sigma^2 |d log SNR / dt| / 2             the bound, t uniform  [Kingma et al. 2021, eq. 17]
"""

from jaxtyping import Float, Float64
from torch import Tensor

from gendi.diffusion.conditions import Conditions
from gendi.diffusion.gaussian.config import ObjectiveConfig
from gendi.diffusion.gaussian.denoiser import Coefficients, NetworkDenoiser
from gendi.diffusion.gaussian.objectives.bound import bound_term
from gendi.diffusion.gaussian.process import Batch, like
from gendi.errors import UsageError, unknown_name

WEIGHTINGS = ("simple", "min-snr", "edm", "uniform", "bound")
LOSSES = ("simple", "vlb", "hybrid")


def loss_weight(
    config: ObjectiveConfig,
    alpha: Tensor,
    sigma: Tensor,
    sigma_data: float,
    c_out: Tensor,
    g2: Tensor | None = None,
) -> Tensor:
    """Return w(t) of the squared x_0 error; `bound` needs the schedule's g^2 = sigma^2 |d log SNR / dt|.

    Raises `UsageError` for an unknown weighting, or `bound` without `g2`.
    """
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
        case "bound":
            if g2 is None:
                raise UsageError("weighting = 'bound' needs the schedule's rate g2.")
            return snr * g2 / sigma**2 / 2
    raise unknown_name("weighting", config.weighting, WEIGHTINGS)


def denoising_loss(
    denoiser: NetworkDenoiser,
    x_0: Batch,
    t: Float64[Tensor, " batch"],
    eps: Batch,
    cond: Conditions | None = None,
    half_bin: float | None = None,
) -> Float[Tensor, " batch"]:
    """Return the loss of each sample, (B,) float32, in one network call.

    Args:
        x_0: clean data (B, ...); t: times (B,), steps of the chain for the bound; eps: noise of x_0's shape.
        cond: conditions by name, a row per sample.
        half_bin: half the distance of neighbouring values of x_0 (the codec's), for the bound's first step; None takes
            x_0 as continuous.
    """
    objective = denoiser.objective
    alpha, sigma = denoiser.schedule(t)
    c = denoiser.coefficients(t)
    x_t = like(alpha, x_0) * x_0 + like(sigma, x_0) * eps
    out, share = denoiser.raw(x_t, t, c.c_in, **(cond or {}))
    error = out - c.target(x_0, eps, alpha, sigma)
    match objective.loss:
        case "simple":
            return _weighted(denoiser, error, t, alpha, sigma, c)
        case "vlb":
            return bound_term(denoiser, x_0, t, error, c, share, half_bin)
        case "hybrid":
            bound = bound_term(denoiser, x_0, t, error.detach(), c, share, half_bin)
            return _weighted(denoiser, error, t, alpha, sigma, c) + objective.vlb_weight * bound
    raise unknown_name("loss", objective.loss, LOSSES)


def _weighted(
    denoiser: NetworkDenoiser, error: Batch, t: Tensor, alpha: Tensor, sigma: Tensor, c: Coefficients
) -> Float[Tensor, " batch"]:
    g2 = denoiser.schedule.rates(t)[1] if denoiser.objective.weighting == "bound" else None
    weight = loss_weight(denoiser.objective, alpha, sigma, denoiser.sigma_data, c.c_out, g2) * c.c_out**2
    return weight.to(error) * error.square().flatten(1).mean(1)
