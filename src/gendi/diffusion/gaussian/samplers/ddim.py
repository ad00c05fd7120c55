"""DDIM: move along the predicted noise, and replace the share of it that eta sets by fresh noise."""

from collections.abc import Iterator

from torch import Tensor

from gendi.diffusion.gaussian.denoiser import Denoiser
from gendi.diffusion.gaussian.process import Process, eps_from_x0, like
from gendi.diffusion.gaussian.samplers.state import Noise, State, pairs
from gendi.errors import UsageError


def ddim(denoiser: Denoiser, x: Tensor, times: Tensor, noise: Noise, *, eta: float = 0.0) -> Iterator[State]:
    """Sample by DDIM, over any decreasing times.  [Song et al. 2021 (DDIM), eqs. 12, 16]

        x_s = alpha_s x0_hat + sqrt(sigma_s^2 - var) eps_hat + sqrt(var) noise

    var is eta^2 times the posterior's variance: eta = 0 is deterministic, and eta = 1 is ancestral sampling with
    `small` variance. Raises `UsageError` unless 0 <= eta <= 1.
    """
    if not 0 <= eta <= 1:
        raise UsageError(f"eta = {eta:g} is out of range: 0 (deterministic) to 1 (ancestral).")
    process, schedule = Process(denoiser.schedule), denoiser.schedule
    for k, (t, s) in enumerate(pairs(times)):
        (alpha_t, sigma_t), (alpha_s, sigma_s) = schedule(t), schedule(s)
        x_0 = denoiser(x, t)
        eps = eps_from_x0(x, x_0, alpha_t, sigma_t)
        variance = eta**2 * process.posterior_weights(t, s)[2]
        x = like(alpha_s, x) * x_0 + like((sigma_s**2 - variance).clamp(min=0).sqrt(), x) * eps
        if eta > 0 and s > 0:
            x = x + like(variance.sqrt(), x) * noise(k)
        yield State(t, s, x, x_0)
