"""The weightings w(t) of the squared error of x_0, by name: how much each noise level counts.

    simple     alpha^2 / sigma^2                                  unit weight on eps  [Ho et al. 2020, eq. 14]
    min-snr    min(alpha^2 / sigma^2, gamma)                      [Hang et al. 2023, section 3.4]
    edm        (sigma^2 + alpha^2 s^2) / (sigma^2 s^2)            unit weight on EDM's F  [Karras et al. 2022, eq. 8]
    uniform    1 / c_out^2                                        unit weight on the network's output F
    bound      alpha^2 / sigma^2 |d log SNR / dt| / 2             the bound, t uniform  [Kingma et al. 2021, eq. 17]

A weighting is a function of the noise levels of some rows and of the objective's options.
"""

from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Float64
from torch import Tensor

from gendi.diffusion.gaussian.config import ObjectiveConfig
from gendi.diffusion.gaussian.schedule import Schedule


@dataclass(frozen=True)
class Levels:
    """The noise levels of some rows: times t, alpha and sigma at t, and the denoiser's c_out, each (B,)."""

    t: Float64[Tensor, " batch"]
    alpha: Float64[Tensor, " batch"]
    sigma: Float64[Tensor, " batch"]
    c_out: Float64[Tensor, " batch"]
    schedule: Schedule
    sigma_data: float
    """Root mean square of the encoded training data."""

    @property
    def snr(self) -> Float64[Tensor, " batch"]:
        """alpha^2 / sigma^2."""
        return (self.alpha / self.sigma) ** 2


Weighting = Callable[[Levels, ObjectiveConfig], Tensor]


def simple(at: Levels, options: ObjectiveConfig) -> Float64[Tensor, " batch"]:
    """Return the weight that makes this the squared error of eps."""
    return at.snr


def min_snr(at: Levels, options: ObjectiveConfig) -> Float64[Tensor, " batch"]:
    """Return the weight of `simple`, but at most gamma."""
    return at.snr.clamp(max=options.min_snr_gamma)


def edm(at: Levels, options: ObjectiveConfig) -> Float64[Tensor, " batch"]:
    """Return the weight that makes this the squared error of the output of EDM's network."""
    s = at.sigma_data
    return at.snr / s**2 * (at.sigma**2 + (at.alpha * s) ** 2) / at.alpha**2


def uniform(at: Levels, options: ObjectiveConfig) -> Float64[Tensor, " batch"]:
    """Return the weight that makes this the squared error of this network's output."""
    return 1 / at.c_out**2


def bound(at: Levels, options: ObjectiveConfig) -> Float64[Tensor, " batch"]:
    """Return the weight of the bound in continuous time; g^2 = sigma^2 |d log SNR / dt| is the schedule's rate."""
    g2 = at.schedule.rates(at.t)[1]
    return at.snr * g2 / at.sigma**2 / 2
