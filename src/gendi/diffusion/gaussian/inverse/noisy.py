"""Sampling that starts from a noisy picture: variations of a clean picture, and the denoising of a noisy one.

    vary       adds noise, x_t = alpha x_0 + sigma eps, and samples from there down          [Meng et al. 2022 (SDEdit)]
    denoise    y = x_0 + s n is x_t / alpha at the t where sigma / alpha = s, so E[x_0 | y] is the denoiser's own answer
               there, and sampling from there draws from q(x_0 | y)

`estimate_noise` finds s from the diagonal Haar details of 2 x 2 blocks, of which a smooth picture has few:

    h = (a - b - c + d) / 2                                                        [Donoho & Johnstone 1994]

Of noise alone they are N(0, s^2). The median of |h| ignores the few blocks that contain an edge; divided by 0.6745, the
median of |N(0, 1)|, it is s.
"""

from collections.abc import Callable, Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from gendi.diffusion.batches import indices
from gendi.diffusion.conditions import Conditions, take
from gendi.diffusion.gaussian.conditioned import conditioned
from gendi.diffusion.gaussian.denoiser import Denoiser
from gendi.diffusion.gaussian.inverse.latent import on_chain
from gendi.diffusion.gaussian.process import Batch
from gendi.diffusion.gaussian.samplers.draw import Start, draw, trajectory
from gendi.diffusion.gaussian.samplers.drawing import Drawing
from gendi.diffusion.gaussian.samplers.state import State
from gendi.diffusion.gaussian.schedule.levels import noise_time
from gendi.errors import UsageError
from gendi.machine.stopping import Poll

MEDIAN = 0.6744897501960817
"""The median of |N(0, 1)|, which is the 0.75 quantile of N(0, 1)."""
BATCH = 64


def vary(
    denoiser: Denoiser,
    x_0: Batch,
    strength: float,
    how: Drawing,
    cond: Conditions | None = None,
    poll: Poll | None = None,
) -> Float[Tensor, " n *shape"]:
    """Return a variation of each of x_0 (n, ...): noise up to t = `strength`, and sampling back.  [Meng et al. 2022]

    `strength` is a time: 0 returns x_0, and 1 is a fresh sample, with the little of x_0 that the schedule leaves at its
    end. On a chain it is rounded to the nearest step. Raises `UsageError` for a strength outside [0, 1], and as
    `gendi.diffusion.gaussian.samplers.sample` does.
    """
    if not 0 <= strength <= 1:
        raise UsageError(
            f"strength = {strength:g} is out of range: it must lie between 0 (the picture) and 1 (a new one)."
        )
    if strength == 0:
        return x_0.float().cpu()
    t = on_chain(denoiser, strength)

    def noised(rows: slice) -> Start:
        return lambda noise, alpha, sigma: alpha * x_0[rows].to(how.device) + sigma * noise

    return _from_time(denoiser, x_0, t, noised, how, cond, poll)


def denoise(
    denoiser: Denoiser,
    y: Batch,
    std: float,
    how: Drawing,
    cond: Conditions | None = None,
    poll: Poll | None = None,
) -> Float[Tensor, " n *shape"]:
    """Return a draw from q(x_0 | y) for each y = x_0 + std n (n, ...), by sampling from the level std.

    On a chain it starts at the step with the nearest level. Raises `UsageError` as `time_of_noise` and
    `gendi.diffusion.gaussian.samplers.sample` do.
    """

    def scaled(rows: slice) -> Start:
        return lambda noise, alpha, sigma: alpha * y[rows].to(how.device)

    return _from_time(denoiser, y, time_of_noise(denoiser, std), scaled, how, cond, poll)


def _from_time(
    denoiser: Denoiser,
    pictures: Batch,
    t: float,
    start: Callable[[slice], Start],
    how: Drawing,
    cond: Conditions | None,
    poll: Poll | None,
) -> Float[Tensor, " n *shape"]:
    """Return samples drawn from time t down, with a start for each batch."""

    def work(rows: slice) -> Iterator[State]:
        which = list(indices(rows, how.first_index))
        mine = take(cond, rows, how.device)
        return trajectory(denoiser, tuple(pictures.shape[1:]), which, how, cond=mine, t=t, start=start(rows), poll=poll)

    return draw(len(pictures), how, work)


@torch.inference_mode()
def denoised_mean(
    denoiser: Denoiser, y: Batch, std: float, cond: Conditions | None = None
) -> Float[Tensor, " n *shape"]:
    """Return E[x_0 | y] for y = x_0 + std n (n, ...), the estimate with the least squared error, by one call.

    The result is on the CPU. Raises `UsageError` as `time_of_noise` does.
    """
    t = torch.tensor(time_of_noise(denoiser, std), dtype=torch.float64)
    alpha, _ = denoiser.schedule(t)
    parts = [slice(k, k + BATCH) for k in range(0, len(y), BATCH)]
    return torch.cat(
        [conditioned(denoiser, take(cond, rows, y.device))(alpha.to(y) * y[rows], t).cpu() for rows in parts]
    )


def time_of_noise(denoiser: Denoiser, std: float) -> float:
    """Return the t at which sigma / alpha is `std`; on a chain, the nearest step.

    Raises `UsageError` for a deviation that is not above 0, or that the schedule does not reach.
    """
    return on_chain(denoiser, float(noise_time(denoiser.schedule, std, "noise of standard deviation")))


def estimate_noise(y: Float[Tensor, "b c h w"]) -> Float[Tensor, " b"]:
    """Return the standard deviation of the noise in each picture, in the picture's units.  [Donoho & Johnstone 1994]

    The noise is assumed to be white and equally strong in all pixels. Clipping to a range removes some of it (in a
    picture that is half black, it cuts the noise on the black), and the estimate is then too low. Raises `UsageError`
    for a picture smaller than 2 x 2 pixels.
    """
    height, width = y.shape[2] // 2 * 2, y.shape[3] // 2 * 2
    if not height or not width:
        raise UsageError(f"noise is estimated from blocks of 2 x 2 pixels; got {y.shape[2]} x {y.shape[3]}.")
    y = y[..., :height, :width]
    top, below = y[..., ::2, :], y[..., 1::2, :]
    detail = (top[..., ::2] - top[..., 1::2] - below[..., ::2] + below[..., 1::2]) / 2
    return detail.abs().flatten(1).quantile(0.5, dim=1) / MEDIAN
