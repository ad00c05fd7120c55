"""The probability-flow ODE in its usual form, in t, solved by Euler's method."""

from collections.abc import Iterator

from torch import Tensor

from gendi.diffusion.gaussian.denoiser import Denoiser
from gendi.diffusion.gaussian.process import like
from gendi.diffusion.gaussian.samplers.state import Noise, State, pairs


def euler(denoiser: Denoiser, x: Tensor, times: Tensor, noise: Noise) -> Iterator[State]:
    """Sample by Euler's method in t.  [Song et al. 2021, eq. 13]

        x_s = x_t + (s - t) (f x_t - g^2 / 2 score),    score = (alpha x0_hat - x_t) / sigma^2

    f and g^2 are those of `Schedule.rates`. Euler's method in the level sigma / alpha would be DDIM; for the straight
    path of rectified flow this one is DDIM too. The last step, to s = 0, returns x0_hat.
    """
    schedule = denoiser.schedule
    for t, s in pairs(times):
        x_0 = denoiser(x, t)
        if s > 0:
            (alpha, sigma), (f, g2) = schedule(t), schedule.rates(t)
            pull = g2 / (2 * sigma**2)
            x = like(1 + (s - t) * (f + pull), x) * x - like((s - t) * pull * alpha, x) * x_0
        else:
            x = x_0
        yield State(t, s, x, x_0)
