"""Starting from a noisy picture: variations of a clean one, and the denoising of a noisy one.

    vary       x_t = alpha x_0 + sigma eps, and sampling from there down                     [Meng et al. 2022 (SDEdit)]
    denoise    y = x_0 + s n is x_t / alpha at the t where sigma / alpha = s, so E[x_0 | y] is the denoiser's own answer
               there, and sampling from there draws from q(x_0 | y)

`estimate_noise` finds s by a robust deviation of what a smooth picture has little of: the diagonal Haar details
d = (a - b - c + d) / 2 of 2 x 2 blocks, N(0, s^2) of noise alone. The median of |d| ignores the few blocks that hold an
edge; over 0.6745, the median of |N(0, 1)|, it is s.                                   [Donoho & Johnstone 1994]
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
"""Of |N(0, 1)|: the 0.75 quantile of N(0, 1)."""
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

    `strength` is a time: 0 returns x_0, and 1 is a fresh sample (of x_0 the little is left that the schedule leaves at
    its end). Of a chain it is the nearest step. Raises `UsageError` outside [0, 1], and as
    `gendi.diffusion.gaussian.samplers.sample`.
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
    """Return a draw from q(x_0 | y) for each of y = x_0 + std n (n, ...), by sampling from the level std.

    On a chain it starts at the step whose level is nearest. Raises `UsageError` as `time_of_noise` and
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
    """Return samples drawn from the time t down, each batch from its own start."""

    def work(rows: slice) -> Iterator[State]:
        which = list(indices(rows, how.first_index))
        mine = take(cond, rows, how.device)
        return trajectory(denoiser, tuple(pictures.shape[1:]), which, how, cond=mine, t=t, start=start(rows), poll=poll)

    return draw(len(pictures), how, work)


@torch.inference_mode()
def denoised_mean(
    denoiser: Denoiser, y: Batch, std: float, cond: Conditions | None = None
) -> Float[Tensor, " n *shape"]:
    """Return E[x_0 | y] of y = x_0 + std n (n, ...): one call, of all estimates the one of least squared error.

    It is on the CPU; raises `UsageError` as `time_of_noise` does.
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
    """Return the standard deviation of the noise in each picture, in its own units.  [Donoho & Johnstone 1994]

    White noise of one deviation in all pixels is assumed. Pixels clipped to a range have less (in a picture that is
    half black, noise on the black is cut), and the estimate is then too low. Raises `UsageError` below 2 x 2 pixels.
    """
    height, width = y.shape[2] // 2 * 2, y.shape[3] // 2 * 2
    if not height or not width:
        raise UsageError(f"noise is estimated from blocks of 2 x 2 pixels; got {y.shape[2]} x {y.shape[3]}.")
    y = y[..., :height, :width]
    top, below = y[..., ::2, :], y[..., 1::2, :]
    detail = (top[..., ::2] - top[..., 1::2] - below[..., ::2] + below[..., 1::2]) / 2
    return detail.abs().flatten(1).quantile(0.5, dim=1) / MEDIAN
