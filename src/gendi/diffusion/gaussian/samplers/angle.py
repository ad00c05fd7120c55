"""The angle between data and noise: the variable in which a Gaussian world of known width is a straight line.

For data of root mean square s, in y = x / alpha and the level l = sigma / alpha = s tan(theta),

    u = cos(theta) y                      has root mean square s at every theta,
    x0_hat = cos(theta)^2 y + sin(theta)^2 mu       defines mu: for x_0 ~ N(m, s^2 I) it is m, whatever y and theta,
    du / dcos(theta) = mu                 is the probability-flow ODE, from cos(theta) = 0 (noise) to 1 (data).

In EDM's parameterisation x0_hat = c_skip y + c_out F of the same width, c_skip = cos^2 and c_out = s sin(theta); so
sin(theta) mu = s F, and du / dtheta = -s F with an F of unit size.  [Karras et al. 2022, table 1; Lu & Song 2025]
"""

import math
from collections.abc import Iterator

from torch import Tensor

from gendi.diffusion.gaussian.denoiser import Denoiser
from gendi.diffusion.gaussian.process import PerSample64, like
from gendi.diffusion.gaussian.samplers.state import Noise, State, pairs
from gendi.diffusion.gaussian.schedule import Schedule
from gendi.errors import UsageError


def check_spread(spread: float) -> None:
    """Raise `UsageError` unless `spread`, the data's root mean square, is positive and finite."""
    if not 0 < spread < math.inf:
        raise UsageError(f"spread = {spread:g} is out of range: the root mean square of the data is above 0.")


def angle(schedule: Schedule, t: Tensor, spread: float) -> tuple[PerSample64, PerSample64, PerSample64]:
    """Return cos(theta), sin(theta) at `t`, and the factor u / x = cos(theta) / alpha; float64 of t's shape."""
    alpha, sigma = schedule(t)
    norm = ((alpha * spread) ** 2 + sigma**2).sqrt()
    return alpha * spread / norm, sigma / norm, spread / norm


def mean_of(u: Tensor, x_0: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Return mu, of u's shape, from x0_hat; sin(theta) must be above 0."""
    return like(1 / sin**2, u) * x_0 - like(cos / sin**2, u) * u


def angular(denoiser: Denoiser, x: Tensor, times: Tensor, noise: Noise, *, spread: float = 1.0) -> Iterator[State]:
    """Sample by two-step Adams-Bashforth in cos(theta), which on any grid is exact for data N(m, spread^2 I).

        u_s = u_t + (c_s - c_t) (mu_t + (mu_t - mu_before) (c_s - c_t) / (2 (c_t - c_before))),      c = cos(theta).

    As the spread goes to 0 the first step becomes DDIM. The last step, to s = 0, is of first order, and does not return
    x0_hat as the last step of other samplers does. Raises `UsageError` for a spread that is not above 0.
    """
    check_spread(spread)
    before: tuple[Tensor, Tensor] | None = None
    for t, s in pairs(times):
        (cos, sin, scale), (cos_s, _, scale_s) = (angle(denoiser.schedule, at, spread) for at in (t, s))
        x_0 = denoiser(x, t)
        u = like(scale, x) * x
        mu = estimate = mean_of(u, x_0, cos, sin)
        if before is not None and s > 0:
            estimate = mu + like((cos_s - cos) / (2 * (cos - before[0])), x) * (mu - before[1])
        x = like(1 / scale_s, x) * (u + like(cos_s - cos, x) * estimate)
        before = cos, mu
        yield State(t, s, x, x_0)
