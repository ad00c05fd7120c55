"""Euler-Maruyama: the textbook scheme for the reverse SDE, in t itself."""

from collections.abc import Iterator

from torch import Tensor

from gendi.diffusion.gaussian.denoiser import Denoiser
from gendi.diffusion.gaussian.process import like, score_from_x0
from gendi.diffusion.gaussian.samplers.state import Noise, State, pairs


def euler_maruyama(denoiser: Denoiser, x: Tensor, times: Tensor, noise: Noise) -> Iterator[State]:
    """Sample by the Euler-Maruyama method, one call a step.  [Song et al. 2021 (SDE), eq. 6]

        x_s = x_t - (t - s) (f x_t - g^2 score) + g sqrt(t - s) noise,      dx = f x dt + g dw the forward SDE

    The strong order is 1, since the factor of the noise does not depend on x. The step to s = 0, where the score is
    infinite, returns x0_hat. Steps over which ln SNR grows by more than 2 are unstable (by more than 4 where there is
    only noise). The first step of the cosine curve always is, but later steps make up for a single one.
    """
    schedule = denoiser.schedule
    for k, (t, s) in enumerate(pairs(times)):
        x_0 = denoiser(x, t)
        if s > 0:
            f, g2 = schedule.rates(t)
            drift = like(f, x) * x - like(g2, x) * score_from_x0(x, x_0, *schedule(t))
            x = x - like(t - s, x) * drift + like((g2 * (t - s)).sqrt(), x) * noise(k)
        else:
            x = x_0
        yield State(t, s, x, x_0)
